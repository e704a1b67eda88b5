// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/context.h"

namespace lanner::cli {

// What the benchmarks share.

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to);
// The value below which a share of the values lies, the nearest one up; 0 of no values.
double percentile(std::vector<double> values, double share);
// {"p50", "p90", "p99"} in milliseconds.
Json percentiles_ms(const std::vector<double>& seconds);
// As JSON or as a table.
void print_report(const Json& report, bool as_json, Context& context);
// The same on every machine, each in [0, vocab_size).
std::vector<int32_t> random_tokens(int count, uint32_t seed, int64_t vocab_size);
// What is being done, on a terminal only; "" clears it.
void say(Context& context, const std::string& what);

}  // namespace lanner::cli
