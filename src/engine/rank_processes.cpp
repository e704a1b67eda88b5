// SPDX-License-Identifier: Apache-2.0
#include "engine/rank_processes.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <set>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "distributed/shm_communicator.h"
#include "engine/rank_message.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// The kernel's name for the running program, right also when its file has been replaced.
constexpr const char* kOwnProgram = "/proc/self/exe";
// Of gathered and broadcast pieces; longer ones take several.
constexpr int64_t kMessageBytes = 256 << 10;
constexpr std::chrono::seconds kTimeToStart{60};
constexpr std::chrono::seconds kTimeToEnd{10};
// What the shared memory is called in a worker: behind its standard streams.
constexpr int kWorkerDescriptor = 3;

bool is_lanner() {
  std::array<char, 4096> path{};
  const ssize_t length = readlink(kOwnProgram, path.data(), path.size() - 1);
  const std::string text(path.data(), length > 0 ? static_cast<size_t>(length) : 0);
  return text.ends_with("/lanner") || text.ends_with("/lanner (deleted)");
}

std::string worker_program(const LlmConfig& config) {
  if (!config.worker_program.empty()) return config.worker_program;
  return is_lanner() ? kOwnProgram : "lanner";
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was ended by signal {}", WTERMSIG(status));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

// A descriptor of the same file that a started program keeps.
class InheritedDescriptor {
 public:
  explicit InheritedDescriptor(int descriptor) : own_(fcntl(descriptor, F_DUPFD, 10)) {
    if (own_ < 0) throw_error(ErrorCode::kIo, "[distributed] dup: {}", std::strerror(errno));
    fcntl(own_, F_SETFD, FD_CLOEXEC);  // but under kWorkerDescriptor
  }
  ~InheritedDescriptor() { close(own_); }
  InheritedDescriptor(const InheritedDescriptor&) = delete;
  InheritedDescriptor& operator=(const InheritedDescriptor&) = delete;
  int get() const { return own_; }

 private:
  int own_;
};

}  // namespace

bool knows_worker_program(const LlmConfig& config) {
  return !config.worker_program.empty() || is_lanner();
}

RankLayout plan_ranks(const Topology& topology, const LlmConfig& config, bool can_start) {
  check_argument(config.tensor_parallel >= 0 && config.tensor_parallel <= kMaxShmRanks,
                 "tensor_parallel must be 0 (automatic) to {}, not {}", kMaxShmRanks,
                 config.tensor_parallel);
  const ThreadPlan all = plan_compute_threads(topology, config);
  const auto num_cpus = static_cast<int>(all.cpus.size());
  int size = config.tensor_parallel;
  std::string reason = fmt::format("{} ranks", size);
  if (size == 0) {
    std::set<int> nodes;
    for (const Cpu& cpu : topology.cpus) {
      if (std::ranges::find(all.cpus, cpu.id) != all.cpus.end()) nodes.insert(cpu.numa_node);
    }
    size = can_start ? std::max(static_cast<int>(nodes.size()), 1) : 1;
    reason = fmt::format("one rank for each of {} NUMA nodes", size);
  }
  RankLayout layout{.threads = {}, .has_cpu_for_each = size <= num_cpus};
  if (size == 1) {
    layout.threads.push_back(all);
    return layout;
  }
  for (int rank = 0; rank < size; ++rank) {
    ThreadPlan own;
    const int begin = num_cpus * rank / size, end = num_cpus * (rank + 1) / size;
    for (int i = begin; i < end; ++i) own.cpus.push_back(all.cpus[static_cast<size_t>(i)]);
    // More ranks than CPUs: the system shares them out.
    if (!layout.has_cpu_for_each) own.cpus = {-1};
    own.reason = fmt::format("rank {} of {}: {}", rank, reason, all.reason);
    layout.threads.push_back(std::move(own));
  }
  return layout;
}

