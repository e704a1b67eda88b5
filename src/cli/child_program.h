// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace lanner::cli {

// Runs a program to its end with this process's standard streams, or with `output` in place of its
// standard output. Throws Failure naming the program if it cannot be started or does not end with
// status 0.
void run_program_at(const std::string& path, const std::vector<std::string>& arguments,
                    std::string* output = nullptr);

}  // namespace lanner::cli
