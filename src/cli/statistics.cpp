// SPDX-License-Identifier: Apache-2.0
#include "cli/statistics.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <random>

#include "cli/report_table.h"

namespace lanner::cli {

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::clamp(rank, size_t{1}, values.size()) - 1];
}

Json percentiles_ms(const std::vector<double>& seconds) {
  return Json{{"p50", percentile(seconds, 0.50) * 1e3},
              {"p90", percentile(seconds, 0.90) * 1e3},
              {"p99", percentile(seconds, 0.99) * 1e3}};
}

void print_report(const Json& report, bool as_json, Context& context) {
  context.out << (as_json ? report.dump(2) + "\n" : report_table(report.dump()));
  flush_output(context);
}

std::vector<int32_t> random_tokens(int count, uint32_t seed, int64_t vocab_size) {
  std::mt19937 generator(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) {
    id = static_cast<int32_t>(generator() % static_cast<uint64_t>(vocab_size));
  }
  return ids;
}

void say(Context& context, const std::string& what) {
  if (context.err_is_terminal) context.err << "\r\033[K" << what << std::flush;
}

}  // namespace lanner::cli
