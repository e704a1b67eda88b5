// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/isa.h"
#include "base/json.h"
#include "engine/model_runner.h"

namespace lanner {

// ["avx2", "avx512"]
Json isa_names(Isa isa);

// The parts of the reports that LLM::report, machine_report and model_report give.
Json describe_machine(const Topology& topology, const ThreadPlan& threads);
// What loading made of the model: bytes, parameters, kernels, choices.
Json describe_loaded(const ModelRunner& runner);
// How many ranks compute it, and what rank 0 sent for each token that went through the model.
Json describe_ranks(const ModelRunner& runner);
Json describe_model(const ModelFiles& files, const ModelPlan& plan);

}  // namespace lanner
