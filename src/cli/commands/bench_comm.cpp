// SPDX-License-Identifier: Apache-2.0
#include <list>
#include <ostream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "cli/child_program.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/options.h"
#include "cli/report_table.h"

namespace lanner::cli {
namespace {

// Measures with ranks that are started here, each a process of this program.
std::string measure_here(const BenchCommOptions& options, Context& context) {
  const std::string secret = context.backend.make_job_secret();
  std::list<ChildProgram> ranks;
  RendezvousConfig rendezvous{.address = "127.0.0.1:0",
                              .secret = secret,
                              .rank = 0,
                              .ranks = options.ranks,
                              .timeout = options.timeout};
  rendezvous.on_listening = [&](int port) {
    for (int rank = 1; rank < options.ranks; ++rank) {
      ranks.emplace_back(
          "/proc/self/exe",
          std::vector<std::string>{"bench", "comm", "--rendezvous",
                                   fmt::format("127.0.0.1:{}", port), "--rank",
                                   std::to_string(rank), "--ranks", std::to_string(options.ranks)},
          std::vector<std::string>{"LANNER_SECRET=" + secret});
    }
  };
  std::string report = context.backend.benchmark_communication(rendezvous, options.benchmark);
  for (ChildProgram& rank : ranks) rank.wait();
  return report;
}

std::string measure_as_rank(const BenchCommOptions& options, Context& context) {
  RendezvousConfig rendezvous{.address = *options.rendezvous,
                              .secret = context.job_secret,
                              .rank = options.rank,
                              .ranks = options.ranks,
                              .timeout = options.timeout};
  if (options.rank < 0 && context.launcher_rank) {
    rendezvous.rank = context.launcher_rank->rank;
    rendezvous.ranks = context.launcher_rank->size;
  }
  if (context.job_secret.empty()) {
    throw usage_failure("the ranks share no secret: set LANNER_SECRET to the same on all of them",
                        "openssl rand -hex 32");
  }
  return context.backend.benchmark_communication(rendezvous, options.benchmark);
}

}  // namespace

void add_bench_comm_options(CLI::App& command, BenchCommOptions& options) {
  const char* group = "What to measure";
  command
      .add_option("--backend", options.benchmark.backends,
                  fmt::format("Of {}; none: all that these ranks can use",
                              fmt::join(kCommunicationBackends, ", ")))
      ->delimiter(',')
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kCommunicationBackends),
                                                     std::end(kCommunicationBackends))))
      ->group(group);
  command.add_option("--bytes", options.benchmark.bytes, "Sizes of sums [4096,16384,…,4194304]")
      ->delimiter(',')
      ->check(whole_number<int64_t>(4, int64_t{1} << 32))
      ->group(group);
  command
      .add_option("--wire", options.benchmark.wire,
                  "What sums travel as over oneCCL: fp32 or bf16 [fp32]")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->group(group);
  command.add_option("--repeat", options.benchmark.repeat, "Runs of each [200]")
      ->check(whole_number(1, 1000000))
      ->group(group);
  group = "Ranks";
  command.add_option("--ranks", options.ranks, "How many there are [2]")
      ->check(whole_number(2, 1024))
      ->group(group);
  command
      .add_option("--rendezvous", options.rendezvous,
                  "Be one rank of several that are started elsewhere: rank 0 listens here, the "
                  "others connect; LANNER_SECRET is the same on all")
      ->type_name("HOST:PORT")
      ->group(group);
  command
      .add_option("--rank", options.rank,
                  "This one's number; none: what mpirun or srun has set, else whichever is free")
      ->check(whole_number(0, 1023))
      ->group(group)
      ->needs("--rendezvous");
  command.add_option("--timeout", options.timeout, "Seconds until all have come [300]")
      ->check(CLI::Range(1e-3, 1e6))
      ->group(group);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nA sum lasts from the moment that a rank's part is written until all parts are added to\n"
      "the result; write: the writing, which is a GEMM's work. sent: bytes of one rank for one "
      "sum;\n"
      "copied: those that were moved before they were sent. A step's messages are 2 KiB from rank "
      "0\n"
      "to all and 320 bytes from all to all. Without --rendezvous the ranks are processes of this\n"
      "machine. oneCCL comes with scripts/install_oneccl.sh and a build after that.\n"
      "\nExamples:\n"
      "  lanner bench comm\n"
      "  lanner bench comm --backend shm --bytes 16384 --repeat 2000\n"
      "  LANNER_SECRET=… lanner bench comm --rendezvous node1:29500 --ranks 2 --rank 0   (on "
      "node1)\n"
      "  LANNER_SECRET=… lanner bench comm --rendezvous node1:29500                      (on "
      "node2)\n"
      "  mpirun -n 4 lanner bench comm --rendezvous node1:29500\n");
}

int bench_comm_command(const BenchCommOptions& options, Context& context) {
  const std::string report =
      options.rendezvous ? measure_as_rank(options, context) : measure_here(options, context);
  // Only rank 0 has something to say.
  if (!report.empty()) context.out << (options.json ? report + "\n" : report_table(report));
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
