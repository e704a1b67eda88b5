// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "cli/app.h"
#include "cli/exit_codes.h"
#include "cli/model_choice.h"
#include "cli/testing/fake_llm.h"

namespace lanner::cli {

// Runs the program in this process, with a fake engine, a folder of its own and text for standard
// input.
class CliTest : public testing::Test {
 protected:
  CliTest() {
    folder_ = std::filesystem::path(testing::TempDir()) / fmt::format("lanner_cli_{}", getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ / "model");
    std::ofstream(folder_ / "model.gguf") << "GGUF";
  }
  ~CliTest() override { std::filesystem::remove_all(folder_); }

  int run(const std::vector<std::string>& arguments, const std::string& input = "") {
    const std::filesystem::path file = folder_ / "input";
    std::ofstream(file, std::ios::binary) << input;
    std::FILE* stream = std::fopen(file.c_str(), "rb");
    std::ostringstream out;
    std::ostringstream err;
    Context context{
        .backend = make_fake_backend(script_), .in_fd = fileno(stream), .out = out, .err = err};
    context.in_is_terminal = in_is_terminal_;
    context.out_is_terminal = out_is_terminal_;
    context.cache_dir = folder_ / "cache";
    context.benchmarks_dir = folder_ / "benchmarks";
    context.threads = 3;
    context.job_secret = job_secret_;
    context.launcher_rank = launcher_rank_;
    const int status = run_cli(arguments, context, tools());
    std::fclose(stream);
    out_ = out.str();
    err_ = err.str();
    return status;
  }
  // What they were asked for.
  ModelTools tools() {
    return {.quantize =
                [this](const std::string& source, const std::string&, const QuantizeOptions&,
                       const ProgressCallback& progress) {
                  quantized_ = source;
                  progress("tensors", 1, 2);
                  return QuantizeReport{2048, 1024, 3, 2, {"something was left out"}};
                },
            .pull =
                [this](const std::string& id, const HubOptions& options,
                       const ProgressCallback& progress) {
                  hub_ = options;
                  progress("config.json", 1, 2);
                  return PulledModel{"/cache/" + id, "abc", 3, 2048, 1024};
                }};
  }
  std::string model() const { return folder_ / "model"; }
  std::string gguf() const { return folder_ / "model.gguf"; }
  void make_default_model(int64_t bytes) {
    std::filesystem::create_directories(folder_ / "cache/models");
    const std::filesystem::path file = folder_ / "cache/models" / kDefaultModelFile;
    std::ofstream(file) << "";
    std::filesystem::resize_file(file, static_cast<uintmax_t>(bytes));
  }
  const Request& request(size_t index = 0) const { return script_->requests.at(index); }
  std::string prompt(size_t index = 0) const {
    return std::get<std::string>(request(index).prompt);
  }

  std::filesystem::path folder_;
  std::shared_ptr<FakeScript> script_ = std::make_shared<FakeScript>();
  bool in_is_terminal_ = false;
  bool out_is_terminal_ = false;
  std::string job_secret_;
  std::optional<LauncherRank> launcher_rank_;
  std::string quantized_;
  HubOptions hub_;
  std::string out_;
  std::string err_;
};

}  // namespace lanner::cli
