// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "weights/checkpoint.h"

namespace lanner {

// A file mapped read-only into memory. Thread-safe. The file must not shrink while it is mapped:
// the system would answer a read past its new end with SIGBUS.
class MappedFile : public std::enable_shared_from_this<MappedFile> {
 public:
  // Throws Error(kNotFound) or Error(kIo) naming the path.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // The tensor at [offset, offset + its size), which must lie in the file. Its owner keeps the file
  // mapped and takes the tensor out of the resident memory again when it goes, so that loading a
  // model needs no second copy of it. Data at an odd address is copied to an aligned one.
  CheckpointTensor tensor(uint64_t offset, DType dtype, const Shape& shape) const;
  // Takes the whole pages within a range of the file out of the resident memory.
  void drop(const std::byte* begin, const std::byte* end) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_;
  size_t size_;
};

// A name from a file for an error message: quoted, control characters replaced, not longer than 200
// bytes.
std::string quote_name(std::string_view name);

}  // namespace lanner
