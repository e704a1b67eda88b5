// SPDX-License-Identifier: Apache-2.0
#include "weights/content_hash.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace lanner {
namespace {

using Bytes = std::span<const std::byte>;

uint64_t hash_of(const std::vector<std::string>& tensors) {
  std::vector<Bytes> views;
  for (const std::string& tensor : tensors) views.push_back(std::as_bytes(std::span(tensor)));
  return hash_contents(views);
}

TEST(ContentHash, OfSmallModelsEveryByteCounts) {
  const std::vector<std::string> tensors = {std::string(70'000, 'a'), "", std::string(3, 'b')};
  std::set<uint64_t> hashes = {hash_of(tensors)};
  EXPECT_EQ(*hashes.begin(), hash_of(tensors));
  for (const auto& [tensor, byte] : {std::pair(0, 0), {0, 12'345}, {0, 69'999}, {2, 1}}) {
    std::vector<std::string> changed = tensors;
    changed[static_cast<size_t>(tensor)][static_cast<size_t>(byte)] ^= 1;
    EXPECT_TRUE(hashes.insert(hash_of(changed)).second) << tensor << " " << byte;
  }
}

TEST(ContentHash, OfLargeModelsEveryTensorCounts) {
  // 40 MiB in one tensor, the others as small as norms.
  std::vector<std::string> tensors = {std::string(40 << 20, 'a')};
  for (size_t bytes : {1, 4096, 4097, 9000, 100'000}) tensors.emplace_back(bytes, 'b');
  const uint64_t original = hash_of(tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string kept = tensors[i];
    tensors[i] = std::string(kept.size(), 'c');
    EXPECT_NE(hash_of(tensors), original) << i;
    tensors[i] = kept;
  }
  EXPECT_EQ(hash_of(tensors), original);
  // A part of a tensor that is longer than the gaps between the pages.
  const size_t gap = tensors[0].size() / kHashedPages * 5 / 4;
  for (size_t begin = 0; begin + gap <= tensors[0].size(); begin += 5'000'011) {
    tensors[0].replace(begin, gap, gap, 'd');
    EXPECT_NE(hash_of(tensors), original) << begin;
    tensors[0].replace(begin, gap, gap, 'a');
  }
  EXPECT_EQ(hash_of(tensors), original);
  // The two ends.
  for (size_t at : {size_t{0}, tensors[0].size() - 1}) {
    tensors[0][at] = 'd';
    EXPECT_NE(hash_of(tensors), original) << at;
    tensors[0][at] = 'a';
  }
}

}  // namespace
}  // namespace lanner
