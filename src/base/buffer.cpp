// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <sys/mman.h>

#include "base/error.h"

namespace lanner {
namespace {

bool is_mapped(size_t bytes) { return bytes >= Buffer::kHugePageBytes; }

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// What is really allocated; bytes <= kMaxBytes. A huge page at the end of which little is used
// would be memory wasted, a tenth of some models: there the last bytes lie in small pages.
size_t allocated_bytes(size_t bytes) {
  constexpr size_t kSmallPageBytes = 4096;
  if (!is_mapped(bytes)) return round_up(bytes, Buffer::kAlignment);
  const size_t huge = round_up(bytes, Buffer::kHugePageBytes);
  return huge - bytes <= bytes / 32 ? huge : round_up(bytes, kSmallPageBytes);
}

// No machine has more, and the sums below cannot overflow.
constexpr size_t kMaxBytes = SIZE_MAX / 4;

}  // namespace

Buffer::Buffer(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  if (bytes > kMaxBytes) {
    throw_error(ErrorCode::kResourceExhausted, "cannot allocate {} bytes", bytes);
  }
  const size_t allocated = allocated_bytes(bytes);
  if (!is_mapped(bytes)) {
    data_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, allocated));
    if (data_ != nullptr) std::memset(data_, 0, allocated);
  } else {
    // Map a huge page more and cut both ends, so that the buffer starts on a huge page.
    const size_t mapped = allocated + kHugePageBytes;
    void* memory =
        mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) {
      auto* start = static_cast<std::byte*>(memory);
      const auto address = reinterpret_cast<uintptr_t>(start);
      const size_t head = (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
      if (head > 0) munmap(start, head);
      data_ = start + head;
      const size_t tail = mapped - head - allocated;
      if (tail > 0) munmap(data_ + allocated, tail);
      madvise(data_, allocated, MADV_HUGEPAGE);  // a wish: kernels without huge pages ignore it
    }
  }
  if (data_ == nullptr) {
    size_ = 0;
    throw_error(ErrorCode::kResourceExhausted, "cannot allocate {} bytes", bytes);
  }
}

Buffer::~Buffer() { release(); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void Buffer::release() noexcept {
  if (data_ == nullptr) return;
  if (is_mapped(size_)) {
    munmap(data_, allocated_bytes(size_));
  } else {
    std::free(data_);
  }
  data_ = nullptr;
  size_ = 0;
}

}  // namespace lanner
