// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lanner::cli {

// "1,2,3" (spaces around the commas allowed) to token ids. `option` names the place in the error.
// Throws Failure(kExitUsage) if it is anything else.
std::vector<int32_t> parse_token_ids(std::string_view text, std::string_view option);

// 1536 -> "1.5 KiB".
std::string format_bytes(int64_t bytes);
// 0.0042 -> "4.20 ms".
std::string format_seconds(double seconds);

}  // namespace lanner::cli
