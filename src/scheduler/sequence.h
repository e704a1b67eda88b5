// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "kvcache/block_table.h"

namespace lanner {

using SequenceId = uint64_t;

// What the scheduler has to know of a new sequence.
struct SequenceParams {
  SequenceId id = 0;
  std::vector<int32_t> prompt;          // token ids
  std::optional<int> max_tokens;        // of output; unset: until the context is full
  std::vector<int32_t> stop_token_ids;  // besides the model's end tokens
  bool ignore_eos = false;              // go on after the model's end tokens
  int priority = 0;                     // lower goes first; equals go in order of arrival
};

enum class SequenceState {
  kWaiting,  // owns no blocks, nothing of it is computed
  kRunning,  // owns blocks for all its tokens that may be computed next
};

// One stream of tokens being made. Changed by the scheduler only.
struct Sequence {
  Sequence(SequenceParams sequence_params, uint64_t arrival_order, BlockManager& manager,
           int block_size)
      : params(std::move(sequence_params)),
        arrival(arrival_order),
        tokens(std::move(params.prompt)),
        num_prompt_tokens(static_cast<int>(tokens.size())),
        blocks(manager, block_size) {}

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  int num_output_tokens() const { return num_tokens() - num_prompt_tokens; }
  int num_uncomputed() const { return num_tokens() - num_computed; }

  SequenceParams params;        // without the prompt: it is the beginning of `tokens`
  uint64_t arrival;             // counts the sequences of a scheduler
  std::vector<int32_t> tokens;  // prompt, then output
  int num_prompt_tokens;
  int num_computed = 0;  // tokens whose K and V are in the cache, from the first on
  SequenceState state = SequenceState::kWaiting;
  BlockTable blocks;
};

}  // namespace lanner
