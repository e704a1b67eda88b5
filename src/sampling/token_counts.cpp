// SPDX-License-Identifier: Apache-2.0
#include "sampling/token_counts.h"

namespace lanner {

TokenCounts::TokenCounts(std::span<const int32_t> prompt) {
  for (const int32_t id : prompt) entry(id);
}

TokenCounts TokenCounts::of_entries(std::vector<Entry> entries) {
  TokenCounts counts;
  counts.entries_ = std::move(entries);
  return counts;
}

void TokenCounts::add_output(int32_t id) { ++entry(id).output_count; }

TokenCounts::Entry& TokenCounts::entry(int32_t id) {
  const auto [it, is_new] = index_.try_emplace(id, entries_.size());
  if (is_new) entries_.push_back({.id = id});
  return entries_[it->second];
}

}  // namespace lanner
