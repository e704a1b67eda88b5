// SPDX-License-Identifier: Apache-2.0
#include "engine/rank_processes.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// The kernel's name for the running program, right also when its file has been replaced.
constexpr const char* kOwnProgram = "/proc/self/exe";
constexpr std::chrono::seconds kTimeToEnd{10};
constexpr std::string_view kSecretVariable = "LANNER_SECRET=";

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

}  // namespace

bool knows_worker_program(const LlmConfig& config) {
  return !config.worker_program.empty() || is_lanner();
}

void RankProcesses::start(const LlmConfig& config, int count, const std::string& address,
                          const std::string& secret) {
  const std::string program = worker_program(config);
  for (int rank = 1; rank <= count; ++rank) start_rank(program, rank, address, secret);
}

void RankProcesses::start_rank(const std::string& program, int rank, const std::string& address,
                               const std::string& secret) {
  std::vector<std::string> words = {"lanner",       "worker",
                                    "--rendezvous", address,
                                    "--rank",       std::to_string(rank),
                                    "--parent",     std::to_string(getpid())};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // In the environment, which others cannot read as they can the words of a command.
  std::string shared = std::string(kSecretVariable) + secret;
  std::vector<char*> variables;
  for (char** variable = environment_for_programs(); *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with(kSecretVariable)) variables.push_back(*variable);
  }
  variables.push_back(shared.data());
  variables.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  // A Ctrl-C at the terminal is rank 0's to answer: its ranks end when it lets them go.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  Process process;
  const int error = posix_spawnp(&process.id, program.c_str(), &actions, &attributes, argv.data(),
                                 variables.data());
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

void RankProcesses::ask_to_end() {
  for (size_t i = 0; i < processes_.size(); ++i) {
    if (!has_ended(i)) kill(processes_[i].id, SIGTERM);
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

RankProcesses::~RankProcesses() { end_all(); }

}  // namespace lanner
