// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace lanner {

// The ranks of a segment at most: one per NUMA node of the largest servers, and then some.
inline constexpr int kMaxShmRanks = 64;

enum class RankState : uint32_t { kAbsent, kPresent, kFailed, kLeft };

// What a rank tells the others about itself. Written by its own rank only.
struct alignas(128) ShmRank {
  std::atomic<uint32_t> epoch;     // collectives it has entered; a futex
  std::atomic<uint32_t> sleepers;  // ranks asleep on `epoch`
  std::atomic<uint32_t> state;     // a RankState
  std::atomic<int32_t> process_id;
  // What the collective of an epoch is, and of what size; of odd and even epochs in turn.
  std::atomic<uint64_t> operation[2];
  char reason[256];  // why it failed; complete before `state` says so
};

static_assert(std::atomic<uint32_t>::is_always_lock_free &&
              std::atomic<uint64_t>::is_always_lock_free);

struct ShmSizes {
  int ranks = 0;
  int64_t sum_elements = 0;   // of the largest sum, fp32
  int64_t message_bytes = 0;  // of a gathered or broadcast piece
};

// Memory shared by the ranks of one machine: an anonymous file (memfd), so that nothing stays in
// the file system whatever becomes of the ranks. Rank 0 creates it, the others map the descriptor
// they were handed. Everything read from it is checked: a rank may be a stranger or damaged.
class ShmSegment {
 public:
  // Throws Error(kResourceExhausted) where the memory cannot be had, Error(kInvalidArgument) for
  // sizes that make no sense.
  static std::shared_ptr<ShmSegment> create(const ShmSizes& sizes);
  // Maps the segment behind `descriptor` (which stays the caller's). Throws Error(kCorruptFile) if
  // it is none of this version.
  static std::shared_ptr<ShmSegment> map(int descriptor);
  ~ShmSegment();
  ShmSegment(const ShmSegment&) = delete;
  ShmSegment& operator=(const ShmSegment&) = delete;

  int descriptor() const { return descriptor_; }
  const ShmSizes& sizes() const { return sizes_; }
  ShmRank& rank(int rank) const;
  // Two of each per rank, used in turn: while one collective's are still read by a slow rank, the
  // next one's are written.
  float* sums(int parity, int rank) const;
  std::span<std::byte> message(int parity, int rank) const;

 private:
  ShmSegment(int descriptor, const ShmSizes& sizes, std::byte* data, int64_t bytes);

  int descriptor_;
  ShmSizes sizes_;
  std::byte* data_;
  int64_t bytes_;
};

}  // namespace lanner
