// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/acceptance_rate.h"

namespace lanner {

// How often prompt lookup is right, by the number of equal tokens before the one it proposes: two
// occur in any text, sixteen where one is being copied.
class NgramAcceptance {
 public:
  AcceptanceRate& after(int equal_tokens);
  // For another sequence.
  NgramAcceptance begin_again() const;

 private:
  // After 2, 3, 4 to 5, 6 to 9 and more equal tokens. Pessimists: what is proposed is compared with
  // what comes also where it has not been verified, so that right ones are soon known.
  std::array<AcceptanceRate, 5> rates_ = {AcceptanceRate(0.1), AcceptanceRate(0.2),
                                          AcceptanceRate(0.4), AcceptanceRate(0.6),
                                          AcceptanceRate(0.8)};
};

// Proposes what came the last time the sequence's last tokens occurred in it (prompt lookup
// decoding, Saxena 2023): cheap, and right where an answer copies from its prompt. Remembers for
// every two, three and four tokens where they were last followed by something. Knows how often it
// would have been right, whether its proposals were verified or not. One per sequence.
class NgramDrafter {
 public:
  // all: of all sequences, learns along; must outlive this.
  NgramDrafter(int max_drafts, NgramAcceptance& all)
      : max_drafts_(max_drafts), all_(all), own_(all.begin_again()) {}

  // The tokens of the whole sequence, of which earlier calls have seen a beginning. Drafts stay
  // valid until the next call.
  std::span<const int32_t> propose(std::span<const int32_t> tokens);
  // How likely the draft `index` of the last proposal is right, if those before it are.
  double chance(int index) { return own_.after(equal_ + index).rate(); }

 private:
  // Tokens that must have occurred before: the more the better.
  static constexpr size_t kShortest = 2;
  static constexpr size_t kLongest = 4;

  void learn(std::span<const int32_t> tokens);
  void remember(std::span<const int32_t> tokens, size_t end);

  int max_drafts_;
  NgramAcceptance& all_;
  NgramAcceptance own_;
  size_t seen_ = 0;         // tokens
  size_t proposed_at_ = 0;  // the sequence's length then
  int equal_ = 0;           // tokens before drafts_ and before what they are copied from
  // Hash of an n-gram -> position after it, [kLongest - kShortest + 1].
  std::array<std::unordered_map<uint64_t, int32_t>, kLongest - kShortest + 1> after_;
  std::vector<int32_t> drafts_;
};

}  // namespace lanner
