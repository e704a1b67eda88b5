// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ostream>
#include <thread>

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/failure.h"
#include "lanner/error.h"

namespace lanner::cli {
namespace {

// Of a rank that computes when the first one dies: until it notices by itself at the next exchange.
constexpr std::chrono::seconds kTimeToNotice{3};

// Ends the program some seconds after its parent: nobody waits for what it computes or loads.
void end_with_parent(Context& context) {
  const pid_t parent = getppid();
  const auto descriptor = static_cast<int>(syscall(SYS_pidfd_open, parent, 0));
  if (descriptor < 0 && errno != ESRCH) return;  // an old kernel: exchanges find it out
  std::thread([&context, parent, descriptor] {
    pollfd end = {.fd = descriptor, .events = POLLIN, .revents = 0};
    while (descriptor >= 0 && poll(&end, 1, -1) < 0 && errno == EINTR) {
    }
    std::this_thread::sleep_for(kTimeToNotice);
    context.err << fmt::format("lanner: error: rank 0 (process {}) has ended\n", parent)
                << std::flush;
    kill(getpid(), SIGTERM);
  }).detach();
}

}  // namespace

int worker_command(const WorkerCommandOptions& options, Context& context) {
  end_with_parent(context);
  try {
    context.backend.run_worker(
        {.rank = options.rank, .memory = options.memory, .has_cpu_for_each = !options.crowded});
  } catch (const Error& error) {
    throw Failure(exit_code(error.code()), fmt::format("rank {}: {}", options.rank, error.what()));
  }
  return kExitOk;
}

}  // namespace lanner::cli
