// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace lanner::cli {

// Runs a program to its end with this process's standard streams, or with `output` in place of its
// standard output. Throws Failure naming the program if it cannot be started or does not end with
// status 0.
void run_program_at(const std::string& path, const std::vector<std::string>& arguments,
                    std::string* output = nullptr);

// A program that runs beside this one with its standard streams, but for the input. It is asked to
// end (SIGTERM) with the object if it has not ended.
class ChildProgram {
 public:
  // `variables` ("NAME=value") are added to the environment. Throws Failure naming the program if
  // it cannot be started.
  ChildProgram(std::string path, const std::vector<std::string>& arguments,
               const std::vector<std::string>& variables);
  ~ChildProgram();
  ChildProgram(const ChildProgram&) = delete;
  ChildProgram& operator=(const ChildProgram&) = delete;

  // Waits for its end. Throws Failure unless it has ended with status 0.
  void wait();

 private:
  std::string path_;
  pid_t child_ = 0;  // 0: it has been waited for
};

}  // namespace lanner::cli
