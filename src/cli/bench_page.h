// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lanner::cli {

// The report of benchmark_model as one HTML page with plots (html/bench_report.html), which needs
// nothing from anywhere else.
std::string bench_page(const std::string& report);
// The same of `lanner bench serve` (html/serve_report.html).
std::string bench_serve_page(const std::string& report);

}  // namespace lanner::cli
