// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace lanner {

// Proposed for a sequence in one step at most (LlmConfig::draft_tokens goes so far).
inline constexpr int kMaxDraftTokens = 16;

// What a step of so many rows costs, learnt from the steps that ran. Sizes that have not run are
// taken from their neighbours, and beyond the largest one as a little dearer per row, so that they
// get tried where much is to be gained; what has not been measured for long is forgotten, so that
// it gets tried again.
class StepCosts {
 public:
  void note(int rows, double seconds);
  // Seconds; 0 as long as nothing has been measured.
  double of(int rows) const;
  // Whether this very size has been measured, and lately.
  bool knows(int rows) const;

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
// the most. Its estimates may be wrong, so it keeps accounts too: what steps with drafts have cost
// more than the same tokens without any is paid back by a hundredth of the steps, and as long as
// something is owed only drafts that promise much are proposed. Knows no clock: told of times,
// asked for numbers. One per engine.
class DraftPlanner {
 public:
  // One sequence that goes on.
  struct Proposal {
    int most = 0;  // tokens that can be proposed for it
    // How likely each of them is right, if those before it are.
    std::array<double, kMaxDraftTokens> chances = {};
    bool by_model = false;  // a draft model has to compute them,
    int missing = 0;        // after so many tokens of the sequence that it has not seen,
    int remaining = 0;      // and it pays back by these, which the sequence may still become
  };
  // A step that computed no prompt.
  struct Step {
    int sequences = 0;
    int rows = 0;              // their tokens, drafts included
    int new_tokens = 0;        // that came of it
    double seconds = 0;        // without those of
    double draft_seconds = 0;  // the draft model
  };

  void note_step(const Step& step);
  // A pass of the draft model over so many sequences.
  void note_pass(int sequences, double seconds) { passes_.note(sequences, seconds); }
  // The draft model has computed so many tokens that it had missed.
  void note_catch_up(int tokens, double seconds);

  // How many tokens of each proposal.
  std::vector<int> plan(std::span<const Proposal> proposals) const;

  // Nothing is owed, for long: what was not worth while lately may be tried again.
  bool may_try() const { return credit_ >= kMostCredit; }

 private:
  // Of one step with drafts.
  struct Drafts {
    int rows = 0;
    int passes = 0;       // of the draft model
    int by_model = 0;     // sequences of the passes
    double catch_up = 0;  // seconds: this step's share
  };
  double seconds(int sequences, const Drafts& drafts) const;

  // In steps without drafts.
  static constexpr double kMostCredit = 8;

  StepCosts steps_;
  StepCosts passes_;
  double catch_up_seconds_ = 0;  // of a token
  double credit_ = kMostCredit;
};

}  // namespace lanner
