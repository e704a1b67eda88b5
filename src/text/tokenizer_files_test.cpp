// SPDX-License-Identifier: Apache-2.0
// Which files of a folder count, and what becomes of bad ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lanner/error.h"
#include "text/testing/vectors.h"
#include "text/tokenizer.h"

namespace lanner {
namespace {

using testing::HasSubstr;
using Ids = std::vector<int32_t>;

void expect_error(const TemporaryFolder& folder, ErrorCode code, const std::string& part) {
  try {
    Tokenizer::from_folder(folder.path());
    ADD_FAILURE() << "no error, expected: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(part));
  }
}

TEST(TokenizerFiles, AFolderWithoutATokenizerIsNotFound) {
  TemporaryFolder folder;
  expect_error(folder, ErrorCode::kNotFound, "tokenizer.json");
  folder.write("vocab.json", "{}");
  expect_error(folder, ErrorCode::kCorruptFile, "merges.txt");
}

TEST(TokenizerFiles, FlagsOfTheConfigurationDecideOnBeginAndEndTokens) {
  TemporaryFolder folder;
  folder.copy("llama2", "tokenizer.json");
  const std::string head = R"({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": )";
  folder.write("tokenizer_config.json",
               head + R"("LlamaTokenizerFast", "add_bos_token": false, "add_eos_token": true})");
  EXPECT_EQ(Tokenizer::from_folder(folder.path())->encode("", true), Ids{2});
  folder.write("tokenizer_config.json", head + R"("LlamaTokenizer"})");
  EXPECT_EQ(Tokenizer::from_folder(folder.path())->encode("", true), Ids{1});
  // Other classes leave it to tokenizer.json.
  folder.write("tokenizer_config.json",
               head + R"("PreTrainedTokenizerFast", "add_bos_token": false})");
  EXPECT_EQ(Tokenizer::from_folder(folder.path())->encode("", true), Ids{1});
  folder.write("tokenizer_config.json", head + R"("LlamaTokenizer", "add_bos_token": "yes"})");
  expect_error(folder, ErrorCode::kCorruptFile, "add_bos_token");
}

TEST(TokenizerFiles, AddedTokensOfTheConfigurationAreAdded) {
  TemporaryFolder folder;
  folder.copy("llama2", "tokenizer.model");
  folder.write("tokenizer_config.json",
               R"({"added_tokens_decoder": {"1000": {"content": "<|im_end|>", "special": true}}})");
  const auto size = Tokenizer::from_folder(vectors_folder("llama2"))->vocab_size();
  const std::string token = R"({"content": "<|im_end|>", "special": true})";
  folder.write("tokenizer_config.json",
               R"({"added_tokens_decoder": {")" + std::to_string(size) + "\": " + token + "}}");
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(tokenizer->token_id("<|im_end|>"), size);
  EXPECT_EQ(tokenizer->encode("<|im_end|>", false, SpecialInText::kRecognise), Ids{size});
  folder.write("tokenizer_config.json",
               R"({"added_tokens_decoder": {")" + std::to_string(size + 5) + "\": " + token + "}}");
  expect_error(folder, ErrorCode::kCorruptFile, "<|im_end|>");
}

// Of a decoder that is none of the known ones.
TEST(TokenizerFiles, TokensThatAreBytesSayWhichWhateverTheDecoder) {
  const auto tokenizer_of = [](const std::string& decoder) {
    TemporaryFolder folder;
    folder.write("tokenizer.json",
                 R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                     "normalizer": null, "pre_tokenizer": null, "post_processor": null,
                     "decoder": )" +
                     decoder +
                     R"(, "model": {"type": "BPE", "dropout": null, "unk_token": null,
                     "continuing_subword_prefix": null, "end_of_word_suffix": null,
                     "fuse_unk": false, "byte_fallback": false,
                     "vocab": {"a": 0, "<0xC2>": 1, "<0xA9>": 2}, "merges": []}})");
    return Tokenizer::from_folder(folder.path());
  };
  const auto bytes = tokenizer_of(
      R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]})");
  EXPECT_EQ(bytes->decode(Ids{1, 2}, false), "\u00A9");
  EXPECT_EQ(bytes->token_bytes(1), "\xC2");
  EXPECT_EQ(bytes->token_bytes(2), "\xA9");
  EXPECT_EQ(bytes->token_bytes(0), "a");
  const auto names = tokenizer_of(R"({"type": "Fuse"})");
  EXPECT_EQ(names->token_bytes(1), "<0xC2>") << "which no decoder takes for a byte";
}

TEST(TokenizerFiles, VocabJsonOfQwen2EqualsItsTokenizerJson) {
  TemporaryFolder folder;
  folder.copy("qwen2", "vocab.json");
  folder.copy("qwen2", "merges.txt");
  const auto whole = Tokenizer::from_folder(vectors_folder("qwen2"));
  Json config = read_json_file(vectors_folder("qwen2") + "/tokenizer_config.json");
  for (const char* token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    config["added_tokens_decoder"][std::to_string(*whole->token_id(token))] = {
        {"content", token}, {"special", true}, {"normalized", false}};
  }
  folder.write("tokenizer_config.json", config.dump());
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(tokenizer->vocab_size(), whole->vocab_size());
  const Json vectors = read_json_file(vectors_folder("qwen2") + "/vectors.json");
  for (const Json& vector : vectors["cases"]) {
    const auto text = vector["text"].get<std::string>();
    EXPECT_EQ(tokenizer->encode(text, true), vector["ids_with_special"].get<Ids>()) << text;
  }
}

