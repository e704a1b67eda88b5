// SPDX-License-Identifier: Apache-2.0
// The built-in templates against the reference's conversations (tests/tokenizers).
#include "engine/builtin_chat_template.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "text/chat_template.h"

namespace lanner {
namespace {

std::string tokenizers(const std::string& name) {
  return std::string(LANNER_TESTS_DIR) + "/tokenizers/" + name;
}

std::string render(const Json& config, const Tokenizer& tokenizer, const Json& messages,
                   bool add_generation_prompt = true) {
  const auto source = builtin_chat_template(config, tokenizer);
  EXPECT_TRUE(source.has_value());
  return ChatTemplate::from_source(*source).render(messages.dump(), add_generation_prompt);
}

Json user(const char* content) { return {{"role", "user"}, {"content", content}}; }
Json assistant(const char* content) { return {{"role", "assistant"}, {"content", content}}; }
Json system(const char* content) { return {{"role", "system"}, {"content", content}}; }

TEST(BuiltinChatTemplate, Baichuan2RendersTheReferencesConversations) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("baichuan"));
  for (const Json& config : {Json{{"model_type", "baichuan"}, {"vocab_size", 125696}},
                             Json{{"model_type", "baichuan"}, {"norm_head", true}}}) {
    const Json golden = read_json_file(tokenizers("chat_templates/baichuan2.json"));
    for (const Json& c : golden.at("cases")) {
      if (!c.contains("expected")) continue;
      EXPECT_EQ(render(config, *tokenizer, c.at("messages"), c.at("add_generation_prompt")),
                c.at("expected").get<std::string>());
    }
  }
}

TEST(BuiltinChatTemplate, Baichuan1HasOtherRoleTokens) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("baichuan"));
  EXPECT_EQ(render({{"model_type", "baichuan"}, {"vocab_size", 64000}}, *tokenizer,
                   Json::array({user("Hello")})),
            "<reserved_102>Hello<reserved_103>");
}

TEST(BuiltinChatTemplate, Chatglm3GivesTheReferencesTokens) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("chatglm3"));
  const Json golden = read_json_file(tokenizers("chatglm3/chat.json"));
  for (const Json& c : golden.at("cases")) {
    const std::string text = render({{"model_type", "chatglm"}, {"padded_vocab_size", 65024}},
                                    *tokenizer, c.at("messages"));
    EXPECT_EQ(tokenizer->encode(text, /*add_special=*/false, SpecialInText::kRecognise),
              c.at("ids").get<std::vector<int32_t>>())
        << text;
  }
}

// build_prompt and get_prefix_tokens of ChatGLM2's tokenization_chatglm.py; its tokenizer has no
// role tokens, as that of Baichuan.
TEST(BuiltinChatTemplate, Chatglm2NumbersRoundsFromOne) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("baichuan"));
  const Json config = {{"model_type", "chatglm"}, {"padded_vocab_size", 65024}};
  EXPECT_EQ(render(config, *tokenizer, Json::array({user("你好")})),
            "[gMASK]sop[Round 1]\n\n问：你好\n\n答：");
  EXPECT_EQ(render(config, *tokenizer, Json::array({user("你好"), assistant("好"), user("晚安")})),
            "[gMASK]sop[Round 1]\n\n问：你好\n\n答：好\n\n[Round 2]\n\n问：晚安\n\n答：");
  EXPECT_THROW(render(config, *tokenizer, Json::array({system("x"), user("y")})), Error);
}

TEST(BuiltinChatTemplate, Baichuan1KeepsSystemAndTurnsInOrder) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("baichuan"));
  EXPECT_EQ(render({{"model_type", "baichuan"}, {"vocab_size", 64000}}, *tokenizer,
                   Json::array({system("S"), user("A"), assistant("B"), user("C")})),
            "S<reserved_102>A<reserved_103>B<reserved_102>C<reserved_103>");
}

TEST(BuiltinChatTemplate, Chatglm1NumbersRoundsFromZeroAndEndsWithItsMask) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("chatglm"));
  const Json config = {{"model_type", "chatglm"}, {"position_encoding_2d", true}};
  EXPECT_EQ(render(config, *tokenizer, Json::array({user("你好")})), "你好[gMASK]<sop>");
  const std::string text =
      render(config, *tokenizer, Json::array({user("你好"), assistant("好"), user("晚安")}));
  EXPECT_EQ(text, "[Round 0]\n问：你好\n答：好\n[Round 1]\n问：晚安\n答：[gMASK]<sop>");
  EXPECT_EQ(tokenizer->encode("你好[gMASK]<sop>", false, SpecialInText::kRecognise),
            tokenizer->encode("你好", true));
  EXPECT_THROW(render(config, *tokenizer, Json::array({system("x"), user("y")})), Error);
}

TEST(BuiltinChatTemplate, QwenHasADefaultSystemMessage) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("qwen1"));
  const Json config = {{"model_type", "qwen"}};
  EXPECT_EQ(render(config, *tokenizer, Json::array({user("Hi")})),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render(config, *tokenizer, Json::array({system("S"), user("Hi")}), false),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
}

TEST(BuiltinChatTemplate, OtherFamiliesHaveNone) {
  const auto tokenizer = Tokenizer::from_folder(tokenizers("qwen1"));
  EXPECT_FALSE(builtin_chat_template({{"model_type", "llama"}}, *tokenizer));
  EXPECT_FALSE(builtin_chat_template(Json::array(), *tokenizer));
}

}  // namespace
}  // namespace lanner
