// SPDX-License-Identifier: Apache-2.0
#include "text/tool_calls/parser.h"

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "text/tool_calls/formats.h"

namespace lanner {
namespace {

// Everything a parser has said, added up.
struct Answer {
  std::string content;
  struct Call {
    std::string id;
    std::string name;
    std::string arguments;
    bool operator==(const Call&) const = default;
  };
  std::vector<Call> calls;
  bool operator==(const Answer&) const = default;
};

void PrintTo(const Answer& answer, std::ostream* out) {
  *out << "content <" << answer.content << ">";
  for (const auto& call : answer.calls) {
    *out << " call <" << call.id << "> <" << call.name << "> <" << call.arguments << ">";
  }
}

const std::vector<std::string> kNames = {"weather", "get_time", "f"};

const ToolCallFormat& format(std::string_view name) {
  for (const ToolCallFormat& format : tool_call_formats()) {
    if (format.name == name) return format;
  }
  throw std::runtime_error("no format " + std::string(name));
}

void add(const ChatDelta& news, Answer& answer) {
  answer.content += news.content;
  for (const ToolCallDelta& delta : news.tool_calls) {
    const auto index = static_cast<size_t>(delta.index);
    if (index == answer.calls.size()) {
      answer.calls.push_back({delta.id, delta.name, ""});
      EXPECT_FALSE(delta.name.empty());
    } else {
      ASSERT_EQ(index + 1, answer.calls.size()) << "deltas out of order";
      EXPECT_EQ(delta.name, "") << "a name comes once";
    }
    answer.calls.back().arguments += delta.arguments;
  }
}

Answer parse(std::string_view format_name, const std::vector<std::string_view>& pieces) {
  const auto parser = format(format_name).make_parser(kNames);
  Answer answer;
  ChatDelta news;
  for (std::string_view piece : pieces) {
    news = {};
    parser->push(piece, news);
    add(news, answer);
  }
  news = {};
  parser->finish(news);
  add(news, answer);
  EXPECT_EQ(parser->num_calls(), static_cast<int>(answer.calls.size()));
  return answer;
}

struct Case {
  std::string_view format;
  std::string_view text;
  Answer expected;
};

const Case kCases[] = {
    // Hermes, Qwen.
    {"hermes", "Hello, no call. ", {"Hello, no call. ", {}}},
    {"hermes", "", {"", {}}},
    {"hermes", " \n", {" \n", {}}},
    {"hermes",
     "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Z\\\"}é\", \"n\": [1, "
     "{}]}}\n"
     "</tool_call>",
     {"", {{"", "weather", "{\"city\": \"Z\\\"}é\", \"n\": [1, {}]}"}}}},
    {"hermes",
     "Let me see.\n\n<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>\n<tool_call>\n"
     "{\"arguments\": {\"x\": 1}, \"name\": \"b\"}\n</tool_call>\n",
     {"Let me see.", {{"", "a", "{}"}, {"", "b", "{\"x\": 1}"}}}},
    {"hermes",
     "<tool_call>{\"name\":\"a\",\"arguments\":\"{\\\"x\\\": 2}\"}</tool_call> Done.",
     {"Done.", {{"", "a", "{\"x\": 2}"}}}},
    {"hermes", "<tool_call>{\"name\":\"a\"}</tool_call>", {"", {{"", "a", "{}"}}}},
    {"hermes", "<tool_call>{\"name\":\"a\",\"arguments\":null}", {"", {{"", "a", "{}"}}}},
    {"hermes",
     "<tool_call>{\"id\": 3, \"name\":\"a\", \"type\": [\"x\", {\"name\": 1}], \"arguments\": {}}",
     {"", {{"", "a", "{}"}}}},
    // The end mark forgotten; the answer cut off in the arguments.
    {"hermes",
     "<tool_call>{\"name\":\"a\",\"arguments\":{}}<tool_call>{\"name\":\"b\",\"arguments\":{\"c",
     {"", {{"", "a", "{}"}, {"", "b", "{\"c"}}}},
    // What only looks like a call.
    {"hermes", "a <tool_call> b", {"a <tool_call> b", {}}},
    {"hermes",
     "a <tool_call>\n{\"x\": 1}</tool_call>",
     {"a <tool_call>\n{\"x\": 1}</tool_call>", {}}},
    {"hermes", "<tool_call>{\"name\": 5}", {"<tool_call>{\"name\": 5}", {}}},
    {"hermes", "<tool_call>{\"name\": \"a", {"<tool_call>{\"name\": \"a", {}}},
    {"hermes", "<tool_call>", {"<tool_call>", {}}},
    {"hermes", "<tool_cal", {"<tool_cal", {}}},
    {"hermes", "<<tool_call>{}", {"<<tool_call>{}", {}}},
    {"hermes", "1 < 2 <tool", {"1 < 2 <tool", {}}},
    // Llama 3.
    {"llama3",
     "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}",
     {"", {{"", "weather", "{\"city\": \"Rome\"}"}}}},
    {"llama3",
     " <|python_tag|>{\"name\": \"unknown\", \"parameters\": {}}; {\"name\": \"f\", "
     "\"parameters\": {}}",
     {"", {{"", "unknown", "{}"}, {"", "f", "{}"}}}},
    {"llama3", "{\"name\": \"Bob\", \"age\": 3}", {"{\"name\": \"Bob\", \"age\": 3}", {}}},
    {"llama3", "{\"name\": \"f\", \"age\": 3}", {"{\"name\": \"f\", \"age\": 3}", {}}},
    {"llama3", " {\"a\": 1} and more", {" {\"a\": 1} and more", {}}},
    {"llama3",
     "See: {\"name\": \"f\", \"parameters\": {}}",
     {"See: {\"name\": \"f\", \"parameters\": {}}", {}}},
    // Mistral.
    {"mistral",
     "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": []}, \"id\": \"abc123XYZ\"}, "
     "{\"name\": \"g\", \"arguments\": {}}]",
     {"", {{"", "f", "{\"a\": []}"}, {"", "g", "{}"}}}},
    {"mistral", "Well[TOOL_CALLS][x]", {"Well[TOOL_CALLS][x]", {}}},
    {"mistral", "[1] [TOOL", {"[1] [TOOL", {}}},
    {"mistral", "[TOOL_CALLS]", {"[TOOL_CALLS]", {}}},
    {"mistral", "[TOOL_CALLS] []", {"[TOOL_CALLS] []", {}}},
    {"mistral-args",
     "[TOOL_CALLS]f[ARGS]{\"a\": \"[ARGS]\"}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}",
     {"", {{"", "f", "{\"a\": \"[ARGS]\"}"}, {"x1", "g", "{}"}}}},
    {"mistral-args", "Hm [TOOL_CALLS]f[ARGS]3", {"Hm [TOOL_CALLS]f[ARGS]3", {}}},
    {"mistral-args", "[TOOL_CALLS]f", {"[TOOL_CALLS]f", {}}},
    // DeepSeek.
    {"deepseek-v3",
     "I "
     "look.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": "
     "1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```"
     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     {"I look.", {{"", "f", "{\"a\": 1}"}, {"", "g", "{}"}}}},
    {"deepseek-v3.1",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": \"é｜\"}<｜tool▁call▁end｜>"
     "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     {"", {{"", "f", "{\"a\": \"é｜\"}"}, {"", "g", "{}"}}}},
    {"deepseek-v3.1", "<｜tool▁calls▁begin｜>x", {"<｜tool▁calls▁begin｜>x", {}}},
    {"deepseek-v3.1",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>no",
     {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>no", {}}},
    {"deepseek-v3", "<｜tool▁cal", {"<｜tool▁cal", {}}},
    // GLM-4, ChatGLM3.
    {"glm", "\nHello\nf", {"\nHello\nf", {}}},
    {"glm", "weather\n{\"city\": \"北京\"}", {"", {{"", "weather", "{\"city\": \"北京\"}"}}}},
    {"glm", "weather", {"weather", {}}},
    {"glm", "weather\nis fine", {"weather\nis fine", {}}},
    {"glm", "unknown\n{}", {"unknown\n{}", {}}},
    {"glm",
     "weather\n ```python\ntool_call(city='Z\\'ü)', days=3, deep=[1.5, {'a': (True, None)}])\n```",
     {"",
      {{"", "weather",
        "{\"city\": \"Z'ü)\", \"days\": 3, \"deep\": [1.5, {\"a\": [true, null]}]}"}}}},
    {"glm", "f\n```python\ntool_call()\n```", {"", {{"", "f", "{}"}}}},
    {"glm",
     "f\n```python\ntool_call(__import__('os'))",
     {"f\n```python\ntool_call(__import__('os'))", {}}},
    {"glm", "f\n```python\ntool_call(a='", {"f\n```python\ntool_call(a='", {}}},
};

TEST(ToolCallParser, FindsTheCallsOfEveryFormatWhereverTheStreamIsCut) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(parse(c.format, {c.text}), c.expected);
    std::vector<std::string_view> bytes;
    for (size_t i = 0; i < c.text.size(); ++i) {
      bytes.push_back(c.text.substr(i, 1));
      EXPECT_EQ(parse(c.format, {c.text.substr(0, i), c.text.substr(i)}), c.expected) << i;
    }
    EXPECT_EQ(parse(c.format, bytes), c.expected);
  }
}

