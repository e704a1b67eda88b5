// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <string>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/commands.h"

namespace lanner::cli {

// A whole number in [low, high].
template <typename Integer>
CLI::Validator whole_number(Integer low, Integer high) {
  return CLI::Validator(
      [=](std::string& text) {
        Integer value = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool number = failure == std::errc() && end == text.data() + text.size();
        if (number && value >= low && value <= high) return std::string();
        return fmt::format("'{}' is not a whole number in [{}, {}]", text, low, high);
      },
      "N");
}

// --dtype and the others of ModelOptions.
void add_model_options(CLI::App& command, ModelOptions& options);

// Each command's options, with their ranges, help and examples: what the parser fills in.
void add_run_options(CLI::App& command, RunOptions& options);
void add_chat_options(CLI::App& command, ChatOptions& options);
void add_info_options(CLI::App& command, InfoOptions& options);
void add_tokenize_options(CLI::App& command, TokenizeOptions& options);
void add_render_options(CLI::App& command, RenderOptions& options);
void add_bench_machine_options(CLI::App& command, BenchMachineOptions& options);
void add_bench_attention_options(CLI::App& command, BenchAttentionOptions& options);
void add_bench_comm_options(CLI::App& command, BenchCommOptions& options);
void add_bench_ranks_options(CLI::App& command, BenchRanksOptions& options);
void add_plan_options(CLI::App& command, PlanOptions& options);
void add_bench_model_options(CLI::App& command, BenchModelOptions& options);
void add_bench_op_options(CLI::App& command, BenchOpOptions& options);
void add_eval_perplexity_options(CLI::App& command, EvalOptions& options);
void add_eval_kl_options(CLI::App& command, EvalKlOptions& options);
void add_bench_serve_offline_options(CLI::App& command, BenchServeOfflineOptions& options);
void add_bench_reuse_options(CLI::App& command, BenchReuseOptions& options);
void add_bench_speculate_options(CLI::App& command, BenchSpeculateOptions& options);
void add_worker_options(CLI::App& command, WorkerCommandOptions& options);

}  // namespace lanner::cli
