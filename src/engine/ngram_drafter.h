// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lanner {

// Proposes what came the last time the sequence's last tokens occurred in it (prompt lookup
// decoding, Saxena 2023): cheap, and right where an answer copies from its prompt. Remembers for
// every two, three and four tokens where they were last followed by something. Proposes less after
// it was wrong, nothing while it is always wrong. One per sequence.
class NgramDrafter {
 public:
  static constexpr int kShortest = 2;
  static constexpr int kLongest = 4;

  // shortest: the fewest tokens that must have occurred before.
  explicit NgramDrafter(int max_drafts, int shortest = kShortest)
      : max_drafts_(max_drafts), num_drafts_(max_drafts), shortest_(shortest) {}

  // The tokens of the whole sequence, of which earlier calls have seen a beginning. Drafts stay
  // valid until the next call.
  std::span<const int32_t> propose(std::span<const int32_t> tokens);
  // How many of `proposed` drafts came true.
  void learn(int proposed, int accepted);

 private:
  void remember(std::span<const int32_t> tokens, size_t end);

  int max_drafts_;
  int num_drafts_;
  size_t shortest_;
  int pause_ = 0;       // proposals left out
  int next_pause_ = 1;  // once it is wrong again
  size_t seen_ = 0;     // tokens
  // Hash of an n-gram -> position after it, [kLongest - kShortest + 1].
  std::array<std::unordered_map<uint64_t, int32_t>, kLongest - kShortest + 1> after_;
  std::vector<int32_t> drafts_;
};

}  // namespace lanner
