// SPDX-License-Identifier: Apache-2.0
#include "text/tool_calls/python_arguments.h"

#include <algorithm>
#include <utility>

#include "base/json.h"

namespace lanner {
namespace {

constexpr int kMaxDepth = 32;

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// A recursive descent; every function returns nothing when the text is not of its kind.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::optional<std::string> arguments() {
    std::string json = "{";
    skip_blanks();
    while (!at_end()) {
      const std::string name = word();
      if (name.empty() || !take('=')) return std::nullopt;
      const auto value = literal(0);
      if (!value) return std::nullopt;
      if (json.size() > 1) json += ", ";
      json += Json(name).dump() + ": " + *value;
      if (!take(',') && !at_end()) return std::nullopt;
    }
    return json + "}";
  }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char next() const { return at_end() ? '\0' : text_[at_]; }
  void skip_blanks() {
    while (!at_end() && (next() == ' ' || next() == '\n' || next() == '\t' || next() == '\r')) {
      ++at_;
    }
  }
  bool take(char c) {
    skip_blanks();
    if (next() != c || at_end()) return false;
    ++at_;
    skip_blanks();
    return true;
  }
  std::string word() {
    const size_t begin = at_;
    while (!at_end() && is_name_char(next())) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::optional<std::string> literal(int depth) {
    if (depth > kMaxDepth) return std::nullopt;
    switch (next()) {
      case '\'':
      case '"':
        return text();
      case '[':
        return sequence('[', ']', depth);
      case '(':
        return sequence('(', ')', depth);
      case '{':
        return dictionary(depth);
      default:
        return number_or_name();
    }
  }

  std::optional<std::string> text() {
    const char quote = text_[at_++];
    std::string value;
    while (!at_end() && next() != quote) {
      const char c = text_[at_++];
      if (c != '\\') {
        value += c;
        continue;
      }
      if (at_end()) return std::nullopt;
      const char escaped = text_[at_++];
      constexpr std::string_view kCodes = "ntrbf";
      constexpr std::string_view kCharacters = "\n\t\r\b\f";
      const size_t code = kCodes.find(escaped);
      if (escaped == '\\' || escaped == '\'' || escaped == '"') {
        value += escaped;
      } else if (code != std::string_view::npos) {
        value += kCharacters[code];
      } else {
        value += '\\';
        value += escaped;
      }
    }
    if (at_end()) return std::nullopt;
    ++at_;
    return Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  std::optional<std::string> sequence(char open, char close, int depth) {
    take(open);
    std::string json = "[";
    while (!take(close)) {
      const auto value = literal(depth + 1);
      if (!value) return std::nullopt;
      if (json.size() > 1) json += ", ";
      json += *value;
      if (take(',')) continue;
      if (!take(close)) return std::nullopt;
      break;
    }
    return json + "]";
  }

  std::optional<std::string> dictionary(int depth) {
    take('{');
    std::string json = "{";
    while (!take('}')) {
      if (next() != '\'' && next() != '"') return std::nullopt;
      const auto key = text();
      if (!key || !take(':')) return std::nullopt;
      const auto value = literal(depth + 1);
      if (!value) return std::nullopt;
      if (json.size() > 1) json += ", ";
      json += *key + ": " + *value;
      if (take(',')) continue;
      if (!take('}')) return std::nullopt;
      break;
    }
    return json + "}";
  }

  std::optional<std::string> number_or_name() {
    const size_t begin = at_;
    while (!at_end() && (is_name_char(next()) || next() == '.' || next() == '-' || next() == '+')) {
      ++at_;
    }
    const std::string word(text_.substr(begin, at_ - begin));
    if (word == "True") return "true";
    if (word == "False") return "false";
    if (word == "None") return "null";
    const bool is_number = Json::accept(word) && Json::parse(word).is_number();
    return is_number ? std::optional(word) : std::nullopt;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::optional<std::string> python_arguments(std::string_view text) {
  return Reader(text).arguments();
}

size_t PythonCallScanner::push(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote_ != 0) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == quote_) {
        quote_ = 0;
      }
    } else if (c == '\'' || c == '"') {
      quote_ = c;
    } else if (c == '(') {
      ++depth_;
    } else if (c == ')' && depth_-- == 0) {
      done_ = true;
      return i;
    }
  }
  return text.size();
}

}  // namespace lanner
