// SPDX-License-Identifier: Apache-2.0
#include "cli/help_formatter.h"

#include <string_view>

#include <fmt/format.h>

namespace lanner::cli {
namespace {

constexpr size_t kNameWidth = 36;
constexpr size_t kLineWidth = 100;

std::string wrapped(std::string_view text, size_t indent) {
  std::string lines;
  size_t column = indent;
  while (!text.empty()) {
    const size_t end = text.find(' ');
    const std::string_view word = text.substr(0, end);
    if (column > indent && column + 1 + word.size() > kLineWidth) {
      lines += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += word.size();
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

}  // namespace

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  const std::string name = make_option_name(option, is_positional) + make_option_opts(option);
  std::string line = fmt::format("  {:<{}}", name, kNameWidth - 2);
  if (line.size() > kNameWidth) line = "  " + name + "\n" + std::string(kNameWidth, ' ');
  return line + wrapped(make_option_desc(option), kNameWidth) + "\n";
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0) return "";
  // CLI11 says "FLOAT:[0, 1]": the type, then what the check says of itself.
  const std::string type = option->get_type_name();
  const size_t colon = type.find(':');
  const std::string value = colon == std::string::npos ? type : type.substr(colon + 1);
  return value.empty() ? "" : " " + value;
}

}  // namespace lanner::cli
