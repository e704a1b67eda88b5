// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lanner {

// Up to so many bytes in all are hashed whole.
inline constexpr size_t kHashedWhole = 16 << 20;
// Of more, about so many pages, shared out by size and spread evenly over each tensor: of a small
// one the page in the middle.
inline constexpr size_t kHashedPages = 2048;
inline constexpr size_t kHashedPageBytes = 4096;

// A hash of what tensors hold (Checkpoint::stored_bytes): another training, quantisation or
// damaged download gives another one, within milliseconds whatever the size of the model. A change
// of a few bytes of a large model may lie between the pages that are looked at.
uint64_t hash_contents(std::span<const std::span<const std::byte>> tensors);

}  // namespace lanner