TEST(TokenizerFiles, ChatGlm2HasTheFirstFiveSpecialTokens) {
  TemporaryFolder folder;
  folder.copy("chatglm3", "tokenizer.model");
  folder.write("tokenizer_config.json",
               R"({"name_or_path": "THUDM/chatglm2-6b", "tokenizer_class": "ChatGLMTokenizer"})");
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(tokenizer->token_id("eop"), 1004);
  EXPECT_EQ(tokenizer->token_id("<|user|>"), std::nullopt);
  EXPECT_EQ(tokenizer->vocab_size(), 1005);
}

TEST(TokenizerFiles, Glm4ReadsRanksFromTokenizerModel) {
  TemporaryFolder folder;
  folder.write("tokenizer.model", read_text(vectors_folder("qwen1") + "/qwen.tiktoken"));
  Json config = {{"tokenizer_class", "ChatGLM4Tokenizer"}};
  const int ranks = Tokenizer::from_folder(vectors_folder("qwen1"))->vocab_size() - 208;
  int id = ranks;
  for (const char* token : {"<|endoftext|>", "[gMASK]", "<sop>", "<|user|>"}) {
    config["added_tokens_decoder"][std::to_string(id++)] = {{"content", token}, {"special", true}};
  }
  folder.write("tokenizer_config.json", config.dump());
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(tokenizer->encode("<|user|>", true), (Ids{ranks + 1, ranks + 2, ranks + 3}));
  folder.write("tokenizer_config.json", "{}");
  expect_error(folder, ErrorCode::kUnsupported, "ChatGLM4Tokenizer");
}

struct Original {
  const char* family;
  const char* file;
};

class TruncatedFiles : public testing::TestWithParam<Original> {};

// Loading must end: with an error that names the file, or (for formats that end anywhere) a
// tokenizer.
TEST_P(TruncatedFiles, AreAnErrorOrAWholeTokenizer) {
  const auto [family, file] = GetParam();
  const std::string whole = read_text(vectors_folder(family) + "/" + file);
  TemporaryFolder folder;
  folder.copy(family, "tokenizer_config.json");
  int refused = 0;
  constexpr size_t kCuts = 60;
  for (size_t i = 0; i < kCuts; ++i) {
    const size_t size = i < 20 ? i : whole.size() * i / kCuts + i % 7;
    folder.write(file, whole.substr(0, size));
    try {
      const auto tokenizer = Tokenizer::from_folder(folder.path());
      EXPECT_NO_THROW(tokenizer->encode("Hello 你好 \x01", true));
    } catch (const Error& e) {
      ++refused;
      EXPECT_THAT(e.code(), testing::AnyOf(ErrorCode::kCorruptFile, ErrorCode::kUnsupported))
          << e.what();
      EXPECT_THAT(e.what(), HasSubstr(file));
    }
  }
  EXPECT_GT(refused, 40);
}

TEST_P(TruncatedFiles, FlippedBytesNeverCrash) {
  const auto [family, file] = GetParam();
  const std::string whole = read_text(vectors_folder(family) + "/" + file);
  TemporaryFolder folder;
  folder.copy(family, "tokenizer_config.json");
  for (size_t i = 0; i < 60; ++i) {
    std::string bytes = whole;
    const size_t at = i < 30 ? i : whole.size() * (i - 30) / 30;
    bytes[at] = static_cast<char>(bytes[at] ^ (i % 2 == 0 ? 0x80 : 0x15));
    folder.write(file, bytes);
    try {
      const auto tokenizer = Tokenizer::from_folder(folder.path());
      const Ids ids = tokenizer->encode("Hello 你好 \x01", true);
      EXPECT_TRUE(is_utf8(tokenizer->decode(ids, false)));
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()), "");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, TruncatedFiles,
                         testing::Values(Original{"qwen2", "tokenizer.json"},
                                         Original{"llama2", "tokenizer.json"},
                                         Original{"llama2", "tokenizer.model"},
                                         Original{"chatglm", "ice_text.model"},
                                         Original{"qwen1", "qwen.tiktoken"}));

TEST(TokenizerFiles, HostileJsonIsAnErrorThatNamesTheFile) {
  const char* hostile[] = {
      "",
      "null",
      "[]",
      "{}",
      "{\"model\": null}",
      "\xff\xfe",
      R"({"model": {"type": "BPE", "vocab": {}, "merges": []}})",
      R"({"model": {"type": "BPE", "vocab": {"a": 4294967295}, "merges": []}})",
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}})",
      R"({"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 9}})",
      R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(((("}, "behavior": "Isolated",
          "invert": false}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})",
      R"({"post_processor": {"type": "TemplateProcessing", "pair": [], "special_tokens": {},
          "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]},
          "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})",
  };
  TemporaryFolder folder;
  for (const char* text : hostile) {
    folder.write("tokenizer.json", text);
    expect_error(folder, ErrorCode::kCorruptFile, "tokenizer.json");
  }
  folder.write("tokenizer.json", std::string(1'000'000, '['));
  expect_error(folder, ErrorCode::kCorruptFile, "tokenizer.json");
}

}  // namespace
}  // namespace lanner
