// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "lanner/sampling_params.h"
#include "sampling/sampler.h"

namespace lanner {

// The search among beams of one prompt, as HF's BeamSearchScorer has it: of the candidates of all
// running beams the best are taken, an end token finishes its beam, and the others run on. Knows
// tokens and log-probabilities; the KV cache follows it by parents(). Not thread-safe.
class BeamSearch {
 public:
  // end_tokens: those that finish a beam. max_tokens: of output.
  BeamSearch(const SamplingParams& sampling, std::vector<int32_t> end_tokens, int max_tokens);

  // Candidates of every running beam that an end token among them leaves enough of.
  int num_candidates() const;
  // Running beams: one before the first step, then beam_width.
  size_t num_running() const { return running_.size(); }
  // Tokens of running beam i so far.
  const std::vector<int32_t>& tokens(size_t beam) const { return running_[beam].tokens; }

  // The result of a step: per running beam its best candidates, and what is to be kept of each if
  // log-probabilities are wanted (else empty). False: the search has ended.
  bool advance(std::span<const std::vector<TokenScore>> candidates,
               std::span<const std::vector<PositionScores>> logprobs);
  // After advance(): what each running beam goes on from, and with which token.
  const std::vector<int32_t>& parents() const { return parents_; }
  const std::vector<int32_t>& next_tokens() const { return next_tokens_; }

  // From the prompt again.
  void restart();

  struct Beam {
    std::vector<int32_t> tokens;
    std::vector<PositionScores> logprobs;
    double sum = 0;    // of log-probabilities
    double score = 0;  // of a finished one
    bool at_end_token = false;
  };
  // After the search has ended: the n best, the best first.
  std::vector<Beam> best() const;

 private:
  void finish(Beam beam);
  double score(double sum, size_t length) const;
  bool is_done(double best_sum, size_t length) const;

  SamplingParams sampling_;
  std::vector<int32_t> end_tokens_;
  size_t max_tokens_;
  std::vector<Beam> running_;
  std::vector<Beam> finished_;  // at most beam_width, the best first
  std::vector<int32_t> parents_;
  std::vector<int32_t> next_tokens_;
};

}  // namespace lanner
