// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace lanner::cli {

// --hosts, --rendezvous and the others of RankOptions.
void add_rank_options(CLI::App& command, ModelOptions& options);

// Whether a launcher (mpirun, srun) has started this process as another rank than the first, whose
// command it runs: it is a worker then.
bool is_further_rank(const ModelOptions& options, const Context& context);
int run_further_rank(const ModelOptions& options, Context& context);

// Throws Failure(kExitUsage) for a rendezvous without a secret or a number of ranks.
void set_ranks(const ModelOptions& options, const Context& context, LlmConfig& config);
// Throws Failure(kExitUsage) where the ranks share no secret.
void check_secret(const Context& context);

}  // namespace lanner::cli
