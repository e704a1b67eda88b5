// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace lanner {

// The pairs of a GGUF file's metadata, in order.
class GgufMetadata {
 public:
  void set_string(std::string_view key, std::string_view value);
  void set_uint32(std::string_view key, uint32_t value);
  void set_float32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_strings(std::string_view key, std::span<const std::string> values);
  void set_floats(std::string_view key, std::span<const float> values);
  void set_int32s(std::string_view key, std::span<const int32_t> values);

 private:
  friend class GgufWriter;
  void begin(std::string_view key, uint32_t type);

  std::string bytes_;
  uint64_t count_ = 0;
};

// Writes a GGUF file, version 3 (ggml/docs/gguf.md), as a stream: metadata and descriptions at
// once, then the data of every tensor in the order given, in pieces of any size.
class GgufWriter {
 public:
  struct Entry {
    std::string name;
    DType dtype;                 // one that GGUF has
    std::vector<int64_t> shape;  // outermost first
  };

  // Throws Error(kIo) naming the path, Error(kUnsupported) naming a tensor whose type or name GGUF
  // does not have.
  GgufWriter(std::string path, const GgufMetadata& metadata, std::span<const Entry> entries);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  int64_t tensor_bytes(size_t entry) const { return static_cast<int64_t>(sizes_[entry]); }
  // The next bytes of the tensor whose turn it is. Throws Error(kIo) (disk full).
  void append(const std::byte* data, size_t bytes);
  // All data is there: the file is whole. Throws Error(kIo).
  void finish();

 private:
  void write(const void* data, size_t bytes);
  void pad();

  std::string path_;
  std::FILE* file_ = nullptr;
  std::vector<uint64_t> sizes_;
  size_t current_ = 0;    // tensor
  uint64_t written_ = 0;  // of it
  uint64_t position_ = 0;
};

}  // namespace lanner
