// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/sequence.h"

namespace lanner {

// One sequence's part in a step; the numbers are ranges of SchedulerOutput's vectors.
struct ScheduledSequence {
  SequenceId id = 0;
  int32_t token_begin = 0;      // of `tokens` and `slots`
  int32_t num_tokens = 0;       // computed in this step, drafts included; at least 1
  int32_t num_drafts = 0;       // the last of them: proposals that the logits before them verify
  int32_t num_logits = 0;       // of the last ones: so many rows of logits are wanted
  int32_t hidden_begin = 0;     // of its tokens in this step: from here
  int32_t num_hidden = 0;       // so many rows of hidden states are wanted
  int32_t start_position = 0;   // position of the first of them = tokens already in the cache
  int32_t sequence_length = 0;  // all its tokens so far, prompt and output: RoPE may depend on it
  int32_t prompt_length = 0;    // of its tokens
  int32_t prefix_length = 0;    // SequenceParams::prefix_length
  int32_t prefix_position = 0;
  int32_t adapter = -1;     // SequenceParams::adapter
  int32_t block_begin = 0;  // of `blocks`
  int32_t num_blocks = 0;   // enough for the tokens up to the last one of this step
  bool sample = false;      // the next token is sampled, from the last 1 + num_drafts rows
};

// The decision about one step as plain data: all that a ModelRunner of any rank needs. Decoding
// sequences come first, then the chunks of prompts.
struct SchedulerOutput {
  uint64_t step = 0;              // counts from 1
  std::vector<BlockCopy> copies;  // to be done first, in this order
  std::vector<ScheduledSequence> sequences;
  std::vector<int32_t> tokens;  // ids, sequence after sequence; at most max_tokens_per_step, or a
                                // prefix that is longer
  std::vector<int64_t> slots;   // where each token's K and V go: block * block_size + offset
  std::vector<int32_t> blocks;  // block tables, sequence after sequence
  // Beams that were thrown out: their search begins again with the prompt.
  std::vector<SequenceId> restarted;

  bool empty() const { return sequences.empty(); }
  std::span<const int32_t> tokens_of(const ScheduledSequence& sequence) const {
    return std::span(tokens).subspan(static_cast<size_t>(sequence.token_begin),
                                     static_cast<size_t>(sequence.num_tokens));
  }
  std::span<const int64_t> slots_of(const ScheduledSequence& sequence) const {
    return std::span(slots).subspan(static_cast<size_t>(sequence.token_begin),
                                    static_cast<size_t>(sequence.num_tokens));
  }
  std::span<const int32_t> blocks_of(const ScheduledSequence& sequence) const {
    return std::span(blocks).subspan(static_cast<size_t>(sequence.block_begin),
                                     static_cast<size_t>(sequence.num_blocks));
  }
};

// What came of a step, for every sequence with `sample`, in order.
struct StepResult {
  // New tokens, sequence after sequence: accepted drafts, the sampled one, ones that are certain to
  // follow it; or the first token of each of the `width` sequences that it branches into. A
  // negative token says that there is none (logits that are no numbers) and ends the sequence with
  // kError.
  std::vector<int32_t> tokens;
  std::vector<int32_t> counts;   // of them, per sequence
  std::vector<int32_t> parents;  // per token of beams: the branch that it goes on from
};

}  // namespace lanner
