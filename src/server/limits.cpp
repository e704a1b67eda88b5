// SPDX-License-Identifier: Apache-2.0
#include "server/limits.h"

#include <charconv>
#include <string>
#include <vector>

#include "base/error.h"

namespace lanner::server {
namespace {

constexpr int64_t kMany = int64_t{1} << 30;

constexpr LimitRow kRows[] = {
    {"header_bytes", &Limits::header_bytes, 256, 1 << 20, 431,
     "bytes of a request's line and headers"},
    {"header_count", &Limits::header_count, 8, 10000, 431, "headers of a request"},
    {"header_timeout", &Limits::header_timeout, 1, 3600, 408,
     "seconds from a request's first byte to its last header"},
    {"body_bytes", &Limits::body_bytes, 1, kMany, 413, "bytes of a request's body"},
    {"body_timeout", &Limits::body_timeout, 1, 3600, 408, "seconds for a request's body"},
    {"idle_timeout", &Limits::idle_timeout, 1, 86400, 0,
     "seconds a connection waits for its next request"},
    {"connections", &Limits::connections, 1, 1 << 20, 503, "open connections"},
    {"write_buffer_bytes", &Limits::write_buffer_bytes, 4096, kMany, 0,
     "bytes of an answer that its client has not taken yet"},
    {"write_timeout", &Limits::write_timeout, 1, 3600, 0,
     "seconds in which a client takes nothing of its answer"},
    {"json_depth", &Limits::json_depth, 4, 1000, 400, "levels of nesting in a body"},
    {"messages", &Limits::messages, 1, kMany, 400, "messages of a conversation"},
    {"tools", &Limits::tools, 1, kMany, 400, "tools of a request"},
    {"prompts", &Limits::prompts, 1, kMany, 400, "prompts of a request"},
    {"inputs", &Limits::inputs, 1, kMany, 400, "texts of a request for embeddings"},
    {"stop_strings", &Limits::stop_strings, 0, 16, 400, "stop strings"},
    {"n", &Limits::n, 1, 1024, 400, "answers to one prompt"},
    {"max_tokens", &Limits::max_tokens, 1, kMany, 400, "tokens of an answer that may be asked for"},
    {"top_logprobs", &Limits::top_logprobs, 0, 1024, 400, "alternatives given with a token"},
    {"logit_bias", &Limits::logit_bias, 0, kMany, 400, "entries of logit_bias"},
    {"schema_bytes", &Limits::schema_bytes, 2, kMany, 400,
     "bytes of a JSON schema, regular expression or grammar"},
    {"requests_per_key", &Limits::requests_per_key, 1, kMany, 429,
     "requests under way of one API key, or of one address without keys"},
    {"queue_length", &Limits::queue_length, 0, kMany, 503, "requests that wait for a model"},
    {"queue_timeout", &Limits::queue_timeout, 1, 86400, 503, "seconds a request waits for a model"},
};

}  // namespace

std::span<const LimitRow> limits() { return kRows; }

void set_limit(Limits& limits, std::string_view name_and_value) {
  const size_t equals = name_and_value.find('=');
  const std::string_view name = name_and_value.substr(0, equals);
  std::vector<std::string_view> known;
  for (const LimitRow& row : kRows) {
    known.emplace_back(row.name);
    if (name != row.name) continue;
    const std::string_view text =
        equals == std::string_view::npos ? "" : name_and_value.substr(equals + 1);
    int64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    check_argument(failure == std::errc() && end == text.data() + text.size() &&
                       value >= row.lowest && value <= row.highest,
                   "limit {}: '{}' is not a whole number in [{}, {}]", name, text, row.lowest,
                   row.highest);
    limits.*row.field = value;
    return;
  }
  throw_error(ErrorCode::kInvalidArgument, "limit '{}' is unknown; known: {}", name,
              fmt::join(known, ", "));
}

}  // namespace lanner::server
