// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cli/context.h"
#include "lanner/hub.h"
#include "lanner/quantize.h"

namespace CLI {
class App;
}

namespace lanner::cli {

// What these commands need from the library: main.cpp passes the real functions, tests their own.
struct ModelTools {
  std::function<QuantizeReport(const std::string& source, const std::string& target,
                               const QuantizeOptions& options, const ProgressCallback& progress)>
      quantize;
  std::function<PulledModel(const std::string& id, const HubOptions& options,
                            const ProgressCallback& progress)>
      pull;
};

// Commands that deal with models as files: their options, and what they do.

struct QuantizeCommandOptions {
  std::string source;
  std::string target;
  QuantizeOptions quantize;
  bool json = false;
};

void add_quantize_options(CLI::App& command, QuantizeCommandOptions& options);
int quantize_command(const QuantizeCommandOptions& options, const ModelTools& tools,
                     Context& context);

struct PullCommandOptions {
  std::string id;
  HubOptions hub;
  std::optional<std::string> token_file;
  bool json = false;
};

void add_pull_options(CLI::App& command, PullCommandOptions& options);
int pull_command(const PullCommandOptions& options, const ModelTools& tools, Context& context);

struct DoctorCommandOptions {
  std::optional<std::string> path;
  bool json = false;
};

void add_doctor_options(CLI::App& command, DoctorCommandOptions& options);
int doctor_command(const DoctorCommandOptions& options, Context& context);

}  // namespace lanner::cli
