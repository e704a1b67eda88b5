// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/model_tools.h"

namespace lanner::cli {

// The whole program: parses the arguments (without the program's name), runs the command, prints
// what goes wrong as `lanner: error: ...` and returns the exit status (exit_codes.h). Never throws.
int run_cli(const std::vector<std::string>& arguments, Context& context,
            const ModelTools& tools = {});

// The same with the process's own streams, terminal and environment: all of main().
int run_program(int argc, char** argv, const Backend& backend, const ModelTools& tools = {});

// Names of the commands with their group ("run", "bench model"), and of each command's options as
// typed ("--top-k"), for tests and tools.
std::vector<std::string> command_names();
std::vector<std::string> option_names(const std::string& command);

}  // namespace lanner::cli
