// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lanner {

// Names a beginning of a sequence that ends with a full block, or the empty one: all that K and V
// of the next block depend on besides its own tokens.
struct PrefixId {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const PrefixId&) const = default;
};

// The empty beginning: of sequences of one model, of one user's salt, … `identity` names them all.
PrefixId prefix_root(std::string_view identity, std::string_view salt, uint64_t seed);

// Remembers what full blocks of the KV cache hold, so that a sequence that begins like an earlier
// one takes its blocks: a map from (beginning, tokens of the block) to the block, keyed by a
// 128-bit XXH3 hash and then compared token by token, so that two different beginnings never share
// a block, whatever collides. Blocks that nobody owns are kept and given away the least recently
// used first; as a sequence gives its last block back first, a beginning never goes before what
// follows it. Owned by the BlockManager; not thread-safe.
class PrefixCache {
 public:
  explicit PrefixCache(int32_t num_blocks);

  struct Match {
    int32_t block = 0;
    PrefixId prefix;  // that ends with the block
  };
  std::optional<Match> find(PrefixId prefix, std::span<const int32_t> tokens) const;
  // Remembers a full block. If another one with the same contents is known already, that one stays.
  // Returns the beginning that ends with it.
  PrefixId insert(PrefixId prefix, std::span<const int32_t> tokens, int32_t block);

  bool holds(int32_t block) const { return entry(block).known; }
  // A known block without an owner can be given away; one that has an owner (again) cannot.
  void set_idle(int32_t block);
  void set_used(int32_t block);
  // Forgets the least recently used idle block and returns it; num_idle() > 0.
  int32_t evict();

  int32_t num_idle() const { return num_idle_; }
  int32_t num_known() const { return static_cast<int32_t>(blocks_.size()); }
  uint64_t num_evictions() const { return num_evictions_; }

 private:
  struct Hash {
    uint64_t low = 0;
    uint64_t high = 0;
    bool operator==(const Hash&) const = default;
  };
  struct HashOfHash {
    size_t operator()(const Hash& hash) const { return hash.low; }
  };
  struct Entry {
    bool known = false;
    bool idle = false;
    Hash hash;
    PrefixId parent;
    PrefixId id;
    std::vector<int32_t> tokens;
    int32_t newer = -1;  // neighbours among the idle ones
    int32_t older = -1;
  };

  Hash hash_of(PrefixId prefix, std::span<const int32_t> tokens) const;
  bool is(const Entry& entry, PrefixId prefix, std::span<const int32_t> tokens) const;
  Entry& entry(int32_t block) { return entries_[static_cast<size_t>(block)]; }
  const Entry& entry(int32_t block) const { return entries_[static_cast<size_t>(block)]; }
  void unlink(int32_t block);

  std::vector<Entry> entries_;                            // [num_blocks]
  std::unordered_map<Hash, int32_t, HashOfHash> blocks_;  // the known ones
  mutable std::vector<int32_t> buffer_;                   // what is hashed
  int32_t newest_ = -1;
  int32_t oldest_ = -1;
  int32_t num_idle_ = 0;
  uint64_t num_evictions_ = 0;
  uint64_t next_id_ = 1;
};

}  // namespace lanner
