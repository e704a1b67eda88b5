// SPDX-License-Identifier: Apache-2.0
#include "text/tool_calls/formats.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/json.h"
#include "text/tool_calls/parsers.h"

namespace lanner {
namespace {

constexpr int kMaxCalls = 16;
constexpr std::string_view kNoParameters =
    R"({"type": "object", "properties": {}, "additionalProperties": false})";

const std::vector<ToolCallFormat>& all_formats() {
  static const std::vector<ToolCallFormat> formats = {
      // DeepSeek V3 and R1 put the arguments into a code block, V3.1 does not.
      {.name = "deepseek-v3",
       .signs = {"<｜tool▁calls▁begin｜>", "```json"},
       .marks = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
                 "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"},
       .syntax = {.before_all = "<｜tool▁calls▁begin｜>",
                  .before_call = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                  .before_arguments = "\n```json\n",
                  .after_call = "\n```<｜tool▁call▁end｜>",
                  .separator = "\n",
                  .after_all = "<｜tool▁calls▁end｜>"},
       .make_parser = make_deepseek_parser},
      {.name = "deepseek-v3.1",
       .signs = {"<｜tool▁calls▁begin｜>"},
       .marks = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
                 "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"},
       .syntax = {.before_all = "<｜tool▁calls▁begin｜>",
                  .before_call = "<｜tool▁call▁begin｜>",
                  .before_arguments = "<｜tool▁sep｜>",
                  .after_call = "<｜tool▁call▁end｜>",
                  .after_all = "<｜tool▁calls▁end｜>"},
       .make_parser = make_deepseek_parser},
      // Mistral from v11 on.
      {.name = "mistral-args",
       .signs = {"[TOOL_CALLS]", "[ARGS]"},
       .marks = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"},
       .syntax = {.before_call = "[TOOL_CALLS]", .before_arguments = "[ARGS]"},
       .make_parser = make_mistral_args_parser},
      {.name = "mistral",
       .signs = {"[TOOL_CALLS]"},
       .marks = {"[TOOL_CALLS]"},
       .syntax = {.before_all = "[TOOL_CALLS] [",
                  .before_call = R"({"name": ")",
                  .before_arguments = R"(", "arguments": )",
                  .after_call = "}",
                  .separator = ", ",
                  .after_all = "]"},
       .make_parser = make_mistral_list_parser},
      // Hermes 2 and 3, Qwen 2.5 and 3, SmolLM3.
      {.name = "hermes",
       .signs = {"<tool_call>", "arguments"},
       // GLM 4.5 and Qwen 3 Coder write something else between the same marks.
       .unlike = {"<arg_key>", "<function="},
       .marks = {"<tool_call>", "</tool_call>"},
       .syntax = {.before_call = "<tool_call>\n{\"name\": \"",
                  .before_arguments = R"(", "arguments": )",
                  .after_call = "}\n</tool_call>",
                  .separator = "\n"},
       .make_parser = make_hermes_parser},
      // Llama 3.1, 3.2, 3.3.
      {.name = "llama3",
       .signs = {"<|start_header_id|>", R"({"name": )", R"("parameters": )"},
       .marks = {"<|python_tag|>"},
       .syntax = {.before_call = R"({"name": ")",
                  .before_arguments = R"(", "parameters": )",
                  .after_call = "}",
                  .separator = "; "},
       .make_parser = make_llama3_parser},
      // GLM-4 and ChatGLM3.
      {.name = "glm",
       .signs = {"[gMASK]", "<|observation|>"},
       .marks = {},
       .syntax = {.before_arguments = "\n", .one_call_only = true},
       .make_parser = make_glm_parser},
  };
  return formats;
}

using SpecialToken = std::function<std::optional<int32_t>(std::string_view)>;

// A text of the syntax as Lark: marks that are special tokens by their ids, the rest as literals.
std::string lark_text(std::string_view text, const ToolCallFormat& format,
                      const SpecialToken& special_token) {
  std::string lark;
  const auto add_literal = [&](std::string_view literal) {
    if (!literal.empty()) lark += ' ' + Json(std::string(literal)).dump();
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const auto mark = std::ranges::find_if(
        format.marks, [&](std::string_view each) { return text.substr(at).starts_with(each); });
    if (mark == format.marks.end()) {
      ++at;
      continue;
    }
    if (const std::optional<int32_t> id = special_token(*mark)) {
      add_literal(text.substr(begin, at - begin));
      lark += fmt::format(" <[{}]>", *id);
      begin = at + mark->size();
    }
    at += mark->size();
  }
  add_literal(text.substr(begin));
  return lark;
}

}  // namespace

std::span<const ToolCallFormat> tool_call_formats() { return all_formats(); }

const ToolCallFormat* find_tool_call_format(std::string_view template_source) {
  for (const ToolCallFormat& format : all_formats()) {
    const auto has = [&](std::string_view sign) {
      return template_source.find(sign) != std::string_view::npos;
    };
    if (std::ranges::all_of(format.signs, has) && std::ranges::none_of(format.unlike, has)) {
      return &format;
    }
  }
  return nullptr;
}

std::string tool_call_grammar(const ToolCallFormat& format, std::span<const Tool> tools,
                              bool several, const SpecialToken& special_token) {
  const auto lark = [&](std::string_view text) { return lark_text(text, format, special_token); };
  const CallSyntax& syntax = format.syntax;
  std::string grammar = "start:" + lark(syntax.before_all) + " call";
  if (several && !syntax.one_call_only) {
    grammar += fmt::format(" ({} call){{0,{}}}", lark(syntax.separator), kMaxCalls - 1);
  }
  grammar += lark(syntax.after_all) + "\ncall:";
  for (size_t i = 0; i < tools.size(); ++i) grammar += fmt::format("{} call_{}", i ? " |" : "", i);
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string head =
        std::string(syntax.before_call) + tools[i].name + std::string(syntax.before_arguments);
    grammar +=
        fmt::format("\ncall_{}:{} arguments_{}{}", i, lark(head), i, lark(syntax.after_call));
    grammar += fmt::format("\narguments_{}: %json {}", i,
                           tools[i].parameters.empty() ? kNoParameters : tools[i].parameters);
  }
  return grammar + "\n";
}

}  // namespace lanner
