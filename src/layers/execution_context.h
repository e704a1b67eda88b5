// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>

#include "base/dtype.h"
#include "base/thread_pool.h"
#include "base/topology.h"
#include "base/workspace.h"
#include "distributed/communicator.h"
#include "kernels/attention/attention.h"

namespace lanner {

class LoraClaims;
struct LoraRows;

// What a forward pass runs on. Owned by the ModelRunner, passed by reference through every layer;
// two engines in one process have two.
struct ExecutionContext {
  ThreadPool& threads;
  Workspace& workspace;
  const Topology& topology;
  Communicator& communicator;
  AttentionRule attention_rule = {};
  // Rows of what a layer is given that an adapter changes; null: none.
  const LoraRows* lora = nullptr;
};

// What layers need while they are built.
struct LoadContext {
  ExecutionContext& execution;
  // Type to hold weight matrices in; unset: as the checkpoint has them.
  std::optional<DType> weight_dtype;
  // Positions that RoPE tables must cover.
  int max_context = 0;
  // Called with the bytes of each weight once it is packed.
  std::function<void(int64_t file_bytes)> on_weight;
  // The adapters to be held beside the weights; null: none.
  LoraClaims* lora = nullptr;
};

}  // namespace lanner
