// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace lanner::cli {

// Each command's options, with their ranges, help and examples: what the parser fills in.
void add_run_options(CLI::App& command, RunOptions& options);
void add_chat_options(CLI::App& command, ChatOptions& options);
void add_info_options(CLI::App& command, InfoOptions& options);
void add_tokenize_options(CLI::App& command, TokenizeOptions& options);
void add_render_options(CLI::App& command, RenderOptions& options);
void add_bench_machine_options(CLI::App& command, BenchMachineOptions& options);
void add_bench_attention_options(CLI::App& command, BenchAttentionOptions& options);
void add_bench_model_options(CLI::App& command, BenchModelOptions& options);
void add_bench_op_options(CLI::App& command, BenchOpOptions& options);
void add_eval_perplexity_options(CLI::App& command, EvalOptions& options);
void add_eval_kl_options(CLI::App& command, EvalKlOptions& options);

}  // namespace lanner::cli
