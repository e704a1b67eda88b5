// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_writer.h"

#include <cerrno>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "weights/gguf_types.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

constexpr uint64_t kAlignment = 32;  // the format's default
constexpr size_t kLongestName = 63;  // llama.cpp's GGML_MAX_NAME, without the end
enum : uint32_t { kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& bytes, std::string_view text) {
  put<uint64_t>(bytes, text.size());
  bytes += text;
}

template <typename T>
void put_array(std::string& bytes, uint32_t type, std::span<const T> values) {
  put(bytes, type);
  put<uint64_t>(bytes, values.size());
  for (const T& value : values) put(bytes, value);
}

uint64_t aligned(uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void GgufMetadata::begin(std::string_view key, uint32_t type) {
  put_text(bytes_, key);
  put(bytes_, type);
  ++count_;
}

void GgufMetadata::set_string(std::string_view key, std::string_view value) {
  begin(key, kString);
  put_text(bytes_, value);
}
void GgufMetadata::set_uint32(std::string_view key, uint32_t value) {
  begin(key, kUint32);
  put(bytes_, value);
}
void GgufMetadata::set_float32(std::string_view key, float value) {
  begin(key, kFloat32);
  put(bytes_, value);
}
void GgufMetadata::set_bool(std::string_view key, bool value) {
  begin(key, kBool);
  put<uint8_t>(bytes_, value ? 1 : 0);
}
void GgufMetadata::set_strings(std::string_view key, std::span<const std::string> values) {
  begin(key, kArray);
  put(bytes_, uint32_t{kString});
  put<uint64_t>(bytes_, values.size());
  for (const std::string& value : values) put_text(bytes_, value);
}
void GgufMetadata::set_floats(std::string_view key, std::span<const float> values) {
  begin(key, kArray);
  put_array(bytes_, kFloat32, values);
}
void GgufMetadata::set_int32s(std::string_view key, std::span<const int32_t> values) {
  begin(key, kArray);
  put_array(bytes_, kInt32, values);
}

GgufWriter::GgufWriter(std::string path, const GgufMetadata& metadata,
                       std::span<const Entry> entries)
    : path_(std::move(path)) {
  std::string head = "GGUF";
  put<uint32_t>(head, 3);
  put<uint64_t>(head, entries.size());
  put<uint64_t>(head, metadata.count_);
  head += metadata.bytes_;
  uint64_t offset = 0;
  for (const Entry& entry : entries) {
    const GgufTensorType* type = find_gguf_tensor_type(entry.dtype);
    if (type == nullptr || entry.name.size() > kLongestName) {
      throw_error(ErrorCode::kUnsupported, "{}: a GGUF file cannot hold the tensor {} of type {}",
                  path_, quote_name(entry.name), entry.dtype);
    }
    put_text(head, entry.name);
    put<uint32_t>(head, static_cast<uint32_t>(entry.shape.size()));
    int64_t rows = 1;
    for (size_t i = entry.shape.size(); i-- > 0;) {
      put<uint64_t>(head, static_cast<uint64_t>(entry.shape[i]));
      if (i + 1 < entry.shape.size()) rows = checked_mul(rows, entry.shape[i], "tensor size");
    }
    put<uint32_t>(head, type->id);
    put<uint64_t>(head, offset);
    sizes_.push_back(static_cast<uint64_t>(
        checked_mul(rows, dtype_bytes(entry.dtype, entry.shape.back()), "tensor size")));
    offset = aligned(offset + sizes_.back());
  }
  file_ = std::fopen(path_.c_str(), "wbe");
  if (file_ == nullptr) throw_error(ErrorCode::kIo, "{}: {}", path_, std::strerror(errno));
  write(head.data(), head.size());
  pad();
}

GgufWriter::~GgufWriter() {
  if (file_ != nullptr) std::fclose(file_);
}

void GgufWriter::write(const void* data, size_t bytes) {
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes) {
    throw_error(ErrorCode::kIo, "{}: cannot be written: {}", path_, std::strerror(errno));
  }
  position_ += bytes;
}

void GgufWriter::pad() {
  constexpr char kZeros[kAlignment] = {};
  write(kZeros, aligned(position_) - position_);
}

void GgufWriter::append(const std::byte* data, size_t bytes) {
  LANNER_CHECK(current_ < sizes_.size() && bytes <= sizes_[current_] - written_);
  write(data, bytes);
  written_ += bytes;
  if (written_ < sizes_[current_]) return;
  pad();
  written_ = 0;
  ++current_;
}

void GgufWriter::finish() {
  LANNER_CHECK(current_ == sizes_.size());
  if (std::fclose(std::exchange(file_, nullptr)) != 0) {
    throw_error(ErrorCode::kIo, "{}: cannot be written: {}", path_, std::strerror(errno));
  }
}

}  // namespace lanner
