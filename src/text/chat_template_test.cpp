// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lanner/error.h"
#include "text/testing/vectors.h"

namespace lanner {
namespace {

using testing::HasSubstr;

class ChatTemplateVectors : public testing::TestWithParam<const char*> {};

TEST_P(ChatTemplateVectors, RendersEveryConversationAsTransformers) {
  const std::string base = vectors_folder("chat_templates/") + GetParam();
  const Json vectors = read_json_file(base + ".json");
  const Json& special = vectors["special_tokens"];
  const auto chat_template = ChatTemplate::from_source(
      read_text(base + ".jinja"),
      {.bos = special.value("bos_token", ""), .eos = special.value("eos_token", "")});
  for (const Json& vector : vectors["cases"]) {
    const std::string messages = vector["messages"].dump();
    const bool prompt = vector["add_generation_prompt"].get<bool>();
    if (vector.contains("expected")) {
      EXPECT_EQ(chat_template.render(messages, prompt), vector["expected"].get<std::string>());
      continue;
    }
    try {
      chat_template.render(messages, prompt);
      ADD_FAILURE() << "rendered " << messages;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr(vector["error"].get<std::string>()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Templates, ChatTemplateVectors,
                         testing::Values("baichuan2", "chatglm3", "chatml", "constructs", "gemma",
                                         "glm4", "llama2", "llama3", "mistral", "qwen2"));

constexpr const char* kHello = R"([{"role": "user", "content": "Hello"}])";

TEST(ChatTemplate, OfAFolderUsesItsConfigurationAndSpecialTokens) {
  const auto chat_template = ChatTemplate::from_folder(vectors_folder("llama3"));
  ASSERT_TRUE(chat_template.has_value());
  EXPECT_EQ(chat_template->render(kHello, false),
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>");
  EXPECT_FALSE(ChatTemplate::from_folder(vectors_folder("gpt2")).has_value());
}

TEST(ChatTemplate, OfAFolderPrefersItsOwnFileAndPicksNamedTemplates) {
  TemporaryFolder folder;
  folder.write("tokenizer_config.json",
               R"({"bos_token": {"content": "<b>"}, "chat_template": [
                   {"name": "tool_use", "template": "tools {{ tools | tojson }}"},
                   {"name": "default", "template": "{{ bos_token }}plain"}]})");
  auto chat_template = ChatTemplate::from_folder(folder.path());
  EXPECT_EQ(chat_template->render(kHello, false), "<b>plain");
  EXPECT_EQ(chat_template->render(kHello, false, R"([{"name":"f"}])"), R"(tools [{"name": "f"}])");
  folder.write("chat_template.jinja", "file {{ bos_token }}");
  EXPECT_EQ(ChatTemplate::from_folder(folder.path())->render(kHello, false), "file <b>");
}

TEST(ChatTemplate, PassesToolsInTheirOrderAndFurtherVariables) {
  const auto chat_template = ChatTemplate::from_source(
      "{{ tools is none }} {% if tools %}{{ tools | tojson }}{% endif %}{{ thinking }}");
  EXPECT_EQ(chat_template.render(kHello, false), "True ");
  EXPECT_EQ(
      chat_template.render(kHello, false, R"([{"z":1,"a":"<&'>é"}])", R"({"thinking":false})"),
      R"(False [{"z": 1, "a": "<&'>é"}]False)");
}

template <typename Function>
void expect_error(ErrorCode code, const std::string& part, const Function& function) {
  try {
    function();
    ADD_FAILURE() << "no error, expected: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(part));
  }
}

TEST(ChatTemplate, NamesTheLineOfATemplateThatCannotBeParsed) {
  expect_error(ErrorCode::kUnsupported, "(line 2)",
               [] { ChatTemplate::from_source("a\n{% nonsense %}"); });
  expect_error(ErrorCode::kUnsupported, "cannot be parsed",
               [] { ChatTemplate::from_source("{% for x in y %}"); });
}

TEST(ChatTemplate, RefusesBadFilesByName) {
  TemporaryFolder folder;
  folder.write("tokenizer_config.json", "{\"chat_template\": 3}");
  expect_error(ErrorCode::kCorruptFile, "tokenizer_config.json: chat_template",
               [&] { ChatTemplate::from_folder(folder.path()); });
  folder.write("tokenizer_config.json", "{\"chat_template\": ");
  expect_error(ErrorCode::kCorruptFile, "tokenizer_config.json: not valid JSON",
               [&] { ChatTemplate::from_folder(folder.path()); });
  folder.write("tokenizer_config.json", "{}");
  folder.write("chat_template.jinja", "\xff");
  expect_error(ErrorCode::kCorruptFile, "chat_template.jinja",
               [&] { ChatTemplate::from_folder(folder.path()); });
}

TEST(ChatTemplate, RefusesBadMessages) {
  const auto chat_template = ChatTemplate::from_source("x");
  expect_error(ErrorCode::kInvalidArgument, "must be a list",
               [&] { chat_template.render("{}", false); });
  expect_error(ErrorCode::kInvalidArgument, "the messages: not valid JSON",
               [&] { chat_template.render("[", false); });
  expect_error(ErrorCode::kInvalidArgument, "not valid JSON",
               [&] { chat_template.render(std::string(100'000, '['), false); });
}

TEST(ChatTemplate, StopsTemplatesThatWouldNotEnd) {
  const std::pair<const char*, const char*> hostile[] = {
      {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
       "does not come to an end"},
      {"{% for i in range(20000) %}{{ 'x' * 1000 }}{% endfor %}", "longer than 16777216 bytes"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"},
      {"{% set n = namespace(s='xxxx') %}{% for i in range(64) %}{% set n.s = n.s ~ n.s %}"
       "{% endfor %}",
       "does not come to an end"},
  };
  for (const auto& [source, message] : hostile) {
    const auto start = std::chrono::steady_clock::now();
    const auto chat_template = ChatTemplate::from_source(source);
    expect_error(ErrorCode::kInvalidArgument, message,
                 [&] { chat_template.render(kHello, false); });
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  }
}

}  // namespace
}  // namespace lanner
