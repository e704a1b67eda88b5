// SPDX-License-Identifier: Apache-2.0
// Both parsers run on nlohmann's SAX interface: no document is built, so memory stays near the size
// of the header, and nesting is known at every point.
#include "weights/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/error.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

// The limit of the reference implementation.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxRank = 32;

// Bits per element of every type of the format.
struct ElementBits {
  std::string_view dtype;
  uint64_t bits;
};
constexpr ElementBits kElementBits[] = {
    {"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
    {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
    {"F32", 32}, {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
};

std::optional<uint64_t> element_bits(std::string_view dtype) {
  for (const ElementBits& row : kElementBits) {
    if (row.dtype == dtype) return row.bits;
  }
  return std::nullopt;
}

template <typename... Args>
[[noreturn]] void throw_corrupt(const std::string& path, fmt::format_string<Args...> format,
                                Args&&... args) {
  throw_error(ErrorCode::kCorruptFile, "{}: {}", path,
              fmt::format(format, std::forward<Args>(args)...));
}

// What both parsers have in common: every event that is not expected is an error.
class StrictHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit StrictHandler(const std::string& path) : path_(path) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override {
    throw_corrupt(path_, "negative number {} in the header", value);
  }
  bool number_unsigned(number_unsigned_t) override { return unexpected("a number"); }
  bool number_float(number_float_t, const string_t&) override {
    return unexpected("a fractional or huge number");
  }
  bool string(string_t&) override { return unexpected("a string"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool start_array(size_t) override { return unexpected("a list"); }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw_corrupt(path_, "the header is not valid JSON (at byte {})", position);
  }

 protected:
  bool unexpected(const char* what) const {
    throw_corrupt(path_, "there is {} in the header where none belongs", what);
  }

  const std::string& path_;
};

class HeaderHandler : public StrictHandler {
 public:
  using StrictHandler::StrictHandler;

  // Offsets are from the start of the data here.
  struct RawEntry {
    std::string dtype;
    std::vector<uint64_t> shape;
    std::vector<uint64_t> offsets;
  };
  std::map<std::string, RawEntry, std::less<>> entries;

  bool start_object(size_t) override {
    if (list_ != nullptr || depth_ >= 2) return unexpected("an object");
    ++depth_;
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 1) {
      if (!names_.insert(name).second) {
        throw_corrupt(path_, "tensor {} appears twice in the header", quote_name(name));
      }
      tensor_ = name;
      in_metadata_ = name == "__metadata__";
      fields_.clear();
      if (!in_metadata_) entries[tensor_];
      return true;
    }
    if (!fields_.insert(name).second) {
      throw_corrupt(path_, "key {} of {} appears twice", quote_name(name), quote_name(tensor_));
    }
    if (!in_metadata_ && name != "dtype" && name != "shape" && name != "data_offsets") {
      throw_corrupt(path_, "tensor {} has the unknown key {}", quote_name(tensor_),
                    quote_name(name));
    }
    field_ = name;
    return true;
  }

  bool string(string_t& value) override {
    if (depth_ != 2 || list_ != nullptr) return unexpected("a string");
    if (in_metadata_) return true;
    if (field_ != "dtype") return unexpected("a string");
    entries[tensor_].dtype = value;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || list_ != nullptr) return unexpected("a list");
    if (field_ == "shape") list_ = &entries[tensor_].shape;
    if (field_ == "data_offsets") list_ = &entries[tensor_].offsets;
    if (list_ == nullptr) return unexpected("a list");
    return true;
  }
  bool end_array() override {
    list_ = nullptr;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (list_ == nullptr) return unexpected("a number");
    if (list_->size() >= kMaxRank) {
      throw_corrupt(path_, "tensor {} has a list of more than {} numbers", quote_name(tensor_),
                    kMaxRank);
    }
    list_->push_back(value);
    return true;
  }

  bool end_object() override {
    if (depth_ == 2 && !in_metadata_) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (fields_.count(field) == 0) {
          throw_corrupt(path_, "tensor {} has no {}", quote_name(tensor_), field);
        }
      }
    }
    --depth_;
    return true;
  }

 private:
  int depth_ = 0;
  bool in_metadata_ = false;
  std::string tensor_;
  std::string field_;
  std::set<std::string> names_;
  std::set<std::string> fields_;  // of the current tensor
  std::vector<uint64_t>* list_ = nullptr;
};

class IndexHandler : public StrictHandler {
 public:
  using StrictHandler::StrictHandler;

  std::map<std::string, std::string, std::less<>> weight_map;
  bool has_weight_map = false;

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool start_array(size_t) override { return other("a list") && descend(); }
  bool end_array() override { return ascend(); }
  bool start_object(size_t) override {
    if (depth_ == 1 && key_ == "weight_map") {
      if (has_weight_map) throw_corrupt(path_, "weight_map appears twice");
      has_weight_map = in_map_ = true;
      return descend();
    }
    if (in_map_) return unexpected("an object");
    return descend();
  }
  bool end_object() override {
    if (depth_ == 2) in_map_ = false;
    return ascend();
  }
  bool key(string_t& name) override {
    key_ = name;
    return true;
  }
  bool string(string_t& value) override {
    if (!in_map_) return other("a string");
    if (!weight_map.emplace(key_, value).second) {
      throw_corrupt(path_, "tensor {} appears twice", quote_name(key_));
    }
    return true;
  }

