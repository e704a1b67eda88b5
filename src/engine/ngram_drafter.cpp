// SPDX-License-Identifier: Apache-2.0
#include "engine/ngram_drafter.h"

#include <algorithm>

namespace lanner {
namespace {

// Collisions cost a wrong draft and nothing else.
uint64_t hash_of(std::span<const int32_t> tokens) {
  uint64_t hash = 0x9E3779B97F4A7C15;
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0xD6E8FEB86659FD93;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

void NgramDrafter::remember(std::span<const int32_t> tokens, size_t end) {
  for (size_t n = shortest_; n <= kLongest && n <= end; ++n) {
    after_[n - kShortest][hash_of(tokens.subspan(end - n, n))] = static_cast<int32_t>(end);
  }
}

std::span<const int32_t> NgramDrafter::propose(std::span<const int32_t> tokens) {
  // All but the last: nothing has followed it yet.
  for (; seen_ + 1 < tokens.size(); ++seen_) remember(tokens, seen_ + 1);
  drafts_.clear();
  if (pause_ > 0) {
    --pause_;
    return drafts_;
  }
  for (size_t n = std::min<size_t>(kLongest, tokens.size()); n >= shortest_; --n) {
    const auto& places = after_[n - kShortest];
    const auto it = places.find(hash_of(tokens.last(n)));
    if (it == places.end()) continue;
    const auto begin = static_cast<size_t>(it->second);
    // A loop goes on beyond the end: what is copied may be what has just been proposed.
    for (size_t i = 0; i < static_cast<size_t>(num_drafts_); ++i) {
      const size_t at = begin + i;
      drafts_.push_back(at < tokens.size() ? tokens[at] : drafts_[at - tokens.size()]);
    }
    break;
  }
  return drafts_;
}

void NgramDrafter::learn(int proposed, int accepted) {
  if (proposed == 0) return;
  constexpr int kLongestPause = 32;
  if (accepted == 0) {
    num_drafts_ = std::max(num_drafts_ / 2, 2);
    pause_ = next_pause_;
    next_pause_ = std::min(2 * next_pause_, kLongestPause);
    return;
  }
  next_pause_ = 1;
  num_drafts_ =
      accepted == proposed ? std::min(2 * num_drafts_, max_drafts_) : std::max(accepted + 1, 2);
}

}  // namespace lanner