TEST(ToolCallParser, HasACaseWithCallsForEveryFormat) {
  std::map<std::string_view, int> calls;
  for (const Case& c : kCases) calls[c.format] += static_cast<int>(c.expected.calls.size());
  for (const ToolCallFormat& f : tool_call_formats()) EXPECT_GT(calls[f.name], 0) << f.name;
}

TEST(ToolCallParser, StreamsArgumentsAsTheyCome) {
  const auto parser = format("hermes").make_parser(kNames);
  ChatDelta news;
  parser->push("<tool_call>{\"name\": \"f\", \"arguments\": {\"a", news);
  ASSERT_EQ(news.tool_calls.size(), 1u);
  EXPECT_EQ(news.tool_calls[0].name, "f");
  EXPECT_EQ(news.tool_calls[0].arguments, "{\"a");
  news = {};
  parser->push("bc\"", news);
  ASSERT_EQ(news.tool_calls.size(), 1u);
  EXPECT_EQ(news.tool_calls[0].arguments, "bc\"");
}

// Text that no parser may choke on: every byte is looked at a bounded number of times, and what is
// no call comes back as it was.
TEST(ToolCallParser, HostileTextTakesLinearTimeAndComesBack) {
  const std::string_view units[] = {"<tool_call>",
                                    "<tool_call>{",
                                    "<",
                                    "{",
                                    "[",
                                    "\"",
                                    "\\",
                                    "\n",
                                    "{\"name\":",
                                    "[TOOL_CALLS]",
                                    "[TOOL_CALLS] [",
                                    "[TOOL_CALLS]f",
                                    "[TOOL_CALLS]f[ARGS]",
                                    "<|python_tag|>",
                                    "<｜tool▁calls▁begin｜>",
                                    "<｜tool▁call▁begin｜>",
                                    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f",
                                    "weather\n",
                                    "f\n```python\ntool_call(",
                                    "<tool_call>{\"name\":\"f\",\"arguments\":{",
                                    "<tool_call>{\"name\":\"f\",\"arguments\":[",
                                    "\xff",
                                    "('"};
  const auto start = std::chrono::steady_clock::now();
  for (const ToolCallFormat& f : tool_call_formats()) {
    for (std::string_view unit : units) {
      std::string text;
      while (text.size() < 60'000) text += unit;
      for (const size_t piece : {size_t{7}, text.size()}) {
        std::vector<std::string_view> pieces;
        for (size_t i = 0; i < text.size(); i += piece) {
          pieces.push_back(std::string_view(text).substr(i, piece));
        }
        const Answer answer = parse(f.name, pieces);
        if (answer.calls.empty()) {
          EXPECT_EQ(answer.content, text) << f.name << " " << unit;
        }
      }
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(4));
}

TEST(ToolCallFormats, AreToldByTheTemplate) {
  const auto name = [](std::string_view source) {
    const ToolCallFormat* found = find_tool_call_format(source);
    return found == nullptr ? std::string_view("none") : found->name;
  };
  EXPECT_EQ(name("{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call> "
                 "<tool_call>"),
            "hermes");
  EXPECT_EQ(name("<tool_call>{name}<arg_key> arguments"), "none");
  EXPECT_EQ(name("<|start_header_id|> {\"name\": function name, \"parameters\": dictionary of"),
            "llama3");
  EXPECT_EQ(name("{{ '[TOOL_CALLS] [' }}"), "mistral");
  EXPECT_EQ(name("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}"), "mistral-args");
  EXPECT_EQ(name("<｜tool▁calls▁begin｜> ```json"), "deepseek-v3");
  EXPECT_EQ(name("<｜tool▁calls▁begin｜>"), "deepseek-v3.1");
  EXPECT_EQ(name("[gMASK]<sop> <|observation|>"), "glm");
  EXPECT_EQ(name("<|im_start|>"), "none");
}

TEST(ToolCallFormats, GrammarsSpellMarksAsTokensWhereTheyAreSome) {
  const Tool tools[] = {{.name = "f", .parameters = R"({"type":"object"})"}, {.name = "g"}};
  const auto no_token = [](std::string_view) { return std::optional<int32_t>(); };
  EXPECT_EQ(tool_call_grammar(format("hermes"), tools, false, no_token),
            "start: call\ncall: call_0 | call_1\n"
            "call_0: \"<tool_call>\\n{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": \" arguments_0 "
            "\"}\\n</tool_call>\"\n"
            "arguments_0: %json {\"type\":\"object\"}\n"
            "call_1: \"<tool_call>\\n{\\\"name\\\": \\\"g\\\", \\\"arguments\\\": \" arguments_1 "
            "\"}\\n</tool_call>\"\n"
            "arguments_1: %json {\"type\": \"object\", \"properties\": {}, "
            "\"additionalProperties\": false}\n");
  const auto token = [](std::string_view) { return std::optional<int32_t>(7); };
  EXPECT_EQ(tool_call_grammar(format("mistral"), std::span(tools, 1), true, token),
            "start: <[7]> \" [\" call ( \", \" call){0,15} \"]\"\ncall: call_0\n"
            "call_0: \"{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": \" arguments_0 \"}\"\n"
            "arguments_0: %json {\"type\":\"object\"}\n");
}

}  // namespace
}  // namespace lanner
