// SPDX-License-Identifier: Apache-2.0
#include "kvcache/prefix_cache.h"

#include <algorithm>
#include <cstring>
#include <string>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"

namespace lanner {

PrefixId prefix_root(std::string_view identity, std::string_view salt, uint64_t seed) {
  // The length keeps ("ab", "c") and ("a", "bc") apart.
  std::string text = std::to_string(identity.size());
  text.append(":").append(identity).append(salt);
  const XXH128_hash_t hash = XXH3_128bits_withSeed(text.data(), text.size(), seed);
  // insert() counts up from 1 with high = 0.
  return {.low = hash.low64, .high = hash.high64 | 1};
}

PrefixCache::PrefixCache(int32_t num_blocks) : entries_(static_cast<size_t>(num_blocks)) {}

PrefixCache::Hash PrefixCache::hash_of(PrefixId prefix, std::span<const int32_t> tokens) const {
  constexpr size_t kPrefixWords = sizeof(PrefixId) / sizeof(int32_t);
  buffer_.resize(kPrefixWords + tokens.size());
  std::memcpy(buffer_.data(), &prefix, sizeof(prefix));
  std::ranges::copy(tokens, buffer_.begin() + kPrefixWords);
  const XXH128_hash_t hash = XXH3_128bits(buffer_.data(), buffer_.size() * sizeof(int32_t));
  return {.low = hash.low64, .high = hash.high64};
}

bool PrefixCache::is(const Entry& entry, PrefixId prefix, std::span<const int32_t> tokens) const {
  return entry.parent == prefix && std::ranges::equal(entry.tokens, tokens);
}

std::optional<PrefixCache::Match> PrefixCache::find(PrefixId prefix,
                                                    std::span<const int32_t> tokens) const {
  const auto it = blocks_.find(hash_of(prefix, tokens));
  if (it == blocks_.end()) return std::nullopt;
  const Entry& known = entry(it->second);
  if (!is(known, prefix, tokens)) return std::nullopt;
  return Match{.block = it->second, .prefix = known.id};
}

PrefixId PrefixCache::insert(PrefixId prefix, std::span<const int32_t> tokens, int32_t block) {
  const Hash hash = hash_of(prefix, tokens);
  const auto [it, is_new] = blocks_.try_emplace(hash, block);
  if (!is_new) {
    const Entry& known = entry(it->second);
    // A colliding hash: nothing will be found under this id.
    return is(known, prefix, tokens) ? known.id : PrefixId{.low = next_id_++, .high = 0};
  }
  Entry& added = entry(block);
  LANNER_CHECK(!added.known);
  added.known = true;
  added.hash = hash;
  added.parent = prefix;
  added.id = {.low = next_id_++, .high = 0};
  added.tokens.assign(tokens.begin(), tokens.end());
  return added.id;
}

void PrefixCache::set_idle(int32_t block) {
  Entry& idle = entry(block);
  LANNER_CHECK(idle.known && !idle.idle);
  idle.idle = true;
  idle.older = newest_;
  idle.newer = -1;
  if (newest_ >= 0) entry(newest_).newer = block;
  newest_ = block;
  if (oldest_ < 0) oldest_ = block;
  ++num_idle_;
}

void PrefixCache::set_used(int32_t block) {
  LANNER_CHECK(entry(block).idle);
  unlink(block);
}

int32_t PrefixCache::evict() {
  LANNER_CHECK(oldest_ >= 0);
  const int32_t block = oldest_;
  unlink(block);
  Entry& evicted = entry(block);
  blocks_.erase(evicted.hash);
  evicted.known = false;
  evicted.tokens.clear();
  ++num_evictions_;
  return block;
}

void PrefixCache::unlink(int32_t block) {
  Entry& idle = entry(block);
  (idle.newer >= 0 ? entry(idle.newer).older : newest_) = idle.older;
  (idle.older >= 0 ? entry(idle.older).newer : oldest_) = idle.newer;
  idle.idle = false;
  --num_idle_;
}

}  // namespace lanner
