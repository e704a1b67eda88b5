// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "weights/gguf_types.h"

namespace lanner {
namespace {

// gguf_metadata_value_type
enum ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
  kNumValueTypes,
};

struct ValueTypeRow {
  const char* name;
  uint64_t bytes;  // 0: a string or an array
};
constexpr ValueTypeRow kValueTypes[kNumValueTypes] = {
    {"uint8", 1},  {"int8", 1},    {"uint16", 2},  {"int16", 2},  {"uint32", 4},
    {"int32", 4},  {"float32", 4}, {"bool", 1},    {"string", 0}, {"array", 0},
    {"uint64", 8}, {"int64", 8},   {"float64", 8},
};

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxNameBytes = 1024;
constexpr uint64_t kMaxStringBytes = uint64_t{64} << 20;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
// The shortest that the file can hold: key length, key, type, value; and name length, name, number
// of dimensions, one dimension, type, offset.
constexpr uint64_t kMinPairBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

template <typename T>
T load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

// An element of a number type as int64; nothing if it is no integer or does not fit.
std::optional<int64_t> load_int(uint32_t type, const std::byte* data) {
  switch (type) {
    case kUint8:
      return load<uint8_t>(data);
    case kInt8:
      return load<int8_t>(data);
    case kUint16:
      return load<uint16_t>(data);
    case kInt16:
      return load<int16_t>(data);
    case kUint32:
      return load<uint32_t>(data);
    case kInt32:
      return load<int32_t>(data);
    case kInt64:
      return load<int64_t>(data);
    case kUint64: {
      const auto value = load<uint64_t>(data);
      if (!std::in_range<int64_t>(value)) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::string load_string(const std::byte* data) {
  return std::string(reinterpret_cast<const char*>(data + 8), load<uint64_t>(data));
}

}  // namespace

// Reads a file from front to end; every read is bounded by what is left.
class GgufFile::Parser {
 public:
  explicit Parser(std::shared_ptr<const MappedFile> file) : bytes_(file->bytes()) {
    gguf_.file_ = std::move(file);
  }

  GgufFile parse() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      throw_corrupt("does not start with GGUF");
    }
    position_ = 4;
    gguf_.version_ = read<uint32_t>("the version");
    if (gguf_.version_ != 2 && gguf_.version_ != 3) {
      const bool swapped = gguf_.version_ == 0x02000000 || gguf_.version_ == 0x03000000;
      throw_error(ErrorCode::kUnsupported, "{}: GGUF version {}; versions 2 and 3 are read{}",
                  path(), gguf_.version_, swapped ? " (a big-endian file?)" : "");
    }
    const auto num_tensors = read<uint64_t>("the number of tensors");
    const auto num_pairs = read<uint64_t>("the number of metadata keys");
    check_count(num_pairs, kMinPairBytes, "metadata keys");
    check_count(num_tensors, kMinTensorBytes, "tensors");
    for (uint64_t i = 0; i < num_pairs; ++i) read_pair();
    check_count(num_tensors, kMinTensorBytes, "tensors");
    check_not_split();
    const uint64_t alignment = read_alignment();
    gguf_.tensors_.reserve(num_tensors);
    for (uint64_t i = 0; i < num_tensors; ++i) read_tensor_info();
    place_tensors(alignment);
    return std::move(gguf_);
  }

 private:
  const std::string& path() const { return gguf_.file_->path(); }
  uint64_t left() const { return bytes_.size() - position_; }

  template <typename... Args>
  [[noreturn]] void throw_corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    throw_error(ErrorCode::kCorruptFile, "{}: {}", path(),
                fmt::format(format, std::forward<Args>(args)...));
  }

  // Moves over `count` bytes.
  const std::byte* take(uint64_t count, const char* what) {
    if (count > left()) {
      throw_corrupt("cut off in {}: {} bytes needed at byte {}, {} left", what, count, position_,
                    left());
    }
    const std::byte* data = bytes_.data() + position_;
    position_ += count;
    return data;
  }

