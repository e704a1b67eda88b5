// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <ostream>
#include <string_view>

#include <fmt/format.h>

#include "base/json.h"
#include "cli/bench_page.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/load_progress.h"
#include "cli/statistics.h"

namespace lanner::cli {
namespace {

void write_page(const std::string& report, const std::string& path) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bench_page(report);
  file.close();
  if (!file) {
    throw Failure(exit_code(ErrorCode::kIo), fmt::format("{}: the page cannot be written", path));
  }
}

}  // namespace

int bench_machine_command(const BenchMachineOptions& options, Context& context) {
  LlmConfig config;
  config.threads = options.threads > 0 ? options.threads : context.threads;
  say(context, "measuring the machine …");
  const std::string report = context.backend.benchmark_machine(config);
  say(context, "");
  print_report(parse_json(report, "report"), options.json, context);
  return kExitOk;
}

int bench_model_command(const BenchModelOptions& options, Context& context) {
  LlmConfig config = to_config(options.model, context);
  config.random_weights = options.random_weights.has_value();
  const std::string path =
      options.random_weights ? *options.random_weights : resolve_model(options.path, context);
  if (options.html) write_page("{}", *options.html);  // rather fail now than after minutes
  std::string report;
  {
    LoadProgress bar(context.err, "loading");
    const auto progress = [&](const char* stage, int64_t done, int64_t total) {
      if (!context.err_is_terminal) return;
      if (std::string_view(stage) == "weights") return bar.update(stage, done, total);
      say(context, total > 0 ? fmt::format("{}: run {} of {} …", stage, done + 1, total)
                             : fmt::format("{} …", stage));
    };
    report = context.backend.benchmark_model(path, config, options.benchmark, progress);
  }
  say(context, "");
  if (options.html) write_page(report, *options.html);
  print_report(parse_json(report, "report"), options.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
