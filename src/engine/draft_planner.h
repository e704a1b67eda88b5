// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace lanner {

// The share of right proposals, token by token: a mean that forgets.
class AcceptanceRate {
 public:
  explicit AcceptanceRate(double prior) : rate_(prior) {}

  // Of `proposed` tokens the first `accepted` were right; what came after a wrong one tells
  // nothing.
  void learn(int proposed, int accepted);
  double rate() const { return rate_; }

 private:
  double rate_;
};

// What a step of so many rows costs, learnt from the steps that ran. Sizes that have not run are
// taken from their neighbours, and beyond the largest one as no dearer than it (up to some dozen
// rows), so that they get tried; what has not been measured for long is forgotten, so that it gets
// tried again.
class StepCosts {
 public:
  void note(int rows, double seconds);
  // Seconds; 0 as long as nothing has been measured.
  double of(int rows) const;

 private:
  struct Cost {
    double seconds = 0;
    int samples = 0;
    int64_t at = 0;  // notes so far
  };
  static int bucket(int rows);

  std::map<int, Cost> costs_;  // by bucket
  int64_t notes_ = 0;
};

// Decides how many tokens are proposed in the next step, so that a step's new tokens per second are
// the most. Knows no clock: told of times, asked for a number. One per engine.
class DraftPlanner {
 public:
  // One sequence that goes on.
  struct Proposal {
    int most = 0;           // tokens that can be proposed for it
    double acceptance = 0;  // of one of them, if those before it were right
    bool by_model = false;  // a draft model has to compute them
  };

  // A step that computed so many tokens, none of a prompt.
  void note_step(int rows, double seconds) { steps_.note(rows, seconds); }
  // A pass of the draft model over so many sequences.
  void note_pass(int sequences, double seconds) { passes_.note(sequences, seconds); }

  // At most so many tokens of each proposal; 0: none.
  int plan(std::span<const Proposal> proposals, int most) const;

 private:
  double tokens_per_second(std::span<const Proposal> proposals, int limit) const;

  StepCosts steps_;
  StepCosts passes_;
};

}  // namespace lanner
