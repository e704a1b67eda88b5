// SPDX-License-Identifier: Apache-2.0
// Every tokenizer of tests/tokenizers/ against what its reference implementation computed.
#include "text/tokenizer.h"

#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lanner/error.h"
#include "text/testing/vectors.h"

namespace lanner {
namespace {

using Ids = std::vector<int32_t>;

struct Family {
  const char* name = "";                // a folder of tests/tokenizers/
  std::vector<const char*> files = {};  // the files that are used
  // Keys of vectors.json; "" where the file does not have the thing.
  const char* ids = "ids";
  const char* ids_with_special = "ids_with_special";
  const char* ids_ignoring = "";
  const char* ids_recognising = "";
  const char* decoded = "decoded";
  const char* decoded_skip_special = "";
  const char* config = "tokenizer_config.json";
};

void PrintTo(const Family& family, std::ostream* out) {
  *out << family.name << " from " << family.files.front();
}

const Family kFamilies[] = {
    {.name = "qwen2", .files = {"tokenizer.json"}, .decoded_skip_special = "decoded_skip_special"},
    {.name = "llama3", .files = {"tokenizer.json"}, .decoded_skip_special = "decoded_skip_special"},
    {.name = "gpt2", .files = {"tokenizer.json"}, .decoded_skip_special = "decoded_skip_special"},
    {.name = "gpt2",
     .files = {"vocab.json", "merges.txt"},
     .decoded_skip_special = "decoded_skip_special"},
    {.name = "llama2", .files = {"tokenizer.json"}, .decoded_skip_special = "decoded_skip_special"},
    // The converted tokenizer.json recognises <s> and </s>, but not <unk>.
    {.name = "llama2",
     .files = {"tokenizer.model"},
     .ids = "sentencepiece_ids",
     .ids_with_special = "",
     .ids_ignoring = "sentencepiece_ids",
     .decoded = "sentencepiece_decoded"},
    {.name = "baichuan",
     .files = {"tokenizer.model"},
     .ids_with_special = "ids",
     .ids_ignoring = "ids"},
    {.name = "chatglm3", .files = {"tokenizer.model"}, .ids_ignoring = "ids"},
    {.name = "chatglm", .files = {"ice_text.model"}, .ids_ignoring = "ids"},
    {.name = "qwen1",
     .files = {"qwen.tiktoken"},
     .ids_with_special = "ids",
     .ids_ignoring = "ids_no_special_parsing",
     .ids_recognising = "ids"},
};

class TokenizerVectors : public testing::TestWithParam<Family> {
 protected:
  TokenizerVectors() {
    const Family& family = GetParam();
    for (const char* file : family.files) folder_.copy(family.name, file);
    folder_.copy(family.name, family.config);
    tokenizer_ = Tokenizer::from_folder(folder_.path());
    vectors_ = read_json_file(vectors_folder(family.name) + "/vectors.json");
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Json vectors_;
};

TEST_P(TokenizerVectors, EncodesEveryTextAsTheReference) {
  const Family& family = GetParam();
  ASSERT_GT(vectors_["cases"].size(), 100u);
  for (const Json& vector : vectors_["cases"]) {
    const auto text = vector["text"].get<std::string>();
    EXPECT_EQ(tokenizer_->encode(text, false), vector[family.ids].get<Ids>()) << text;
    if (*family.ids_with_special != '\0') {
      EXPECT_EQ(tokenizer_->encode(text, true), vector[family.ids_with_special].get<Ids>()) << text;
    }
    if (*family.ids_ignoring != '\0') {
      EXPECT_EQ(tokenizer_->encode(text, false, SpecialInText::kIgnore),
                vector[family.ids_ignoring].get<Ids>())
          << text;
    }
    if (*family.ids_recognising != '\0') {
      EXPECT_EQ(tokenizer_->encode(text, false, SpecialInText::kRecognise),
                vector[family.ids_recognising].get<Ids>())
          << text;
    }
  }
}

TEST_P(TokenizerVectors, DecodesEveryTextAsTheReference) {
  const Family& family = GetParam();
  for (const Json& vector : vectors_["cases"]) {
    const auto ids = vector[family.ids].get<Ids>();
    EXPECT_EQ(tokenizer_->decode(ids, false), vector[family.decoded].get<std::string>());
    if (*family.decoded_skip_special != '\0') {
      EXPECT_EQ(tokenizer_->decode(ids, true),
                vector[family.decoded_skip_special].get<std::string>());
    }
  }
}

TEST_P(TokenizerVectors, StreamsWholeCharactersThatAddUpToTheText) {
  const Family& family = GetParam();
  for (const Json& vector : vectors_["cases"]) {
    const auto ids = tokenizer_->encode(vector["text"].get<std::string>(), true);
    for (const bool skip_special : {false, true}) {
      EXPECT_EQ(streamed(*tokenizer_, ids, skip_special), tokenizer_->decode(ids, skip_special))
          << family.name;
    }
  }
}

TEST_P(TokenizerVectors, StreamsAnyTokensAsValidText) {
  // HF's byte fallback treats broken bytes differently, see StreamDecoder.
  const bool same = std::string(GetParam().name) != "llama2" ||
                    std::string(GetParam().files.front()) != "tokenizer.json";
  std::mt19937 random(7);
  std::uniform_int_distribution<int32_t> any(-2, tokenizer_->vocab_size() + 1);
  for (int i = 0; i < 200; ++i) {
    Ids ids(40);
    for (int32_t& id : ids) id = any(random);
    const std::string text = streamed(*tokenizer_, ids, i % 2 == 0);
    const std::string decoded = tokenizer_->decode(ids, i % 2 == 0);
    EXPECT_TRUE(is_utf8(decoded));
    if (same) {
      EXPECT_EQ(text, decoded);
    }
  }
}

TEST_P(TokenizerVectors, FindsEveryTokenByItsTextAndBack) {
  int special = 0;
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const auto token = tokenizer_->token(id);
    ASSERT_TRUE(token.has_value()) << id;
    EXPECT_EQ(tokenizer_->token_id(*token), id) << *token;
    if (tokenizer_->is_special(id)) {
      ++special;
      EXPECT_EQ(tokenizer_->decode(Ids{id}, true), "");
    }
  }
  EXPECT_GT(special, 0);
  for (const int32_t id : {-1, INT32_MIN, tokenizer_->vocab_size(), INT32_MAX}) {
    EXPECT_EQ(tokenizer_->token(id), std::nullopt);
    EXPECT_FALSE(tokenizer_->is_special(id));
    EXPECT_EQ(tokenizer_->decode(Ids{id}, false), "");
  }
  EXPECT_EQ(tokenizer_->token_id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer_->token_id("\xff"), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerVectors, testing::ValuesIn(kFamilies));

std::unique_ptr<Tokenizer> load(const char* family) {
  return Tokenizer::from_folder(vectors_folder(family));
}

TEST(Tokenizer, SeesSpecialTokensInRenderedTextWhateverTheFileIs) {
  // tokenizer.model with the option gives what its converted tokenizer.json gives by default.
  TemporaryFolder folder;
  folder.copy("llama2", "tokenizer.model");
  folder.copy("llama2", "tokenizer_config.json");
  const auto converted = load("llama2");
  const auto original = Tokenizer::from_folder(folder.path());
  const Json vectors = read_json_file(vectors_folder("llama2") + "/vectors.json");
  int differing = 0;
  for (const Json& vector : vectors["cases"]) {
    const auto text = vector["text"].get<std::string>();
    if (text.find("<unk>") != std::string::npos) continue;
    EXPECT_EQ(original->encode(text, true, SpecialInText::kRecognise),
              converted->encode(text, true))
        << text;
    differing += original->encode(text, true) != converted->encode(text, true);
  }
  EXPECT_GT(differing, 0);
}

TEST(Tokenizer, BuildsChatGlm3ConversationsFromItsRoleTokens) {
  const auto tokenizer = load("chatglm3");
  const Json special = read_json_file(vectors_folder("chatglm3") + "/special_tokens.json");
  for (const auto& [token, id] : special.items()) {
    EXPECT_EQ(tokenizer->token_id(token), id.get<int32_t>());
    EXPECT_TRUE(tokenizer->is_special(id.get<int32_t>()));
  }
  const Json chat = read_json_file(vectors_folder("chatglm3") + "/chat.json");
  for (const Json& vector : chat["cases"]) {
    Ids ids = tokenizer->encode("", true);
    for (const Json& message : vector["messages"]) {
      ids.push_back(*tokenizer->token_id("<|" + message["role"].get<std::string>() + "|>"));
      for (const auto& part : {std::string("\n"), message["content"].get<std::string>()}) {
        const Ids more = tokenizer->encode(part, false);
        ids.insert(ids.end(), more.begin(), more.end());
      }
    }
    ids.push_back(*tokenizer->token_id("<|assistant|>"));
    EXPECT_EQ(ids, vector["ids"].get<Ids>());
  }
}

TEST(Tokenizer, KnowsTheTokensWithARole) {
  const RoleTokenIds llama2 = load("llama2")->role_ids();
  EXPECT_EQ(llama2.bos, 1);
  EXPECT_EQ(llama2.eos, 2);
  EXPECT_EQ(llama2.unk, 0);
  EXPECT_EQ(llama2.pad, std::nullopt);
  const auto qwen2 = load("qwen2");
  EXPECT_EQ(qwen2->role_ids().bos, std::nullopt);
  EXPECT_EQ(qwen2->role_ids().eos, qwen2->token_id("<|im_end|>"));
  EXPECT_EQ(qwen2->role_ids().pad, qwen2->token_id("<|endoftext|>"));
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = load("gpt2");
  for (const char* text : {"\xff", "ab\xe4\xbd", "\xc0\x80", "\xed\xa0\x80"}) {
    try {
      tokenizer->encode(text, false);
      ADD_FAILURE() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(e.what(), testing::HasSubstr("not valid UTF-8 at byte"));
    }
  }
}

TEST(Tokenizer, HandlesLongMonotonousTextInTime) {
  for (const char* family : {"qwen2", "llama2", "gpt2", "qwen1", "chatglm", "baichuan"}) {
    const auto tokenizer = load(family);
    for (const char symbol : {' ', 'a', '\n', '!'}) {
      const std::string text = std::string(100'000, symbol) + "x";
      const Ids ids = tokenizer->encode(text, false);
      EXPECT_EQ(tokenizer->decode(ids, false), text) << family << " '" << symbol << "'";
    }
  }
}

TEST(Tokenizer, IsSharedByThreads) {
  const auto tokenizer = load("qwen2");
  const std::string text = read_text(vectors_folder("qwen2") + "/vectors.json");
  const Ids expected = tokenizer->encode(text, false);
  std::vector<std::thread> threads;
  std::vector<int> right(4);
  for (int& result : right) {
    threads.emplace_back([&] {
      result =
          tokenizer->encode(text, false) == expected && tokenizer->decode(expected, false) == text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(right, testing::Each(1));
}

TEST(StreamDecoder, OutlivesItsTokenizerAndStartsAnewAfterFlush) {
  auto tokenizer = load("llama2");
  const Ids ids = tokenizer->encode("Hello 👍", false);
  StreamDecoder decoder(*tokenizer, true);
  tokenizer.reset();
  for (int round = 0; round < 2; ++round) {
    std::string text;
    for (const int32_t id : ids) text += decoder.push(id);
    EXPECT_EQ(text + decoder.flush(), "Hello 👍");
  }
}

}  // namespace
}  // namespace lanner
