// SPDX-License-Identifier: Apache-2.0
#include "cli/child_program.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "cli/failure.h"

namespace lanner::cli {
namespace {

// The standard output of a child as a pipe.
class OutputPipe {
 public:
  OutputPipe() {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0) {
      throw Failure(kExitFailure, fmt::format("no pipe: {}", std::strerror(errno)));
    }
  }
  ~OutputPipe() {
    for (int end : ends_) {
      if (end >= 0) close(end);
    }
  }
  OutputPipe(const OutputPipe&) = delete;
  OutputPipe& operator=(const OutputPipe&) = delete;

  int writing_end() const { return ends_[1]; }

  // What the child writes, to its end.
  std::string read_all() {
    close(std::exchange(ends_[1], -1));
    std::string text;
    std::array<char, 4096> chunk{};
    for (;;) {
      const ssize_t count = read(ends_[0], chunk.data(), chunk.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return text;
      text.append(chunk.data(), static_cast<size_t>(count));
    }
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

void wait_for(pid_t child, const std::string& path) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw Failure(kExitFailure, fmt::format("{}: {}", path, strerror(errno)));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  throw Failure(kExitFailure,
                WIFSIGNALED(status)
                    ? fmt::format("{} ended by signal {}", path, WTERMSIG(status))
                    : fmt::format("{} ended with status {}", path, WEXITSTATUS(status)));
}

pid_t start(const std::string& path, const std::vector<std::string>& arguments,
            const posix_spawn_file_actions_t& actions, char** environment) {
  std::vector<std::string> words{path};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  const int failure =
      posix_spawn(&child, path.c_str(), &actions, nullptr, argv.data(), environment);
  if (failure != 0) {
    throw Failure(exit_code(ErrorCode::kIo),
                  fmt::format("{} cannot be started: {}", path, std::strerror(failure)));
  }
  return child;
}

// posix_spawn's list of what to do with descriptors.
class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

}  // namespace

void run_program_at(const std::string& path, const std::vector<std::string>& arguments,
                    std::string* output) {
  std::optional<OutputPipe> pipe;
  if (output != nullptr) pipe.emplace();
  FileActions actions;
  if (pipe) posix_spawn_file_actions_adddup2(actions.get(), pipe->writing_end(), STDOUT_FILENO);
  const pid_t child = start(path, arguments, *actions.get(), environment_for_programs());
  if (pipe) *output = pipe->read_all();
  wait_for(child, path);
}

ChildProgram::ChildProgram(std::string path, const std::vector<std::string>& arguments,
                           const std::vector<std::string>& variables)
    : path_(std::move(path)) {
  std::vector<std::string> added = variables;
  std::vector<char*> environment;
  for (std::string& variable : added) environment.push_back(variable.data());
  for (char** inherited = environment_for_programs(); *inherited != nullptr; ++inherited) {
    environment.push_back(*inherited);  // where a name is there twice, the first one counts
  }
  environment.push_back(nullptr);
  FileActions actions;
  posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  child_ = start(path_, arguments, *actions.get(), environment.data());
}

ChildProgram::~ChildProgram() {
  if (child_ == 0) return;
  kill(child_, SIGTERM);
  while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void ChildProgram::wait() { wait_for(std::exchange(child_, 0), path_); }

}  // namespace lanner::cli
