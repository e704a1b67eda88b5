// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "base/env.h"
#include "lanner/distributed.h"
#include "lanner/llm.h"
#include "lanner/worker.h"

namespace lanner::cli {

using LoadFunction = std::function<std::unique_ptr<LLM>(
    const std::string& path, const LlmConfig& config, const ProgressCallback& progress)>;

// What the commands need from the engine: main.cpp passes the real functions, tests their own.
struct Backend {
  LoadFunction load;
  std::function<std::unique_ptr<ModelText>(const std::string& path)> load_text;
  std::function<std::string(const LlmConfig& config)> machine_report;
  std::function<std::string(const std::string& path, const LlmConfig& config)> model_report;
  std::function<std::string()> families_report;
  std::function<std::string(const LlmConfig& config)> benchmark_machine;
  std::function<std::string(const std::string& path, const LlmConfig& config,
                            const ModelBenchmark& benchmark, const ProgressCallback& progress)>
      benchmark_model;
  std::function<std::string(const AttentionBenchmark& options,
                            const std::function<void(const std::string&)>& on_step)>
      benchmark_attention;
  std::function<std::string(const RendezvousConfig& rendezvous,
                            const CommunicationBenchmark& benchmark)>
      benchmark_communication;
  std::function<std::string(const std::string& path, const LlmConfig& config,
                            const DistributedPlan& plan, const ProgressCallback& progress)>
      plan_distributed;
  std::function<std::string(const std::string& backend)> backend_problem;
  std::function<std::string()> make_job_secret;
  std::function<const char*(FinishReason reason)> finish_reason_name;
  std::string version;
  std::function<void(const WorkerOptions& options)> run_worker = {};
};

// Where a command reads and writes. Text that was asked for goes to `out`; everything said about it
// (progress, statistics, errors, prompt marks) goes to `err`, so that a pipe gets the text alone.
struct Context {
  Backend backend;
  int in_fd = 0;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool color = false;            // err is a terminal and NO_COLOR is unset
  std::string cache_dir{};       // Environment::cache_dir
  std::string benchmarks_dir{};  // the programs of `lanner bench op`
  int threads = 0;               // LANNER_THREADS, 0 if unset
  std::string job_secret{};      // LANNER_SECRET
  std::optional<LauncherRank> launcher_rank{};
};

// Flushes `out`. Throws Failure with the status of kIo if any of it could not be written.
void flush_output(Context& context);

}  // namespace lanner::cli
