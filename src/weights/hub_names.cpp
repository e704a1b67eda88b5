// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_names.h"

#include <algorithm>

#include "base/error.h"
#include "base/hub_layout.h"
#include "lanner/hub.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

// One part of OWNER/NAME or of a revision.
bool is_plain_name(std::string_view part) {
  return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
         part.find("..") == std::string_view::npos && std::ranges::all_of(part, is_name_char);
}

template <typename Check>
bool all_parts(std::string_view text, Check check) {
  for (;;) {
    const size_t slash = text.find('/');
    if (!check(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

}  // namespace

bool is_hub_id(const std::string& text) { return !hub_folder_name(text).empty(); }

void check_hub_id(const std::string& id) {
  check_argument(is_hub_id(id), "{} is no name of a model on a hub: OWNER/NAME", quote_name(id));
}

void check_hub_revision(const std::string& revision) {
  check_argument(revision.size() <= 200 && all_parts(revision, is_plain_name),
                 "{} is no name of a branch, tag or commit", quote_name(revision));
}

void check_hub_path(const std::string& path) {
  const bool fine = path.size() <= 1024 && all_parts(path, [](std::string_view part) {
                      return !part.empty() && part.size() <= 200 && part != "." && part != ".." &&
                             std::ranges::none_of(part, [](unsigned char c) {
                               return c < 0x20 || c == 0x7f || c == '\\' || c == ':';
                             });
                    });
  if (fine) return;
  throw_error(ErrorCode::kCorruptFile,
              "the hub lists a file {}, which is no path inside a model: nothing is written",
              quote_name(path));
}

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool fits_pattern(std::string_view pattern, std::string_view name) {
  // The last '*' and what it stands for, to be tried again with one character more.
  size_t p = 0, n = 0, star = std::string_view::npos, taken = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n]) && pattern[p] != '*') {
      ++p;
      ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string url_encoded(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (is_name_char(c) || c == '~' || c == '/') {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

}  // namespace lanner