  template <typename T>
  T read(const char* what) {
    return load<T>(take(sizeof(T), what));
  }

  void check_count(uint64_t count, uint64_t min_bytes, const char* what) const {
    if (count > left() / min_bytes) {
      throw_corrupt("{} {} cannot be in the {} bytes that are left", count, what, left());
    }
  }

  std::string_view read_string(uint64_t max_bytes, const char* what) {
    const auto length = read<uint64_t>(what);
    if (length > max_bytes) {
      throw_corrupt("{} of {} bytes at byte {}, at most {} are read", what, length, position_,
                    max_bytes);
    }
    return {reinterpret_cast<const char*>(take(length, what)), length};
  }

  void read_pair() {
    const std::string key(read_string(kMaxKeyBytes, "a metadata key"));
    if (key.empty()) throw_corrupt("an empty metadata key at byte {}", position_);
    Value value{read<uint32_t>("a value type"), false, 1, nullptr};
    if (value.type == kArray) {
      value.is_array = true;
      value.type = read<uint32_t>("an array type");
      value.count = read<uint64_t>("an array length");
      if (value.type == kArray) {
        throw_error(ErrorCode::kUnsupported, "{}: {} is an array of arrays", path(),
                    quote_name(key));
      }
    }
    if (value.type >= kNumValueTypes) {
      throw_corrupt("{} has a value of the unknown type {}", quote_name(key), value.type);
    }
    const uint64_t element_bytes = kValueTypes[value.type].bytes;
    check_count(value.count, element_bytes == 0 ? 8 : element_bytes, "array elements");
    value.data = bytes_.data() + position_;
    if (value.type == kString) {
      for (uint64_t i = 0; i < value.count; ++i) read_string(kMaxStringBytes, "a string");
    } else {
      take(value.count * element_bytes, "a value");
    }
    if (value.type == kBool) {
      for (uint64_t i = 0; i < value.count; ++i) {
        if (load<uint8_t>(value.data + i) > 1) throw_corrupt("{} is no boolean", quote_name(key));
      }
    }
    if (!gguf_.values_.emplace(key, value).second) {
      throw_corrupt("the metadata key {} appears twice", quote_name(key));
    }
  }

  void check_not_split() const {
    const int64_t parts = gguf_.optional_int("split.count").value_or(1);
    if (parts > 1) {
      throw_error(
          ErrorCode::kUnsupported,
          "{}: one of {} parts of a split model; join them first (llama-gguf-split --merge)",
          path(), parts);
    }
  }

