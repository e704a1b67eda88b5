// SPDX-License-Identifier: Apache-2.0
#include "cli/child_program.h"

#include <array>
#include <cerrno>
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

}  // namespace

void run_program_at(const std::string& path, const std::vector<std::string>& arguments,
                    std::string* output) {
  std::vector<std::string> words{path};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  std::optional<OutputPipe> pipe;
  if (output != nullptr) pipe.emplace();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (pipe) posix_spawn_file_actions_adddup2(&actions, pipe->writing_end(), STDOUT_FILENO);
  pid_t child = 0;
  const int failure =
      posix_spawn(&child, path.c_str(), &actions, nullptr, argv.data(), environment_for_programs());
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    throw Failure(exit_code(ErrorCode::kIo),
                  fmt::format("{} cannot be started: {}", path, std::strerror(failure)));
  }
  if (pipe) *output = pipe->read_all();
  wait_for(child, path);
}

}  // namespace lanner::cli
