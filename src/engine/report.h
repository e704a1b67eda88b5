// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/json.h"
#include "engine/model_runner.h"

namespace lanner {

// The parts of the reports that LLM::report, machine_report and model_report give.
Json describe_machine(const Topology& topology, const ThreadPlan& threads);
Json describe_model(const ModelFiles& files, const ModelPlan& plan);

}  // namespace lanner
