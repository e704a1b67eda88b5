// SPDX-License-Identifier: Apache-2.0
#include "distributed/shm_segment.h"

#include <cerrno>
#include <cstring>
#include <new>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {
namespace {

constexpr uint64_t kMagic = 0x314d48534e4e414c;  // "LANNSHM1"
constexpr int64_t kAlignment = 4096;

struct Header {
  uint64_t magic;
  int64_t ranks;
  int64_t sum_elements;
  int64_t message_bytes;
};

int64_t align(int64_t bytes) { return round_up(bytes, kAlignment); }

int64_t ranks_bytes(const ShmSizes& sizes) {
  return align(int64_t{sizes.ranks} * static_cast<int64_t>(sizeof(ShmRank)));
}
int64_t sum_bytes(const ShmSizes& sizes) {
  return align(checked_mul(sizes.sum_elements, int64_t{4}, "shared sums"));
}
int64_t message_bytes(const ShmSizes& sizes) { return align(sizes.message_bytes); }

// Header, ranks, sums [2][ranks], messages [2][ranks].
int64_t total_bytes(const ShmSizes& sizes) {
  const int64_t per_rank = sum_bytes(sizes) + message_bytes(sizes);
  return kAlignment + ranks_bytes(sizes) +
         checked_mul(int64_t{2} * sizes.ranks, per_rank, "shared memory of the ranks");
}

bool are_sensible(const ShmSizes& sizes) {
  constexpr int64_t kMost = int64_t{1} << 40;
  return sizes.ranks >= 1 && sizes.ranks <= kMaxShmRanks && sizes.sum_elements >= 1 &&
         sizes.sum_elements <= kMost && sizes.message_bytes >= 64 && sizes.message_bytes <= kMost;
}

std::byte* map_shared(int descriptor, int64_t bytes) {
  void* data =
      mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) {
    throw_error(ErrorCode::kResourceExhausted,
                "[distributed] cannot map {} bytes of memory shared by the ranks: {}", bytes,
                std::strerror(errno));
  }
  return static_cast<std::byte*>(data);
}

}  // namespace

ShmSegment::ShmSegment(int descriptor, const ShmSizes& sizes, std::byte* data, int64_t bytes)
    : descriptor_(descriptor), sizes_(sizes), data_(data), bytes_(bytes) {}

ShmSegment::~ShmSegment() {
  munmap(data_, static_cast<size_t>(bytes_));
  close(descriptor_);
}

std::shared_ptr<ShmSegment> ShmSegment::create(const ShmSizes& sizes) {
  check_argument(
      are_sensible(sizes),
      "[distributed] {} ranks with sums of {} elements and messages of {} bytes: at most "
      "{} ranks, and sizes that are not empty",
      sizes.ranks, sizes.sum_elements, sizes.message_bytes, kMaxShmRanks);
  const int64_t bytes = total_bytes(sizes);
  const int descriptor = memfd_create("lanner-ranks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0 || ftruncate(descriptor, bytes) != 0) {
    const int error = errno;
    if (descriptor >= 0) close(descriptor);
    throw_error(ErrorCode::kResourceExhausted,
                "[distributed] cannot create {} bytes of memory shared by the ranks: {}", bytes,
                std::strerror(error));
  }
  // A file that another rank could shrink would be a SIGBUS for all.
  fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  std::byte* data = nullptr;
  try {
    data = map_shared(descriptor, bytes);
  } catch (...) {
    close(descriptor);
    throw;
  }
  // The file is zero: every rank is absent, at epoch 0.
  new (data) Header{kMagic, sizes.ranks, sizes.sum_elements, sizes.message_bytes};
  return std::shared_ptr<ShmSegment>(new ShmSegment(descriptor, sizes, data, bytes));
}

std::shared_ptr<ShmSegment> ShmSegment::map(int descriptor) {
  struct stat status = {};
  Header header = {};
  const bool can_read = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
                        pread(descriptor, &header, sizeof(header), 0) == sizeof(header);
  // Only what is sealed stays as large as it was checked to be.
  const int seals = fcntl(descriptor, F_GET_SEALS);
  const bool is_sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
  ShmSizes sizes;
  if (can_read && header.ranks >= 1 && header.ranks <= kMaxShmRanks) {
    sizes = {.ranks = static_cast<int>(header.ranks),
             .sum_elements = header.sum_elements,
             .message_bytes = header.message_bytes};
  }
  if (!can_read || !is_sealed || header.magic != kMagic || !are_sensible(sizes) ||
      status.st_size != total_bytes(sizes)) {
    throw_error(ErrorCode::kCorruptFile,
                "[distributed] descriptor {} is no memory of a rank 0 of this version", descriptor);
  }
  const int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (own < 0) {
    throw_error(ErrorCode::kResourceExhausted, "[distributed] cannot keep descriptor {}: {}",
                descriptor, std::strerror(errno));
  }
  std::byte* data = nullptr;
  try {
    data = map_shared(own, status.st_size);
  } catch (...) {
    close(own);
    throw;
  }
  return std::shared_ptr<ShmSegment>(new ShmSegment(own, sizes, data, status.st_size));
}

ShmRank& ShmSegment::rank(int rank) const {
  return reinterpret_cast<ShmRank*>(data_ + kAlignment)[rank];
}

float* ShmSegment::sums(int parity, int rank) const {
  const int64_t index = int64_t{parity} * sizes_.ranks + rank;
  return reinterpret_cast<float*>(data_ + kAlignment + ranks_bytes(sizes_) +
                                  index * sum_bytes(sizes_));
}

std::span<std::byte> ShmSegment::message(int parity, int rank) const {
  const int64_t index = int64_t{parity} * sizes_.ranks + rank;
  std::byte* first =
      data_ + kAlignment + ranks_bytes(sizes_) + int64_t{2} * sizes_.ranks * sum_bytes(sizes_);
  return {first + index * message_bytes(sizes_), static_cast<size_t>(sizes_.message_bytes)};
}

}  // namespace lanner
