// SPDX-License-Identifier: Apache-2.0
// `lanner` with scripted models: the path of a model is its script, e.g. "step_us=500,sequences=4".
#include <sstream>

#include "base/error.h"
#include "cli/app.h"
#include "server/testing/scripted_llm.h"

namespace {

lanner::server::ScriptedModel script_of(const std::string& path) {
  lanner::server::ScriptedModel model;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    if (name == "sequences") model.sequences = std::stoi(value);
    if (name == "context") model.max_context = std::stoi(value);
    if (name == "step_us") model.step = std::chrono::microseconds(std::stoi(value));
    if (name == "load_ms") model.load = std::chrono::milliseconds(std::stoi(value));
    if (name == "load_error") model.load_error = value;
  }
  return model;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lanner;
  cli::Backend backend;
  backend.load = [](const std::string& path, const LlmConfig& config,
                    const ProgressCallback& progress) {
    return server::scripted_load(script_of(path))(path, config, progress);
  };
  backend.version = "0.0.0";
  return cli::run_program(argc, argv, backend);
}
