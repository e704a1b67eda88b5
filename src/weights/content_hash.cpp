// SPDX-License-Identifier: Apache-2.0
#include "weights/content_hash.h"

#include <algorithm>

#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lanner {
namespace {

using Bytes = std::span<const std::byte>;

// The pages of one tensor that are looked at.
std::vector<Bytes> choose_pages(Bytes tensor, size_t count) {
  if (count * kHashedPageBytes >= tensor.size()) return {tensor};
  std::vector<Bytes> pages;
  const size_t last = tensor.size() - kHashedPageBytes;
  if (count == 1) return {tensor.subspan(last / 2, kHashedPageBytes)};
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = last / (count - 1) * i + last % (count - 1) * i / (count - 1);
    pages.push_back(tensor.subspan(begin, kHashedPageBytes));
  }
  return pages;
}

// Lets the system read all of them at once from the disk where it does not have them yet; what it
// answers changes nothing but the time.
void prefetch(std::span<const Bytes> pages) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (const Bytes bytes : pages) {
    const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
    const uintptr_t end = reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size();
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
  }
}

}  // namespace

uint64_t hash_contents(std::span<const std::span<const std::byte>> tensors) {
  size_t total = 0;
  for (const Bytes tensor : tensors) total += tensor.size();
  std::vector<Bytes> pages;
  for (const Bytes tensor : tensors) {
    if (tensor.empty()) continue;
    if (total <= kHashedWhole) {
      pages.push_back(tensor);
      continue;
    }
    const double share = static_cast<double>(tensor.size()) / static_cast<double>(total);
    const auto count = static_cast<size_t>(share * static_cast<double>(kHashedPages));
    const std::vector<Bytes> chosen = choose_pages(tensor, std::max<size_t>(count, 1));
    pages.insert(pages.end(), chosen.begin(), chosen.end());
  }
  prefetch(pages);
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (const Bytes bytes : pages) XXH3_64bits_update(&state, bytes.data(), bytes.size());
  return XXH3_64bits_digest(&state);
}

}  // namespace lanner