  uint64_t read_alignment() const {
    const int64_t alignment = gguf_.optional_int("general.alignment").value_or(kDefaultAlignment);
    if (alignment <= 0 || alignment > static_cast<int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment))) {
      throw_corrupt("general.alignment is {}, not a power of two of at most {}", alignment,
                    kMaxAlignment);
    }
    return static_cast<uint64_t>(alignment);
  }

  void read_tensor_info() {
    GgufTensorInfo info;
    info.name = read_string(kMaxNameBytes, "a tensor name");
    const auto num_dims = read<uint32_t>("a number of dimensions");
    if (num_dims == 0 || num_dims > kMaxDims) {
      throw_corrupt("tensor {} has {} dimensions, not 1 to {}", quote_name(info.name), num_dims,
                    kMaxDims);
    }
    int64_t elements = 1;
    for (uint32_t i = 0; i < num_dims; ++i) {
      const auto size = read<uint64_t>("a dimension");
      if (size == 0 || !std::in_range<int64_t>(size) ||
          __builtin_mul_overflow(elements, static_cast<int64_t>(size), &elements)) {
        throw_corrupt("dimension {} of tensor {} is {}: zero, or too large", i,
                      quote_name(info.name), size);
      }
      info.shape.push_back(static_cast<int64_t>(size));
    }
    info.type = read<uint32_t>("a tensor type");
    info.offset = read<uint64_t>("a tensor offset");
    if (const GgufTensorType* type = find_gguf_tensor_type(info.type)) {
      if (info.shape[0] % type->block_elements != 0) {
        throw_corrupt("tensor {} has rows of {} elements, no whole number of {} blocks of {}",
                      quote_name(info.name), info.shape[0], type->name, type->block_elements);
      }
      const int64_t blocks = elements / type->block_elements;
      int64_t bytes;
      if (__builtin_mul_overflow(blocks, int64_t{type->block_bytes}, &bytes)) {
        throw_corrupt("the size of tensor {} overflows", quote_name(info.name));
      }
      info.bytes = static_cast<uint64_t>(bytes);
    }
    std::reverse(info.shape.begin(), info.shape.end());
    if (!gguf_.tensor_index_.emplace(info.name, gguf_.tensors_.size()).second) {
      throw_corrupt("tensor {} appears twice", quote_name(info.name));
    }
    gguf_.tensors_.push_back(std::move(info));
  }

  // Turns the offsets, which count from the start of the data, into offsets in the file.
  void place_tensors(uint64_t alignment) {
    if (gguf_.tensors_.empty()) return;
    const uint64_t data_start = (position_ + alignment - 1) / alignment * alignment;
    if (data_start > bytes_.size()) throw_corrupt("cut off before the tensor data");
    const uint64_t data_bytes = bytes_.size() - data_start;
    std::vector<const GgufTensorInfo*> sorted;
    for (GgufTensorInfo& info : gguf_.tensors_) {
      if (info.offset % alignment != 0) {
        throw_corrupt("tensor {} is at offset {}, no multiple of {}", quote_name(info.name),
                      info.offset, alignment);
      }
      if (info.offset > data_bytes || info.bytes > data_bytes - info.offset) {
        throw_corrupt("tensor {} ends past the end of the file ({} bytes at {} of {}): cut off?",
                      quote_name(info.name), info.bytes, info.offset, data_bytes);
      }
      info.offset += data_start;
      sorted.push_back(&info);
    }
    std::sort(sorted.begin(), sorted.end(), [](const GgufTensorInfo* a, const GgufTensorInfo* b) {
      return a->offset != b->offset ? a->offset < b->offset : a->bytes < b->bytes;
    });
    for (size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i - 1]->offset + sorted[i - 1]->bytes > sorted[i]->offset) {
        throw_corrupt("tensors {} and {} overlap", quote_name(sorted[i - 1]->name),
                      quote_name(sorted[i]->name));
      }
    }
  }

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  GgufFile gguf_;
};

GgufFile GgufFile::open(const std::string& path) { return Parser(MappedFile::open(path)).parse(); }

std::vector<std::string> GgufFile::keys() const {
  std::vector<std::string> keys;
  keys.reserve(values_.size());
  for (const auto& [key, value] : values_) keys.push_back(key);
  return keys;
}

const GgufFile::Value* GgufFile::find(std::string_view key, bool is_array) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  if (found->second.is_array != is_array) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} is {}, expected {}", path(), quote_name(key),
                is_array ? kValueTypes[found->second.type].name : "an array",
                is_array ? "an array" : "a single value");
  }
  return &found->second;
}

std::optional<int64_t> GgufFile::optional_int(std::string_view key) const {
  const Value* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = load_int(value->type, value->data);
  if (!number) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} is a {} or out of range, expected an integer",
                path(), quote_name(key), kValueTypes[value->type].name);
  }
  return number;
}

std::optional<double> GgufFile::optional_double(std::string_view key) const {
  const Value* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  if (value->type == kFloat64) return load<double>(value->data);
  if (value->type == kFloat32) {
    const std::string shortest = fmt::format("{}", load<float>(value->data));
    double number = 0.0;
    std::from_chars(shortest.data(), shortest.data() + shortest.size(), number);
    return number;
  }
  if (const std::optional<int64_t> number = load_int(value->type, value->data)) {
    return static_cast<double>(*number);
  }
  throw_error(ErrorCode::kCorruptFile, "{}: {} is a {}, expected a number", path(), quote_name(key),
              kValueTypes[value->type].name);
}

