// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lanner {

class RotaryEmbedding;

// cos and sin of some positions, [num_positions, rotary_dim / 2] each.
struct RopeValues {
  std::vector<float> cos;
  std::vector<float> sin;
};

// What one RotaryEmbedding made for one step: a table for the new tokens of each sequence whose
// frequencies depend on its length, an empty one for the others.
struct StepRope {
  const RotaryEmbedding* rotary = nullptr;
  std::vector<RopeValues> of_sequence;
};

// One step as the model sees it: the new tokens of all sequences one after another, whatever phase
// each is in (a chunk of a prompt, one decoded token).
struct ForwardBatch {
  struct Sequence {
    int token_begin = 0;  // first of its tokens in token_ids
    int token_count = 0;
    int past_length = 0;  // its tokens already in the cache
    // Length that length-dependent RoPE scalings (dynamic, longrope) go by: of the whole prompt
    // while it is prefilled in chunks, then of the sequence so far.
    int rope_length = 0;
    int prompt_length = 0;  // of its tokens; scalings that keep to the prompt (Qwen 1) go by it
    // Prefix-LM: the first prefix_length tokens see each other in both directions and are never
    // cut into chunks; with block positions the ones after them have prefix_position.
    int prefix_length = 0;
    int prefix_position = 0;
    int adapter = -1;  // of ModelFiles::lora; -1: none
    std::vector<int32_t> block_table;
  };

  std::vector<int32_t> token_ids;  // [num_tokens]
  std::vector<int32_t> positions;  // [num_tokens]
  std::vector<int64_t> slots;      // [num_tokens] where K and V go: block * block_size + offset
  std::vector<Sequence> sequences;
  // Rows of the batch whose logits are wanted, ascending.
  std::vector<int32_t> logits_rows;
  // Rows whose hidden states after the last norm are wanted, ascending.
  std::vector<int32_t> hidden_rows;

  // Added by the model, so that its layers share them.
  std::vector<StepRope> step_ropes;

  int num_tokens() const { return static_cast<int>(token_ids.size()); }
};

}  // namespace lanner
