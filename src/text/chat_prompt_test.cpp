// SPDX-License-Identifier: Apache-2.0
#include "text/chat_prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lanner/error.h"

namespace lanner {
namespace {

TEST(ChatPrompt, LeavesOutWhatAMessageDoesNotHave) {
  EXPECT_EQ(messages_json({{.role = "user", .content = "a\"b"}}),
            R"([{"role":"user","content":"a\"b"}])");
}

TEST(ChatPrompt, JoinsThePartsOfAContent) {
  EXPECT_EQ(messages_json({{.role = "user", .content = "", .content_parts = {"a", "", "b"}}}),
            R"([{"role":"user","content":"a\n\nb"}])");
}

TEST(ChatPrompt, GivesToolCallsTheirArgumentsAsObjectsInTheirOrder) {
  const std::vector<ChatMessage> messages = {
      {.role = "assistant",
       .content = "",
       .reasoning_content = "hm",
       .tool_calls = {{.id = "c1", .name = "f", .arguments = R"({"z": 1, "a": [true]})"},
                      {.id = "", .name = "g", .arguments = ""}}},
      {.role = "tool", .content = "7", .tool_call_id = "c1", .name = "f"}};
  EXPECT_EQ(
      messages_json(messages),
      R"([{"role":"assistant","content":"","reasoning_content":"hm","tool_calls":[)"
      R"({"type":"function","function":{"name":"f","arguments":{"z":1,"a":[true]}},"id":"c1"},)"
      R"({"type":"function","function":{"name":"g","arguments":{}}}]},)"
      R"({"role":"tool","content":"7","tool_call_id":"c1","name":"f"}])");
}

TEST(ChatPrompt, GivesToolsAsPublishedTemplatesReadThem) {
  EXPECT_EQ(tools_json({}), "");
  EXPECT_EQ(tools_json({{.name = "f",
                         .description = "does it",
                         .parameters = R"({"type":"object","properties":{"z":{},"a":{}}})"},
                        {.name = "g"}}),
            R"([{"type":"function","function":{"name":"f","description":"does it","parameters":)"
            R"({"type":"object","properties":{"z":{},"a":{}}}}},)"
            R"({"type":"function","function":{"name":"g","parameters":)"
            R"({"type":"object","properties":{}}}}])");
}

template <typename Function>
void expect_invalid(const std::string& part, const Function& function) {
  try {
    function();
    ADD_FAILURE() << "no error, expected: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument) << e.what();
    EXPECT_THAT(e.what(), testing::HasSubstr(part));
  }
}

TEST(ChatPrompt, RefusesMalformedMessagesByName) {
  expect_invalid("no messages", [] { messages_json({}); });
  expect_invalid("messages[0] has no role", [] { messages_json({{.role = "", .content = "x"}}); });
  expect_invalid("messages[0] has both",
                 [] { messages_json({{.role = "user", .content = "x", .content_parts = {"y"}}}); });
  expect_invalid("not valid UTF-8", [] { messages_json({{.role = "user", .content = "\xff"}}); });
  for (const std::string& arguments :
       {std::string("{"), std::string("[1]"), std::string("3"), std::string(R"({"a":1,"a":2})"),
        std::string(100'000, '[')}) {
    expect_invalid("messages[1].tool_calls[0].arguments", [&] {
      messages_json({{.role = "user", .content = "x"},
                     {.role = "assistant",
                      .content = "",
                      .tool_calls = {{.id = "", .name = "f", .arguments = arguments}}}});
    });
  }
  expect_invalid("tool_calls[0] has no name", [] {
    messages_json({{.role = "assistant", .content = "", .tool_calls = {{.arguments = "{}"}}}});
  });
}

TEST(ChatPrompt, RefusesMalformedToolsByName) {
  for (const std::string& name : {std::string(), std::string("a b"), std::string(65, 'a'),
                                  std::string("x\n"), std::string("é")}) {
    expect_invalid("tools[0] has the name", [&] { tools_json({{.name = name}}); });
  }
  expect_invalid("two tools have the name 'f'", [] { tools_json({{.name = "f"}, {.name = "f"}}); });
  expect_invalid("parameters of tool 'f'", [] { tools_json({{.name = "f", .parameters = "[]"}}); });
  expect_invalid("parameters of tool 'f': JSON nested deeper", [] {
    std::string deep;
    for (int i = 0; i < 100'000; ++i) deep += R"({"a":)";
    tools_json({{.name = "f", .parameters = deep}});
  });
  expect_invalid("129 tools", [] {
    std::vector<Tool> tools;
    for (int i = 0; i < 129; ++i)
      tools.push_back({.name = std::string(1, 'f').append(std::to_string(i))});
    tools_json(tools);
  });
}

}  // namespace
}  // namespace lanner
