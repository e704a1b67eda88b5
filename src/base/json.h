// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace lanner {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  int max_depth = 64;
};

// Parses text from a file or a client. Throws Error(kCorruptFile) that starts with `name` and says
// what is wrong and where: not JSON, trailing bytes, duplicate keys, deeper or larger than allowed.
Json parse_json(std::string_view text, std::string_view name, const JsonLimits& limits = {});

// The same from a file. Throws Error(kNotFound) or Error(kIo) as well.
Json read_json_file(const std::string& path, const JsonLimits& limits = {});

}  // namespace lanner
