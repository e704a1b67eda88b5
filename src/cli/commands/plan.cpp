// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <ostream>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/options.h"
#include "cli/report_table.h"

namespace lanner::cli {
namespace {

std::string read_report(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    throw Failure(exit_code(ErrorCode::kNotFound), fmt::format("{} cannot be read", path),
                  "lanner bench comm --json > FILE makes such a report");
  }
  return text.str();
}

}  // namespace

void add_plan_options(CLI::App& command, PlanOptions& options) {
  command
      .add_option("MODEL", options.path,
                  "Folder with config.json, a config.json, or one of the presets llama-1b, "
                  "llama2-7b-4l; the weights need not be there")
      ->required();
  const char* group = "What to predict";
  command.add_option("--ranks", options.plan.ranks, "Numbers of ranks [1,2,4,8]")
      ->delimiter(',')
      ->check(whole_number(1, 1024))
      ->group(group);
  command.add_option("--batch", options.plan.batch, "Sequences decoded together [1]")
      ->check(whole_number(1, 4096))
      ->group(group);
  command.add_option("--depth", options.plan.depth, "Tokens in the KV cache before [0]")
      ->check(whole_number(0, 1 << 20))
      ->group(group);
  command
      .add_option("--sums-per-layer", options.plan.sums_per_layer,
                  "1 where attention and MLP of a block are parallel [2]")
      ->check(whole_number(1, 2))
      ->group(group);
  group = "The ranks' machines";
  command
      .add_option("--latency", options.plan.latency_us,
                  "Microseconds of a small message between two ranks")
      ->check(CLI::Range(1e-3, 1e6))
      ->group(group);
  command
      .add_option("--bandwidth", options.plan.bandwidth_gbps,
                  "10^9 bytes per second between two ranks")
      ->check(CLI::Range(1e-6, 1e6))
      ->group(group);
  command
      .add_option("--comm", options.communication,
                  "Report of `lanner bench comm --json`, instead of both")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--read-gbps", options.plan.read_gbps,
                  "10^9 bytes per second that a rank reads from its memory; 0: as this machine [0]")
      ->check(CLI::Range(0.0, 1e6))
      ->group(group);
  add_model_options(command, options.model);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nSome of the model's layers run here with random weights; from their time, the number of\n"
      "layers and the ranks' messages (two sums per layer, one broadcast, one gather) follows the\n"
      "time of a token. efficiency is against the first number of ranks. docs/distributed.md has\n"
      "the formula and what it was checked with.\n"
      "\nExamples:\n"
      "  lanner plan ~/models/Llama-2-70b --dtype int8 --latency 5 --bandwidth 12 --read-gbps 280\n"
      "  lanner bench comm --json > comm.json; lanner plan llama-1b --ranks 1,2 --comm "
      "comm.json\n");
}

int plan_command(const PlanOptions& options, Context& context) {
  DistributedPlan plan = options.plan;
  const bool has_link = plan.latency_us > 0 && plan.bandwidth_gbps > 0;
  const bool has_part = plan.latency_us > 0 || plan.bandwidth_gbps > 0;
  if (options.communication ? has_part : !has_link) {
    throw usage_failure("the ranks' connection is given by --latency and --bandwidth, or by --comm",
                        "lanner plan --help");
  }
  if (options.communication) plan.communication = read_report(*options.communication);
  LlmConfig config = to_config(options.model, context);
  config.random_weights = true;
  const std::string report = context.backend.plan_distributed(options.path, config, plan, {});
  context.out << (options.json ? report + "\n" : report_table(report));
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
