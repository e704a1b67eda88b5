// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lanner::server {

// What a client may ask for at most. Every field is a row of limits().
struct Limits {
  int64_t header_bytes = 16 << 10;
  int64_t header_count = 100;
  int64_t header_timeout = 20;  // seconds
  int64_t body_bytes = 8 << 20;
  int64_t body_timeout = 60;
  int64_t idle_timeout = 75;
  int64_t connections = 1024;
  int64_t write_buffer_bytes = 1 << 20;
  int64_t write_timeout = 30;
  int64_t json_depth = 64;
  int64_t messages = 2048;
  int64_t tools = 128;
  int64_t prompts = 64;
  int64_t inputs = 2048;
  int64_t stop_strings = 16;
  int64_t n = 16;
  int64_t max_tokens = 1 << 20;
  int64_t top_logprobs = 20;
  int64_t logit_bias = 1024;
  int64_t schema_bytes = 256 << 10;
  int64_t requests_per_key = 256;
  int64_t queue_length = 512;
  int64_t queue_timeout = 60;
};

struct LimitRow {
  const char* name;
  int64_t Limits::* field;
  int64_t lowest;
  int64_t highest;
  int status;  // of a request beyond it; 0: the connection is closed
  const char* meaning;
};

// The one table: --limit NAME=VALUE, the label of lanner_limit_rejections_total, the documentation.
std::span<const LimitRow> limits();
// Throws Error(kInvalidArgument) naming the limit, or listing the known ones.
void set_limit(Limits& limits, std::string_view name_and_value);

}  // namespace lanner::server
