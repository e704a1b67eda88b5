// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/acceptance_rate.h"
#include "engine/beam_search.h"
#include "engine/engine.h"
#include "engine/ngram_drafter.h"
#include "engine/pooler.h"
#include "scheduler/sequence.h"

namespace lanner {

// What the engine keeps of a sequence beside the scheduler's tokens.
struct RunningSequence {
  bool ended = false;
  std::optional<TokenCounts> counts;  // for the penalties, if there are any
  std::unique_ptr<TokenConstraint> constraint;
  std::unique_ptr<NgramDrafter> drafter;
  AcceptanceRate model_acceptance{0};            // of a draft model
  bool drafts_by_model = false;                  // those of the next step
  std::vector<DraftDistribution> distributions;  // of the first ones, where they were drawn
  std::vector<PositionScores> logprobs;          // of the tokens of this step
  std::string error;                             // why it has no token
  int output_tokens = 0;
};

// A request between its start and its end.
struct RunningRequest {
  RequestId id = 0;
  SequenceId first_sequence = 0;  // the scheduler's ids are this one and those that follow
  int width = 1;                  // so many in all
  SamplingParams sampling;
  uint64_t seed = 0;
  TokenCallback on_output;
  std::vector<int32_t> end_tokens;         // what must not come before min_tokens
  std::vector<RunningSequence> sequences;  // [best_of]; with beams [n], for their ends
  std::unique_ptr<BeamSearch> beams;
  std::optional<Pooler> pooler;                 // an embedding is wanted
  std::vector<PositionScores> prompt_logprobs;  // until they have been told
  int cached_tokens = 0;
  int num_left = 0;  // of the sequences

  // Without a seed the user can tell nothing but the distribution of tokens.
  bool draws_drafts() const { return !sampling.seed && sampling.temperature > 0; }
  bool wants_logprobs() const {
    return sampling.logprobs.has_value() || sampling.best_of.value_or(sampling.n) > sampling.n;
  }
  int index_of(SequenceId sequence) const { return static_cast<int>(sequence - first_sequence); }
};

}  // namespace lanner
