// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kvcache/block_table.h"

namespace lanner {

using SequenceId = uint64_t;

// What becomes of a prompt.
enum class Branching {
  kNone,         // one sequence
  kIndependent,  // `width` sequences, drawn apart
  kBeams,        // `width` beams: they move together, and change places after every step
};

// Of which tokens of its prompt a sequence wants hidden states. It has no output then and ends with
// its prompt.
enum class HiddenStates { kNone, kFirst, kLast, kAll };

// What the scheduler has to know of a new sequence.
struct SequenceParams {
  SequenceId id = 0;                    // with a width: id, id + 1, … id + width - 1
  std::vector<int32_t> prompt;          // token ids
  std::optional<int> max_tokens;        // of output; unset: until the context is full
  int min_tokens = 0;                   // nothing ends a sequence before so many
  std::vector<int32_t> stop_token_ids;  // besides the model's end tokens
  bool ignore_eos = false;              // go on after the model's end tokens
  // Prefix-LM: the first prefix_length tokens are computed in one step, whatever its budget; the
  // position is handed on to the model.
  int prefix_length = 0;
  int prefix_position = 0;
  int priority = 0;  // lower goes first (Request::priority)
  Branching branching = Branching::kNone;
  int width = 1;
  int adapter = -1;            // of the model's, that computes it; -1: none
  std::string cache_salt;      // prefix cache: shares blocks only with sequences of the same salt
  bool prompt_logits = false;  // logits of every token of the prompt, which is computed whole
  HiddenStates hidden_states = HiddenStates::kNone;
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
  // Its prompt is through, and it has become as many as it should.
  bool has_output() const { return num_output_tokens() > 0; }
  bool wants_hidden() const { return params.hidden_states != HiddenStates::kNone; }
  // What the cache has of the prompt's beginning does not do.
  bool needs_whole_prompt() const {
    return params.prompt_logits || params.hidden_states == HiddenStates::kFirst ||
           params.hidden_states == HiddenStates::kAll;
  }
  bool is_beam() const { return params.branching == Branching::kBeams && has_output(); }
  // The sequence that was added, which this one is a branch of.
  SequenceId root() const { return params.id - static_cast<SequenceId>(branch); }

  SequenceParams params;        // without the prompt: it is the beginning of `tokens`
  uint64_t arrival;             // counts the sequences that were added to a scheduler
  int branch = 0;               // which of the `width` ones
  std::vector<int32_t> tokens;  // prompt, then output
  int num_prompt_tokens;
  int num_computed = 0;         // tokens whose K and V are in the cache, from the first on
  bool has_started = false;     // it has run before
  int num_cached = 0;           // of the prompt, taken from the prefix cache at the first start
  std::vector<int32_t> drafts;  // proposed next tokens, to be verified in the next step
  SequenceState state = SequenceState::kWaiting;
  BlockTable blocks;
  // The prefix cache knows the first num_published blocks, which `prefix` names.
  PrefixId prefix;
  int num_published = 0;
};

}  // namespace lanner
