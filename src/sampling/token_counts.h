// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lanner {

// Which tokens a sequence has had and how often: what the penalties need, kept up token by token,
// its size that of the sequence and not of the vocabulary. One per sequence with penalties.
class TokenCounts {
 public:
  struct Entry {
    int32_t id = 0;
    int32_t output_count = 0;  // 0: only in the prompt
  };

  explicit TokenCounts(std::span<const int32_t> prompt);
  // The entries() of another, to be read only.
  static TokenCounts of_entries(std::vector<Entry> entries);
  void add_output(int32_t id);

  // Every token of prompt and output once, in order of first appearance.
  std::span<const Entry> entries() const { return entries_; }

 private:
  TokenCounts() = default;
  Entry& entry(int32_t id);

  std::vector<Entry> entries_;
  std::unordered_map<int32_t, size_t> index_;  // token id -> index in entries_
};

}  // namespace lanner
