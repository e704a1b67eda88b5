// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace lanner {

// The folder of a model OWNER/NAME in a cache of huggingface_hub's layout: models--OWNER--NAME.
// Empty for a text that is no such name: letters, digits, '-', '_' and '.', neither of them hidden.
inline std::string hub_folder_name(std::string_view id) {
  const auto fits = [](std::string_view part) {
    return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
           part.find("..") == std::string_view::npos && part.find("--") == std::string_view::npos &&
           std::ranges::all_of(part, [](char c) {
             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || c == '.';
           });
  };
  const size_t slash = id.find('/');
  if (slash == std::string_view::npos) return {};
  const std::string_view owner = id.substr(0, slash), name = id.substr(slash + 1);
  if (!fits(owner) || !fits(name)) return {};
  std::string folder = "models--";
  return folder.append(owner).append("--").append(name);
}

}  // namespace lanner
