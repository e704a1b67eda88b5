// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/mapped_file.h"

namespace lanner {

// A tensor as a GGUF file describes it, checked against the file.
struct GgufTensorInfo {
  std::string name;
  uint32_t type = 0;           // find_gguf_tensor_type()
  std::vector<int64_t> shape;  // outermost first: the reverse of the order in the file
  uint64_t offset = 0;         // from the start of the file
  uint64_t bytes = 0;          // 0 for a type that ggml does not have
};

// A GGUF file, version 2 or 3 (ggml/docs/gguf.md), mapped: its metadata by key, its tensors by
// their own names. Every count and length is held against the bytes that are left before anything
// is allocated. Immutable and thread-safe.
class GgufFile {
 public:
  // Throws Error(kNotFound), Error(kIo), Error(kCorruptFile), or Error(kUnsupported) for other
  // versions, nested arrays and split files; the message starts with the path.
  static GgufFile open(const std::string& path);

  const std::string& path() const { return file_->path(); }
  uint32_t version() const { return version_; }

  // Metadata. The keys are sorted. The accessors throw Error(kCorruptFile) naming the key if its
  // value has another type, the required_ ones Error(kNotFound) if there is no such key.
  std::vector<std::string> keys() const;
  bool contains(std::string_view key) const { return values_.find(key) != values_.end(); }
  bool is_array(std::string_view key) const;
  std::optional<int64_t> optional_int(std::string_view key) const;
  // A 32-bit float comes as the shortest decimal number that it stands for: 1e-05, not
  // 9.999999747378752e-06.
  std::optional<double> optional_double(std::string_view key) const;
  std::optional<bool> optional_bool(std::string_view key) const;
  std::optional<std::string> optional_string(std::string_view key) const;
  int64_t required_int(std::string_view key) const;
  double required_double(std::string_view key) const;
  std::string required_string(std::string_view key) const;
  // Arrays; empty if there is no such key. Booleans count as the integers 0 and 1.
  std::vector<std::string> strings(std::string_view key) const;
  std::vector<int64_t> ints(std::string_view key) const;
  std::vector<float> floats(std::string_view key) const;

  // In the order of the file.
  std::span<const GgufTensorInfo> tensors() const { return tensors_; }
  const GgufTensorInfo* find_tensor(std::string_view name) const;
  // Throws Error(kUnsupported) naming the tensor and its type.
  CheckpointTensor tensor(const GgufTensorInfo& info) const;
  // Its bytes as they are, of whatever type.
  CheckpointTensor tensor_bytes(const GgufTensorInfo& info) const;

 private:
  struct Value {
    uint32_t type;  // of the elements if it is an array
    bool is_array;
    uint64_t count;         // elements; 1 if it is no array
    const std::byte* data;  // of the first element
  };
  class Parser;

  GgufFile() = default;
  const Value* find(std::string_view key, bool is_array) const;

  std::shared_ptr<const MappedFile> file_;
  uint32_t version_ = 0;
  std::map<std::string, Value, std::less<>> values_;
  std::vector<GgufTensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> tensor_index_;
};

}  // namespace lanner
