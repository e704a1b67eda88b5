// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <ostream>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/options.h"
#include "cli/rank_options.h"
#include "lanner/error.h"

namespace lanner::cli {
namespace {

// Of a rank that computes when another one dies: until it notices by itself at the next exchange.
constexpr std::chrono::seconds kTimeToNotice{3};

// Ends the program some seconds after it has lost the others: nobody waits for what it computes or
// loads.
class End {
 public:
  explicit End(Context& context) : context_(context) {}

  void come(const std::string& reason) {
    if (comes_.test_and_set()) return;
    std::thread([&context = context_, reason] {
      std::this_thread::sleep_for(kTimeToNotice);
      context.err << fmt::format("lanner: error: {}\n", reason) << std::flush;
      kill(getpid(), SIGTERM);
    }).detach();
  }

 private:
  Context& context_;
  std::atomic_flag comes_;
};

// Rank 0 may end before it has been met.
void end_with(pid_t parent, std::shared_ptr<End> end) {
  const auto descriptor = static_cast<int>(syscall(SYS_pidfd_open, parent, 0));
  if (descriptor < 0 && errno != ESRCH) return;  // an old kernel: the connection tells, once there
  std::thread([parent, descriptor, end = std::move(end)] {
    pollfd entry = {.fd = descriptor, .events = POLLIN, .revents = 0};
    while (descriptor >= 0 && poll(&entry, 1, -1) < 0 && errno == EINTR) {
    }
    end->come(fmt::format("rank 0 (process {}) has ended", parent));
  }).detach();
}

}  // namespace

void add_worker_options(CLI::App& command, WorkerCommandOptions& options) {
  command.add_option("MODEL", options.path,
                     "The model on this machine, if it lies elsewhere than on that of rank 0");
  command
      .add_option("--rendezvous", options.rendezvous,
                  "Where rank 0 waits: the one that runs lanner run, chat, serve, … --hosts")
      ->type_name("HOST:PORT")
      ->required();
  command
      .add_option("--rank", options.rank,
                  "This one's number; none: what mpirun or srun has set, else whichever is free")
      ->check(whole_number(1, 1023));
  command
      .add_option("--rendezvous-timeout", options.timeout, "Seconds until rank 0 is there [300]")
      ->check(CLI::Range(1e-3, 1e6));
  command
      .add_option("--parent", options.parent,
                  "End with this process: rank 0, which starts those of its own machine so")
      ->check(whole_number(0, 1 << 30));
  command.footer(
      "\nComputes a share of a model that another process has been told to run. Knows of it what\n"
      "that one says, but for the secret, LANNER_SECRET, which is the same on all ranks. Ends "
      "with\n"
      "it. --threads and the types are those of rank 0; CPUs are shared out among the ranks of a\n"
      "machine.\n"
      "\nExample:\n"
      "  LANNER_SECRET=… lanner serve ~/models/large --hosts node1,node2   (on node1)\n"
      "  LANNER_SECRET=… lanner worker --rendezvous node1:29500            (on node2)\n");
}

int worker_command(const WorkerCommandOptions& options, Context& context) {
  check_secret(context);
  RendezvousConfig rendezvous{.address = options.rendezvous,
                              .secret = context.job_secret,
                              .rank = options.rank,
                              .ranks = options.ranks,
                              .timeout = options.timeout};
  if (rendezvous.rank < 0 && context.launcher_rank && context.launcher_rank->rank > 0) {
    rendezvous.rank = context.launcher_rank->rank;
  }
  const auto end = std::make_shared<End>(context);
  if (options.parent > 0) end_with(options.parent, end);
  try {
    context.backend.run_worker(
        {.rendezvous = rendezvous,
         .path = options.path.value_or(""),
         .on_lost = [end](const std::string& reason) { end->come(reason); }});
  } catch (const Error& error) {
    const std::string who = rendezvous.rank < 0 ? "" : fmt::format("rank {}: ", rendezvous.rank);
    throw Failure(exit_code(error.code()), who + error.what());
  }
  return kExitOk;
}

}  // namespace lanner::cli
