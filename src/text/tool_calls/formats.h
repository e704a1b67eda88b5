// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lanner/chat.h"
#include "text/tool_calls/parser.h"

namespace lanner {

// How a family writes calls, piece by piece: before_all (before_call name before_arguments
// {arguments} after_call) separator … after_all.
struct CallSyntax {
  std::string_view before_all = {};
  std::string_view before_call = {};
  std::string_view before_arguments = {};
  std::string_view after_call = {};
  std::string_view separator = {};
  std::string_view after_all = {};
  bool one_call_only = false;
};

// A published format of tool calls.
struct ToolCallFormat {
  std::string_view name;
  // What the source of a chat template of this format contains, all of it; formats.cpp lists the
  // more particular formats first.
  std::vector<std::string_view> signs;
  std::vector<std::string_view> unlike = {};  // and none of these
  // Marks of the format, in the text and in the syntax. In many vocabularies they are special
  // tokens.
  std::vector<std::string_view> marks;
  CallSyntax syntax;
  std::unique_ptr<ToolCallParser> (*make_parser)(const std::vector<std::string>& names);
};

// Every format; walked by the tests.
std::span<const ToolCallFormat> tool_call_formats();
// The format of a template, by its source; null if it is none of these.
const ToolCallFormat* find_tool_call_format(std::string_view template_source);

// A Lark grammar of calls of these tools and nothing else: one, or up to 16. special_token gives
// the id of a mark that is a special token. A tool without parameters takes {} only.
std::string tool_call_grammar(
    const ToolCallFormat& format, std::span<const Tool> tools, bool several,
    const std::function<std::optional<int32_t>(std::string_view)>& special_token);

}  // namespace lanner
