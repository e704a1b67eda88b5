// SPDX-License-Identifier: Apache-2.0
#include "weights/mapped_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "weights/drop_resident.h"

namespace lanner {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// The end of a tensor's owner: drop_resident finds the file in it.
struct DropAtEnd {
  std::shared_ptr<const MappedFile> file;
  const std::byte* begin;
  const std::byte* end;
  void operator()(const void*) const { file->drop(begin, end); }
};

uintptr_t page_size() {
  static const auto kSize = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return kSize;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a fifo must not wait for its writer.
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    throw_error(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "{}: {}", path,
                std::strerror(errno));
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) {
    throw_error(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) throw_error(ErrorCode::kIo, "{}: not a regular file", path);
  const auto size = static_cast<size_t>(status.st_size);
  void* data = nullptr;
  if (size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (data == MAP_FAILED) {
      throw_error(ErrorCode::kIo, "{}: cannot be mapped: {}", path, std::strerror(errno));
    }
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(const_cast<std::byte*>(data_), size_);
}

CheckpointTensor MappedFile::tensor(uint64_t offset, DType dtype, const Shape& shape) const {
  const int64_t row = shape.rank() == 0 ? 1 : shape.size(-1);
  const int64_t rows = row == 0 ? 0 : shape.numel() / row;
  const auto length =
      static_cast<uint64_t>(checked_mul(rows, dtype_bytes(dtype, row), "[weights] tensor size"));
  LANNER_CHECK(offset <= size_ && length <= size_ - offset);
  const std::byte* begin = data_ + offset;

  const uintptr_t alignment = is_block_dtype(dtype) ? 1 : dtype_info(dtype).block_bytes;
  if (reinterpret_cast<uintptr_t>(begin) % alignment != 0) {
    auto copy = std::make_shared<Buffer>(length);
    if (length > 0) std::memcpy(copy->data(), begin, length);
    std::byte* data = copy->data();
    return {Tensor(data, dtype, shape), std::move(copy)};
  }

  std::shared_ptr<const void> owner(begin, DropAtEnd{shared_from_this(), begin, begin + length});
  return {Tensor(const_cast<std::byte*>(begin), dtype, shape), std::move(owner)};
}

void MappedFile::drop(const std::byte* begin, const std::byte* end) const {
  // Whole pages only: the neighbours' data may still be in use. They would be read again from the
  // file, so this is a matter of speed, not of right.
  const uintptr_t page = page_size();
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void drop_resident(const CheckpointTensor& tensor, const std::byte* begin, const std::byte* end) {
  const auto* mapped = std::get_deleter<DropAtEnd>(tensor.owner);
  if (mapped == nullptr || begin < mapped->begin || end > mapped->end) return;
  mapped->file->drop(begin, end);
}

std::string quote_name(std::string_view name) {
  constexpr size_t kLongest = 200;
  std::string text = "'";
  for (char c : name.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  text += name.size() > kLongest ? "...'" : "'";
  return text;
}

}  // namespace lanner
