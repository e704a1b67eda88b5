// SPDX-License-Identifier: Apache-2.0
#include "cli/rank_options.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/failure.h"
#include "cli/options.h"

namespace lanner::cli {

void add_rank_options(CLI::App& command, ModelOptions& options) {
  const char* group = "Ranks on several machines (docs/distributed.md)";
  RankOptions& ranks = options.ranks;
  command
      .add_option("--hosts", ranks.hosts,
                  "The machines, this one first, with the number of ranks where it is not 1; on "
                  "the others `lanner worker` is started as often. LANNER_SECRET is the same on "
                  "all")
      ->type_name("NAME[:N],…")
      ->excludes("--tp")
      ->group(group);
  command
      .add_option("--rendezvous", ranks.rendezvous,
                  "Where the ranks meet, an address of this machine [the first of --hosts, port "
                  "29500]; without --hosts mpirun or srun has started them, or --tp N of them come")
      ->type_name("HOST:PORT")
      ->group(group);
  command.add_option("--rendezvous-timeout", ranks.timeout, "Seconds until all have come [300]")
      ->check(CLI::Range(1e-3, 1e6))
      ->group(group);
  std::vector<std::string> known = {"auto"};
  known.insert(known.end(), std::begin(kCommunicators), std::end(kCommunicators));
  command
      .add_option("--communicator", ranks.communicator,
                  fmt::format("What ranks add up over: {} [auto: shm with --tp, oneccl between "
                              "machines, else fastest, which measures both at the start]",
                              fmt::join(known, ", ")))
      ->check(CLI::IsMember(known))
      ->group(group);
  command
      .add_option("--wire", ranks.wire,
                  "What sums travel as over oneCCL: fp32, or bf16 for half of the bytes [fp32]")
      ->check(
          CLI::IsMember(std::vector<std::string>(std::begin(kWireDtypes), std::end(kWireDtypes))))
      ->group(group);
}

void check_secret(const Context& context) {
  if (!context.job_secret.empty()) return;
  throw usage_failure("the ranks share no secret: set LANNER_SECRET to the same on all of them",
                      "openssl rand -hex 32");
}

bool is_further_rank(const ModelOptions& options, const Context& context) {
  return options.ranks.rendezvous && options.ranks.hosts.empty() && options.tensor_parallel == 0 &&
         context.launcher_rank && context.launcher_rank->rank > 0;
}

int run_further_rank(const ModelOptions& options, Context& context) {
  return worker_command({.path = {},
                         .rendezvous = *options.ranks.rendezvous,
                         .rank = context.launcher_rank->rank,
                         .ranks = context.launcher_rank->size,
                         .timeout = options.ranks.timeout},
                        context);
}

void set_ranks(const ModelOptions& options, const Context& context, LlmConfig& config) {
  const RankOptions& ranks = options.ranks;
  config.communicator = ranks.communicator;
  config.wire = ranks.wire;
  config.rendezvous_timeout = ranks.timeout;
  config.hosts = ranks.hosts;
  config.rendezvous = ranks.rendezvous.value_or("");
  if (config.hosts.empty() && config.rendezvous.empty()) return;
  check_secret(context);
  config.job_secret = context.job_secret;
  if (!config.hosts.empty() || config.tensor_parallel > 0) return;
  if (!context.launcher_rank) {
    throw usage_failure(
        "--rendezvous: how many ranks meet there? --hosts or --tp says so where neither mpirun nor "
        "srun has started them");
  }
  config.tensor_parallel = context.launcher_rank->size;
}

}  // namespace lanner::cli
