// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <ostream>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/json.h"
#include "cli/child_program.h"
#include "cli/commands.h"
#include "cli/failure.h"

namespace lanner::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = "_bench";

// The ops that have a benchmark program in the folder, sorted.
std::vector<std::string> ops_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(kSuffix)) names.push_back(name.substr(0, name.size() - kSuffix.size()));
  }
  std::sort(names.begin(), names.end());
  if (!names.empty()) return names;
  throw Failure(exit_code(ErrorCode::kNotFound), fmt::format("no benchmark programs in {}", folder),
                "they are built with -DLANNER_BUILD_BENCHMARKS=ON, the default, and not installed");
}

std::vector<std::string> chosen(const BenchOpOptions& options,
                                const std::vector<std::string>& ops) {
  if (!options.name) return ops;
  if (std::find(ops.begin(), ops.end(), *options.name) != ops.end()) return {*options.name};
  throw Failure(exit_code(ErrorCode::kNotFound), fmt::format("no benchmark of '{}'; there are: {}",
                                                             *options.name, fmt::join(ops, ", ")));
}

}  // namespace

int bench_op_command(const BenchOpOptions& options, Context& context) {
  const std::vector<std::string> ops = ops_in(context.benchmarks_dir);
  if (options.list) {
    for (const std::string& op : ops) context.out << op << '\n';
    flush_output(context);
    return kExitOk;
  }
  std::vector<std::string> arguments;
  if (options.filter) arguments.push_back("--benchmark_filter=" + *options.filter);
  if (options.repeat > 1) {
    arguments.push_back(fmt::format("--benchmark_repetitions={}", options.repeat));
    arguments.push_back("--benchmark_report_aggregates_only=true");
  }
  if (options.json) arguments.push_back("--benchmark_format=json");

  Json results = Json::object();
  for (const std::string& op : chosen(options, ops)) {
    const std::string program = context.benchmarks_dir + "/" + op + std::string(kSuffix);
    if (!options.json) {
      run_program_at(program, arguments);
      continue;
    }
    std::string output;
    run_program_at(program, arguments, &output);
    // A filter that fits none of its benchmarks: no output at all.
    if (!output.empty()) results[op] = parse_json(output, program);
  }
  if (options.json) context.out << Json{{"ops", results}}.dump(2) << '\n';
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
