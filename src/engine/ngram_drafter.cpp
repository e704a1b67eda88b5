// SPDX-License-Identifier: Apache-2.0
#include "engine/ngram_drafter.h"

#include <algorithm>

namespace lanner {
namespace {

uint64_t hash_of(std::span<const int32_t> tokens) {
  uint64_t hash = 0x9E3779B97F4A7C15;
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0xD6E8FEB86659FD93;
    hash ^= hash >> 32;
  }
  return hash;
}

// How many tokens the ends have in common, as far as it matters.
int count_equal(std::span<const int32_t> a, std::span<const int32_t> b) {
  constexpr size_t kEnough = 16;
  const size_t most = std::min({a.size(), b.size(), kEnough});
  size_t equal = 0;
  while (equal < most && a[a.size() - 1 - equal] == b[b.size() - 1 - equal]) ++equal;
  return static_cast<int>(equal);
}

}  // namespace

AcceptanceRate& NgramAcceptance::after(int equal_tokens) {
  if (equal_tokens <= 3) return rates_[equal_tokens == 3 ? 1 : 0];
  if (equal_tokens <= 5) return rates_[2];
  return rates_[equal_tokens <= 9 ? 3 : 4];
}

NgramAcceptance NgramAcceptance::begin_again() const {
  NgramAcceptance begun;
  for (size_t i = 0; i < rates_.size(); ++i) begun.rates_[i] = rates_[i].begin_again();
  return begun;
}

void NgramDrafter::remember(std::span<const int32_t> tokens, size_t end) {
  for (size_t n = kShortest; n <= kLongest && n <= end; ++n) {
    after_[n - kShortest][hash_of(tokens.subspan(end - n, n))] = static_cast<int32_t>(end);
  }
}

// What has come since the last proposal tells of it, verified or not.
void NgramDrafter::learn(std::span<const int32_t> tokens) {
  const size_t known = std::min(drafts_.size(), tokens.size() - proposed_at_);
  for (size_t i = 0; i < known; ++i) {
    const bool right = drafts_[i] == tokens[proposed_at_ + i];
    const int equal = equal_ + static_cast<int>(i);
    own_.after(equal).learn(right);
    all_.after(equal).learn(right);
    if (!right) return;
  }
}

std::span<const int32_t> NgramDrafter::propose(std::span<const int32_t> tokens) {
  learn(tokens);
  // All but the last: nothing has followed it yet.
  for (; seen_ + 1 < tokens.size(); ++seen_) remember(tokens, seen_ + 1);
  drafts_.clear();
  proposed_at_ = tokens.size();
  for (size_t n = std::min<size_t>(kLongest, tokens.size()); n >= kShortest; --n) {
    const auto& places = after_[n - kShortest];
    const auto it = places.find(hash_of(tokens.last(n)));
    if (it == places.end()) continue;
    const auto begin = static_cast<size_t>(it->second);
    equal_ = count_equal(tokens.first(begin), tokens);
    if (equal_ < static_cast<int>(n)) continue;  // the hash of another one
    // A loop goes on beyond the end: what is copied may be what has just been proposed.
    for (size_t i = 0; i < static_cast<size_t>(max_drafts_); ++i) {
      const size_t at = begin + i;
      drafts_.push_back(at < tokens.size() ? tokens[at] : drafts_[at - tokens.size()]);
    }
    break;
  }
  return drafts_;
}

}  // namespace lanner
