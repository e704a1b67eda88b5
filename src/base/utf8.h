// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace lanner {

// Offset of the first byte that is not valid UTF-8 (Unicode 15, table 3-7: no overlong forms, no
// surrogates, nothing above U+10FFFF); nothing if all of it is.
std::optional<size_t> find_invalid_utf8(std::string_view text);

// The same text if it is valid UTF-8; else, as it may be a part of a character, every byte as
// "\xe2".
std::string utf8_or_escapes(std::string_view bytes);

}  // namespace lanner
