// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "weights/checkpoint.h"

namespace lanner {

// A low-rank change of one matrix (Hu et al. 2021, arXiv 2106.09685): W + scale * B A.
struct LoraModule {
  CheckpointTensor a;  // [rank, in]
  CheckpointTensor b;  // [out, rank]
  float scale = 1.0f;  // alpha / rank, or alpha / sqrt(rank)
  // The checkpoint has W as [in, out] (GPT-2's Conv1D; PEFT's fan_in_fan_out).
  bool transposed = false;
};

// An adapter as PEFT writes it: adapter_config.json and adapter_model.safetensors.
struct LoraAdapter {
  std::string name;  // that requests use
  std::string path;  // of the folder
  bool fan_in_fan_out = false;
  // By the name of the changed tensor in the model's checkpoint ("….q_proj.weight").
  std::map<std::string, LoraModule, std::less<>> modules;
};

// Reads all values once. Throws Error(kNotFound), Error(kCorruptFile), or Error(kUnsupported)
// naming the key or tensor that asks for more than this (DoRA, saved modules, biases, embeddings,
// patterns that are more than names).
LoraAdapter read_lora_adapter(const std::string& folder);

// The adapter with the names that a checkpoint has for its matrices: some lack the first part of
// them ("transformer."). Throws Error(kInvalidArgument) naming a module that the model does not
// have, or has in another shape.
LoraAdapter fit_lora(LoraAdapter adapter, const Checkpoint& checkpoint);

// The checkpoint with an adapter's changes added to its matrices, computed in fp32 when they are
// asked for and held in the type they had (blocks: fp16). Throws as fit_lora().
std::unique_ptr<Checkpoint> merge_lora(std::unique_ptr<Checkpoint> base, LoraAdapter adapter);

// Adds the adapter's part to Checkpoint::stored_bytes(); valid as long as the adapter lives.
void append_stored_bytes(const LoraAdapter& adapter, std::vector<std::span<const std::byte>>& all);

}  // namespace lanner
