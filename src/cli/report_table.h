// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lanner::cli {

// A JSON report as a table for people: objects become sections, lists of objects rows, numbers
// under a key that ends in _bytes get a unit. Throws Error(kCorruptFile) if it is not JSON.
std::string report_table(const std::string& json);

}  // namespace lanner::cli