 private:
  // Anything is allowed beside the weight map.
  bool other(const char* what) const {
    if (depth_ == 0 || in_map_ || (depth_ == 1 && key_ == "weight_map")) return unexpected(what);
    return true;
  }
  bool descend() {
    if (++depth_ > 64) throw_corrupt(path_, "nested deeper than 64 levels");
    return true;
  }
  bool ascend() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  bool in_map_ = false;
  std::string key_;
};

void parse(std::span<const std::byte> text, StrictHandler& handler) {
  const auto* begin = reinterpret_cast<const char*>(text.data());
  nlohmann::json::sax_parse(begin, begin + text.size(), &handler);
}

uint64_t read_u64(std::span<const std::byte> bytes) {
  uint64_t value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

SafetensorsEntry check_entry(const std::string& path, const std::string& name,
                             const HeaderHandler::RawEntry& raw, uint64_t data_bytes) {
  if (raw.offsets.size() != 2 || raw.offsets[0] > raw.offsets[1] || raw.offsets[1] > data_bytes) {
    throw_corrupt(path, "tensor {} has data_offsets [{}], not two increasing numbers of at most {}",
                  quote_name(name), fmt::join(raw.offsets, ", "), data_bytes);
  }
  SafetensorsEntry entry;
  entry.dtype = raw.dtype;
  entry.offset = raw.offsets[0];
  entry.bytes = raw.offsets[1] - raw.offsets[0];
  uint64_t bits = element_bits(raw.dtype).value_or(0);
  bool overflow = false;
  uint64_t elements = 1;
  for (uint64_t size : raw.shape) {
    overflow |= !std::in_range<int64_t>(size) || __builtin_mul_overflow(elements, size, &elements);
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  overflow |= !std::in_range<int64_t>(elements) || __builtin_mul_overflow(bits, elements, &bits);
  if (overflow) {
    throw_corrupt(path, "the size of tensor {} overflows: [{}]", quote_name(name),
                  fmt::join(raw.shape, ", "));
  }
  if (element_bits(raw.dtype) && (bits % 8 != 0 || bits / 8 != entry.bytes)) {
    throw_corrupt(path, "tensor {} has {} bytes of data, but {} of shape [{}] has {}",
                  quote_name(name), entry.bytes, raw.dtype, fmt::join(raw.shape, ", "), bits / 8);
  }
  return entry;
}

// Sorted by offset the tensors must follow each other exactly, and end with the file.
void check_layout(const std::string& path, const SafetensorsEntries& entries, uint64_t data_bytes) {
  std::vector<const SafetensorsEntries::value_type*> sorted;
  for (const auto& item : entries) sorted.push_back(&item);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.offset, a->second.bytes) <
           std::pair(b->second.offset, b->second.bytes);
  });
  uint64_t end = 0;
  for (const auto* item : sorted) {
    const SafetensorsEntry& entry = item->second;
    if (entry.offset != end) {
      throw_corrupt(path, "{} before the data of tensor {}: it starts at {}, expected {}",
                    entry.offset < end ? "overlap" : "hole", quote_name(item->first), entry.offset,
                    end);
    }
    end += entry.bytes;
  }
  if (end != data_bytes) {
    throw_corrupt(path, "{} bytes of data, but the tensors have {}", data_bytes, end);
  }
}

}  // namespace

SafetensorsEntries read_safetensors_header(std::span<const std::byte> file,
                                           const std::string& path) {
  if (file.size() < 8) throw_corrupt(path, "{} bytes are no safetensors file", file.size());
  const uint64_t header_bytes = read_u64(file);
  if (header_bytes > kMaxHeaderBytes) {
    throw_corrupt(path, "a header of {} bytes, at most {} are read: no safetensors file?",
                  header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > file.size() - 8) {
    throw_corrupt(path, "a header of {} bytes in a file of {}: cut off?", header_bytes,
                  file.size());
  }
  const std::span<const std::byte> header = file.subspan(8, header_bytes);
  if (header.empty() || header[0] != std::byte{'{'}) {
    throw_corrupt(path, "the header does not start with '{{'");
  }
  HeaderHandler handler(path);
  parse(header, handler);

  const uint64_t data_start = 8 + header_bytes;
  const uint64_t data_bytes = file.size() - data_start;
  SafetensorsEntries entries;
  for (const auto& [name, raw] : handler.entries) {
    entries.emplace(name, check_entry(path, name, raw, data_bytes));
  }
  check_layout(path, entries, data_bytes);
  for (auto& [name, entry] : entries) entry.offset += data_start;
  return entries;
}

std::map<std::string, std::string, std::less<>> parse_safetensors_index(
    std::span<const std::byte> text, const std::string& path) {
  if (text.size() > kMaxHeaderBytes) {
    throw_corrupt(path, "{} bytes, at most {} are read", text.size(), kMaxHeaderBytes);
  }
  IndexHandler handler(path);
  parse(text, handler);
  if (!handler.has_weight_map) throw_corrupt(path, "no weight_map");
  for (const auto& [tensor, file] : handler.weight_map) {
    if (file.find('/') != std::string::npos || file.find('\\') != std::string::npos ||
        file.find('\0') != std::string::npos || file.starts_with('.') ||
        !file.ends_with(".safetensors")) {
      throw_corrupt(path, "tensor {} lies in {}, which is no plain name of a .safetensors file",
                    quote_name(tensor), quote_name(file));
    }
  }
  return std::move(handler.weight_map);
}

}  // namespace lanner