std::optional<bool> GgufFile::optional_bool(std::string_view key) const {
  const Value* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  if (value->type != kBool) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} is a {}, expected a boolean", path(),
                quote_name(key), kValueTypes[value->type].name);
  }
  return load<uint8_t>(value->data) != 0;
}

std::optional<std::string> GgufFile::optional_string(std::string_view key) const {
  const Value* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  if (value->type != kString) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} is a {}, expected a string", path(),
                quote_name(key), kValueTypes[value->type].name);
  }
  return load_string(value->data);
}

namespace {

template <typename T>
T required(const GgufFile& file, std::optional<T> value, std::string_view key) {
  if (!value)
    throw_error(ErrorCode::kNotFound, "{}: no metadata key {}", file.path(), quote_name(key));
  return *std::move(value);
}

}  // namespace

int64_t GgufFile::required_int(std::string_view key) const {
  return required(*this, optional_int(key), key);
}

double GgufFile::required_double(std::string_view key) const {
  return required(*this, optional_double(key), key);
}

std::string GgufFile::required_string(std::string_view key) const {
  return required(*this, optional_string(key), key);
}

std::vector<std::string> GgufFile::strings(std::string_view key) const {
  const Value* value = find(key, true);
  if (value == nullptr) return {};
  if (value->type != kString) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} is an array of {}, expected strings", path(),
                quote_name(key), kValueTypes[value->type].name);
  }
  std::vector<std::string> list;
  list.reserve(value->count);
  const std::byte* data = value->data;
  for (uint64_t i = 0; i < value->count; ++i) {
    list.push_back(load_string(data));
    data += 8 + list.back().size();
  }
  return list;
}

bool GgufFile::is_array(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.is_array;
}

std::vector<int64_t> GgufFile::ints(std::string_view key) const {
  const Value* value = find(key, true);
  if (value == nullptr) return {};
  std::vector<int64_t> list;
  list.reserve(value->count);
  if (value->type == kBool) {
    for (uint64_t i = 0; i < value->count; ++i) list.push_back(value->data[i] != std::byte{0});
    return list;
  }
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = load_int(value->type, value->data + i * kValueTypes[value->type].bytes);
    if (!number) {
      throw_error(ErrorCode::kCorruptFile, "{}: {} is an array of {}, expected integers", path(),
                  quote_name(key), kValueTypes[value->type].name);
    }
    list.push_back(*number);
  }
  return list;
}

std::vector<float> GgufFile::floats(std::string_view key) const {
  const Value* value = find(key, true);
  if (value == nullptr) return {};
  if (value->type != kFloat32) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} is an array of {}, expected float32", path(),
                quote_name(key), kValueTypes[value->type].name);
  }
  std::vector<float> list(value->count);
  if (!list.empty()) std::memcpy(list.data(), value->data, list.size() * sizeof(float));
  return list;
}

const GgufTensorInfo* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

CheckpointTensor GgufFile::tensor_bytes(const GgufTensorInfo& info) const {
  return file_->tensor(info.offset, DType::kU8, Shape{static_cast<int64_t>(info.bytes)});
}

CheckpointTensor GgufFile::tensor(const GgufTensorInfo& info) const {
  const GgufTensorType* type = find_gguf_tensor_type(info.type);
  if (type == nullptr || !type->dtype) {
    throw_error(ErrorCode::kUnsupported, "{}: tensor {} has type {}; of GGUF files Lanner reads {}",
                path(), quote_name(info.name), type ? type->name : fmt::format("{}", info.type),
                supported_gguf_types());
  }
  return file_->tensor(info.offset, *type->dtype, Shape(std::span(info.shape)));
}

}  // namespace lanner