RankProcesses::RankProcesses(const ModelFiles& files, const LlmConfig& config,
                             const RankLayout& layout) {
  const int size = layout.size();
  const ModelPlan plan =
      plan_model(files, config, read_topology(), {.rank = 0, .size = size, .here = size});
  const auto segment = ShmSegment::create(
      {.ranks = size,
       .sum_elements = most_tokens_per_step(plan, config) * plan.info.hidden_size,
       .message_bytes = kMessageBytes});
  resources_ = {.communicator = make_shm_communicator(
                    segment, {.rank = 0, .has_cpu_for_each = layout.has_cpu_for_each}),
                .threads = layout.threads.front(),
                .ranks_here = size};
  const InheritedDescriptor memory(segment->descriptor());
  const std::string program = worker_program(config);
  try {
    for (int rank = 1; rank < size; ++rank) start(program, rank, layout, memory.get());
    wait_for_all(*segment);
    // What all of them load, and where each computes.
    MessageWriter writer;
    writer.put_text(files.path);
    write_config(config, writer);
    for (const ThreadPlan& threads : layout.threads) {
      writer.put_vector(threads.cpus);
      writer.put_text(threads.reason);
    }
    resources_.communicator->broadcast(writer.take());
  } catch (...) {
    resources_.communicator->fail("rank 0 could not start all ranks");
    end_all();
    throw;
  }
}

void RankProcesses::start(const std::string& program, int rank, const RankLayout& layout,
                          int descriptor) {
  std::vector<std::string> words = {"lanner",   "worker",
                                    "--rank",   std::to_string(rank),
                                    "--memory", std::to_string(kWorkerDescriptor)};
  if (!layout.has_cpu_for_each) words.emplace_back("--crowded");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, descriptor, kWorkerDescriptor);
  // A Ctrl-C at the terminal is rank 0's to answer: its ranks end when it lets them go.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  Process process;
  const int error = posix_spawnp(&process.id, program.c_str(), &actions, &attributes, argv.data(),
                                 environment_for_programs());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw_error(ErrorCode::kNotFound,
                "[distributed] rank {} needs the lanner program, and '{}' cannot be started ({}): "
                "put it on the PATH or name it (LlmConfig::worker_program), or set "
                "tensor_parallel to 1",
                rank, program, std::strerror(error));
  }
  processes_.push_back(process);
}

// A program that is no lanner ends without having been there.
void RankProcesses::wait_for_all(const ShmSegment& segment) {
  const Clock::time_point deadline = Clock::now() + kTimeToStart;
  for (int rank = 1; rank < segment.sizes().ranks; ++rank) {
    while (segment.rank(rank).state == static_cast<uint32_t>(RankState::kAbsent)) {
      check();
      if (Clock::now() > deadline) {
        throw_error(ErrorCode::kIo, "[distributed] rank {} has not started within {} s", rank,
                    kTimeToStart.count());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

RankResources RankProcesses::take_resources() { return std::move(resources_); }

bool RankProcesses::has_ended(size_t index) {
  Process& process = processes_[index];
  if (!process.has_ended) {
    const pid_t found = waitpid(process.id, &process.status, WNOHANG);
    // ECHILD: the program that we are part of has taken its end already.
    process.has_ended = found == process.id || (found < 0 && errno == ECHILD);
  }
  return process.has_ended;
}

void RankProcesses::check() {
  for (size_t i = 0; i < processes_.size(); ++i) {
    if (!has_ended(i)) continue;
    throw_error(ErrorCode::kIo, "[distributed] rank {} (process {}) {}", i + 1, processes_[i].id,
                how_it_ended(processes_[i].status));
  }
}

void RankProcesses::end_all() {
  const Clock::time_point deadline = Clock::now() + kTimeToEnd;
  for (size_t i = 0; i < processes_.size(); ++i) {
    while (!has_ended(i) && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (has_ended(i)) continue;
    log(LogLevel::kWarn, "rank {} (process {}) does not end; it is killed", i + 1,
        processes_[i].id);
    kill(processes_[i].id, SIGKILL);
    waitpid(processes_[i].id, &processes_[i].status, 0);
    processes_[i].has_ended = true;
  }
}

RankProcesses::~RankProcesses() {
  resources_.communicator.reset();  // if nobody took it
  end_all();
}

}  // namespace lanner
