// SPDX-License-Identifier: Apache-2.0
#include "text/gguf_vocabulary.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/env.h"
#include "lanner/error.h"
#include "text/chat_template.h"
#include "text/testing/gguf_metadata.h"
#include "text/testing/vectors.h"
#include "text/tokenizer.h"

namespace lanner {
namespace {

using testing::HasSubstr;
using Ids = std::vector<int32_t>;

Json read_vectors(const std::string& name) {
  return read_json_file(vectors_folder("gguf/") + name + ".json");
}

GgufVocabulary vocabulary_of(const Json& file) {
  GgufVocabulary vocabulary;
  vocabulary.name = "tiny.gguf";
  vocabulary.model = file["model"].get<std::string>();
  vocabulary.pre = file["pre"].get<std::string>();
  vocabulary.tokens = file["tokens"].get<std::vector<std::string>>();
  vocabulary.token_types = file["token_types"].get<Ids>();
  vocabulary.merges = file["merges"].get<std::vector<std::string>>();
  if (file.contains("scores")) vocabulary.scores = file["scores"].get<std::vector<float>>();
  return vocabulary;
}

void expect_vectors(const Tokenizer& tokenizer, const Json& cases) {
  ASSERT_GT(cases.size(), 50u);
  for (const Json& vector : cases) {
    const auto text = vector["text"].get<std::string>();
    const auto ids = vector["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids, false), vector["decoded"].get<std::string>());
    EXPECT_EQ(streamed(tokenizer, ids, false), vector["decoded"].get<std::string>());
  }
}

class PreTokenizers : public testing::TestWithParam<const char*> {};

TEST_P(PreTokenizers, CutTextAsHfsTokenizersDo) {
  const Json file = read_vectors(GetParam());
  const auto tokenizer = Tokenizer::from_gguf(vocabulary_of(file));
  expect_vectors(*tokenizer, file["cases"]);
  EXPECT_EQ(tokenizer->vocab_size(), static_cast<int>(file["tokens"].size()));
  EXPECT_TRUE(tokenizer->is_special(0));
  EXPECT_EQ(tokenizer->decode(Ids{0}, true), "");
}

INSTANTIATE_TEST_SUITE_P(Names, PreTokenizers,
                         testing::Values("bloom", "deepseek-v3", "default", "falcon", "gpt-2",
                                         "gpt-4o", "llama-bpe", "qwen2", "smollm", "tekken"));

TEST(GgufVocabulary, OfLlamaEqualsTheModelFileItCameFrom) {
  GgufVocabulary vocabulary = vocabulary_of(read_vectors("llama"));
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  vocabulary.unk_id = 0;
  const auto tokenizer = Tokenizer::from_gguf(vocabulary);
  const Json vectors = read_json_file(vectors_folder("llama2") + "/vectors.json");
  for (const Json& vector : vectors["cases"]) {
    const auto text = vector["text"].get<std::string>();
    const auto ids = vector["sentencepiece_ids"].get<Ids>();
    EXPECT_EQ(tokenizer->encode(text, false, SpecialInText::kIgnore), ids) << text;
    EXPECT_EQ(tokenizer->decode(ids, true), vector["sentencepiece_decoded"].get<std::string>());
    if (text.find("<unk>") != std::string::npos) continue;
    EXPECT_EQ(tokenizer->encode(text, true), vector["ids_with_special"].get<Ids>()) << text;
  }
  vocabulary.add_space_prefix = false;
  vocabulary.add_bos = false;
  vocabulary.add_eos = true;
  const auto bare = Tokenizer::from_gguf(vocabulary);
  EXPECT_EQ(bare->decode(bare->encode(" a", true), true), " a");
  EXPECT_EQ(bare->encode("", true), Ids{2});
}

TEST(GgufVocabulary, FlagsDecideOnBeginAndEndTokens) {
  GgufVocabulary vocabulary = vocabulary_of(read_vectors("smollm"));
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  EXPECT_EQ(Tokenizer::from_gguf(vocabulary)->encode("", true), Ids{});
  vocabulary.add_bos = true;
  vocabulary.add_eos = true;
  const auto tokenizer = Tokenizer::from_gguf(vocabulary);
  EXPECT_EQ(tokenizer->encode("", true), (Ids{1, 2}));
  EXPECT_EQ(tokenizer->encode("", false), Ids{});
  EXPECT_EQ(tokenizer->role_ids().bos, 1);
  EXPECT_EQ(tokenizer->role_ids().pad, std::nullopt);
}

TEST(GgufVocabulary, UserDefinedTokensAreFoundButNotSpecial) {
  GgufVocabulary vocabulary = vocabulary_of(read_vectors("smollm"));
  vocabulary.token_types[1] = 4;
  const auto tokenizer = Tokenizer::from_gguf(vocabulary);
  EXPECT_EQ(tokenizer->encode("<|im_start|>", false, SpecialInText::kIgnore), Ids{1});
  EXPECT_EQ(tokenizer->decode(Ids{1}, true), "<|im_start|>");
}

template <typename Change>
void expect_error(ErrorCode code, const std::string& part, const Change& change) {
  for (const char* name : {"smollm", "llama"}) {
    GgufVocabulary vocabulary = vocabulary_of(read_vectors(name));
    if (!change(vocabulary)) continue;
    try {
      Tokenizer::from_gguf(vocabulary);
      ADD_FAILURE() << "no error, expected: " << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_THAT(e.what(), HasSubstr("tiny.gguf: "));
      EXPECT_THAT(e.what(), HasSubstr(part));
    }
  }
}

TEST(GgufVocabulary, BadOnesAreRefusedNamingTheKey) {
  using V = GgufVocabulary;
  expect_error(ErrorCode::kUnsupported, "tokenizer.ggml.model is 'bert'",
               [](V& v) { return v.model = "bert", true; });
  expect_error(ErrorCode::kUnsupported, "tokenizer.ggml.pre is 'nobody'",
               [](V& v) { return v.pre = "nobody", v.model == "gpt2"; });
  expect_error(ErrorCode::kCorruptFile, "tokens is empty",
               [](V& v) { return v.tokens.clear(), true; });
  expect_error(ErrorCode::kCorruptFile, "tokenizer.ggml.token_type has",
               [](V& v) { return v.token_types.pop_back(), true; });
  expect_error(ErrorCode::kCorruptFile, "token 5 has type 99",
               [](V& v) { return v.token_types[5] = 99, true; });
  expect_error(ErrorCode::kCorruptFile, "tokenizer.ggml.eos_token_id is 100000",
               [](V& v) { return v.eos_id = 100'000, true; });
  expect_error(ErrorCode::kCorruptFile, "appears twice",
               [](V& v) { return v.tokens[300] = v.tokens[301], true; });
  expect_error(ErrorCode::kCorruptFile, "merge 3",
               [](V& v) { return v.model == "gpt2" && (v.merges[3] = "nothing here", true); });
  expect_error(ErrorCode::kCorruptFile, "merge 3",
               [](V& v) { return v.model == "gpt2" && (v.merges[3] = "", true); });
  expect_error(ErrorCode::kCorruptFile, "tokenizer.ggml.scores",
               [](V& v) { return v.model == "llama" && (v.scores.clear(), true); });
  expect_error(ErrorCode::kCorruptFile, "score",
               [](V& v) { return v.model == "llama" && (v.scores[9] = std::nanf(""), true); });
}

TEST(GgufVocabulary, TokensMustBeUtf8) {
  GgufVocabulary vocabulary = vocabulary_of(read_vectors("smollm"));
  vocabulary.tokens[7] = "\xff";
  try {
    Tokenizer::from_gguf(vocabulary);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCorruptFile);
    EXPECT_THAT(e.what(), HasSubstr("token 7 is not valid UTF-8"));
  }
}

// The default model is not part of the tests' files: found only where it has been downloaded.
std::string default_model(const std::string& name) {
  const std::string cache = read_environment().cache_dir;
  std::error_code failure;
  for (std::filesystem::recursive_directory_iterator file(cache, failure), end;
       !failure && file != end; file.increment(failure)) {
    if (file->path().filename() == name) return file->path();
  }
  return "";
}

TEST(GgufVocabulary, OfSmolLm2EqualsItsHfTokenizer) {
  const Json file = read_vectors("smollm2");
  const auto name = file["file"].get<std::string>();
  const std::string path = default_model(name);
  if (path.empty()) GTEST_SKIP() << name << " is not in the cache folder";
  const GgufMetadata metadata(path);
  const auto tokenizer = Tokenizer::from_gguf(metadata.vocabulary());
  expect_vectors(*tokenizer, file["cases"]);
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->encode("Hello", true), tokenizer->encode("Hello", false));
  const auto chat_template = ChatTemplate::from_source(metadata.vocabulary().chat_template);
  EXPECT_EQ(chat_template.render(R"([{"role": "user", "content": "Hi"}])", true),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace lanner
