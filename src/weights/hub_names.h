// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace lanner {

// Names that come from a hub or a user and become parts of paths and URLs.

// Throws Error(kInvalidArgument) unless it is OWNER/NAME of letters, digits, '-', '_' and '.'.
void check_hub_id(const std::string& id);
// Throws Error(kInvalidArgument) unless it is a branch, tag or commit.
void check_hub_revision(const std::string& revision);
// Throws Error(kCorruptFile) unless it is the relative path of a file inside a model: no "..", no
// empty part, no control characters.
void check_hub_path(const std::string& path);
// A commit or a checksum: so many lower-case hexadecimal digits.
bool is_hex(std::string_view text, size_t digits);
// Whether a name fits a pattern with * (any run, also of '/') and ? (one character).
bool fits_pattern(std::string_view pattern, std::string_view name);
// For the path of a URL: all but letters, digits and "-._~/" as %XX.
std::string url_encoded(std::string_view text);

}  // namespace lanner
