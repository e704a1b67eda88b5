// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include <fmt/ranges.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "weights/mapped_file.h"
#include "weights/safetensors_header.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

struct Shard {
  std::shared_ptr<const MappedFile> file;
  SafetensorsEntries entries;
};

Shard open_shard(const std::string& path) {
  Shard shard;
  shard.file = MappedFile::open(path);
  shard.entries = read_safetensors_header(shard.file->bytes(), path);
  return shard;
}

std::optional<DType> supported_dtype(std::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBf16;
  if (name == "I32") return DType::kI32;
  if (name == "U8") return DType::kU8;
  return std::nullopt;
}

class SafetensorsCheckpoint : public Checkpoint {
 public:
  explicit SafetensorsCheckpoint(std::string path) : path_(std::move(path)) {}

  // Adds one tensor of a shard.
  void add(const std::shared_ptr<const MappedFile>& file, const std::string& name,
           SafetensorsEntry entry) {
    tensors_.emplace(name, Located{file, std::move(entry)});
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    names.reserve(tensors_.size());
    for (const auto& [name, located] : tensors_) names.push_back(name);
    return names;
  }

  bool contains(std::string_view name) const override {
    return tensors_.find(name) != tensors_.end();
  }

  TensorInfo info(std::string_view name) const override {
    const SafetensorsEntry& entry = at(name).entry;
    return {entry.dtype, entry.shape, static_cast<int64_t>(entry.bytes)};
  }

  CheckpointTensor get(std::string_view name) const override {
    const auto& [file, entry] = at(name);
    const std::optional<DType> dtype = supported_dtype(entry.dtype);
    if (!dtype) {
      throw_error(
          ErrorCode::kUnsupported,
          "{}: tensor {} has type {}; of safetensors files Lanner reads F32, F16, BF16, I32 and U8",
          file->path(), quote_name(name), quote_name(entry.dtype));
    }
    if (entry.shape.size() > Shape::kMaxRank) {
      throw_error(ErrorCode::kUnsupported,
                  "{}: tensor {} has {} dimensions, at most {} are supported", file->path(),
                  quote_name(name), entry.shape.size(), Shape::kMaxRank);
    }
    return file->tensor(entry.offset, *dtype,
                        entry.shape.empty() ? Shape{1} : Shape(std::span(entry.shape)));
  }

  std::vector<std::span<const std::byte>> stored_bytes() const override {
    std::vector<std::span<const std::byte>> all;
    for (const auto& [name, located] : tensors_) {
      all.push_back(located.file->bytes().subspan(located.entry.offset, located.entry.bytes));
    }
    return all;
  }

  const std::string& path() const override { return path_; }

 private:
  struct Located {
    std::shared_ptr<const MappedFile> file;
    SafetensorsEntry entry;
  };

  const Located& at(std::string_view name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw_error(ErrorCode::kNotFound, "{}: no tensor {}", path_, quote_name(name));
    }
    return found->second;
  }

  std::string path_;
  std::map<std::string, Located, std::less<>> tensors_;
};

bool is_pickle(const fs::path& file) {
  const std::string extension = file.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt";
}

[[noreturn]] void throw_no_weights(const std::string& folder) {
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure)) {
    if (!is_pickle(it->path())) continue;
    throw_error(
        ErrorCode::kUnsupported,
        "{}: only pickle weights ({}), which can run code when they are read; convert them to "
        "safetensors, e.g. with transformers: model.save_pretrained(folder, "
        "safe_serialization=True)",
        folder, quote_name(it->path().filename().string()));
  }
  throw_error(ErrorCode::kNotFound, "{}: neither {} nor {}", folder, kSingleFile, kIndexFile);
}

std::unique_ptr<Checkpoint> open_sharded(const std::string& folder) {
  const std::string index_path = (fs::path(folder) / kIndexFile).string();
  const auto weight_map =
      parse_safetensors_index(MappedFile::open(index_path)->bytes(), index_path);
  auto checkpoint = std::make_unique<SafetensorsCheckpoint>(folder);
  std::map<std::string, Shard> shards;
  for (const auto& [name, file_name] : weight_map) {
    auto found = shards.find(file_name);
    if (found == shards.end()) {
      const fs::path path = fs::path(folder) / file_name;
      std::error_code failure;
      if (!fs::exists(path, failure)) {
        throw_error(ErrorCode::kNotFound, "{}: the file {} that it names is missing", index_path,
                    quote_name(file_name));
      }
      found = shards.emplace(file_name, open_shard(path.string())).first;
    }
    const auto entry = found->second.entries.find(name);
    if (entry == found->second.entries.end()) {
      throw_error(ErrorCode::kCorruptFile, "{}: tensor {} is not in {}", index_path,
                  quote_name(name), quote_name(file_name));
    }
    checkpoint->add(found->second.file, name, entry->second);
  }
  return checkpoint;
}

struct WriterDType {
  DType dtype;
  const char* name;
};
constexpr WriterDType kWriterDTypes[] = {
    {DType::kF32, "F32"}, {DType::kF16, "F16"}, {DType::kBf16, "BF16"},
    {DType::kI32, "I32"}, {DType::kI8, "I8"},   {DType::kU8, "U8"},
};

const char* file_dtype_name(DType dtype) {
  for (const WriterDType& row : kWriterDTypes) {
    if (row.dtype == dtype) return row.name;
  }
  throw_error(ErrorCode::kUnsupported, "[safetensors] {} tensors cannot be written", dtype);
}

int64_t tensor_bytes(DType dtype, const Shape& shape) {
  return checked_mul<int64_t>(shape.numel(), dtype_info(dtype).block_bytes, "tensor size");
}

}  // namespace

std::unique_ptr<Checkpoint> open_safetensors_file(const std::string& path) {
  Shard shard = open_shard(path);
  auto checkpoint = std::make_unique<SafetensorsCheckpoint>(path);
  for (auto& [name, entry] : shard.entries) checkpoint->add(shard.file, name, std::move(entry));
  return checkpoint;
}

std::unique_ptr<Checkpoint> open_safetensors_folder(const std::string& folder) {
  const fs::path root(folder);
  std::error_code failure;
  if (fs::exists(root / kSingleFile, failure)) {
    return open_safetensors_file((root / kSingleFile).string());
  }
  if (fs::exists(root / kIndexFile, failure)) return open_sharded(folder);
  throw_no_weights(folder);
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<Entry>& entries,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path) {
  std::string header = "{";
  if (!metadata.empty()) header += R"("__metadata__":)" + Json(metadata).dump();
  for (const Entry& entry : entries) {
    const int64_t begin = bytes_left_;
    bytes_left_ = checked_add(begin, tensor_bytes(entry.dtype, entry.shape), "file size");
    header += fmt::format(R"({}{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                          header.size() > 1 ? "," : "", Json(entry.name).dump(),
                          file_dtype_name(entry.dtype), fmt::join(entry.shape.sizes(), ","), begin,
                          bytes_left_);
  }
  header += "}";
  // Blanks up to a multiple of 8, so that the data is aligned.
  header.resize(static_cast<size_t>(round_up(static_cast<int64_t>(header.size()), 8)), ' ');

  std::error_code failure;
  const fs::file_status there = fs::status(path, failure);
  if (!fs::exists(there) || fs::is_regular_file(there)) {
    const fs::path followed = fs::exists(there) ? fs::canonical(path, failure) : fs::path(path);
    target_ = failure ? path : followed.string();
    partial_ = fmt::format("{}.{}.partial", target_, getpid());
  }
  file_ = std::fopen(partial_.empty() ? path.c_str() : partial_.c_str(), "wbe");
  if (file_ == nullptr) throw_error(ErrorCode::kIo, "{}: {}", path, std::strerror(errno));
  try {
    const uint64_t header_bytes = header.size();
    write(&header_bytes, sizeof header_bytes);
    write(header.data(), header.size());
  } catch (...) {
    discard();
    throw;
  }
}

SafetensorsWriter::~SafetensorsWriter() { discard(); }

void SafetensorsWriter::discard() noexcept {
  if (file_ == nullptr) return;
  std::fclose(file_);
  file_ = nullptr;
  std::error_code failure;
  if (!partial_.empty()) fs::remove(partial_, failure);
}

void SafetensorsWriter::write(const void* data, size_t bytes) {
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes) {
    throw_error(ErrorCode::kIo, "{}: cannot be written: {}", path_, std::strerror(errno));
  }
}

void SafetensorsWriter::append(const Tensor& rows) {
  LANNER_CHECK(file_ != nullptr);
  const int64_t bytes = tensor_bytes(rows.dtype(), rows.shape());
  check_argument(bytes <= bytes_left_, "[safetensors] {}: {} bytes more than its tensors have",
                 path_, bytes - bytes_left_);
  const auto row_bytes =
      static_cast<size_t>(rows.num_rows() == 0 ? 0 : dtype_bytes(rows.dtype(), rows.size(-1)));
  for (int64_t i = 0; i < rows.num_rows(); ++i) write(rows.raw_row(i), row_bytes);
  bytes_left_ -= bytes;
}

void SafetensorsWriter::finish() {
  LANNER_CHECK(file_ != nullptr);
  check_argument(bytes_left_ == 0, "[safetensors] {}: {} bytes of its tensors are missing", path_,
                 bytes_left_);
  // What is still in the buffer is written now, and may fail now.
  if (std::fflush(file_) != 0) {
    throw_error(ErrorCode::kIo, "{}: cannot be written: {}", path_, std::strerror(errno));
  }
  if (!partial_.empty() && std::rename(partial_.c_str(), target_.c_str()) != 0) {
    throw_error(ErrorCode::kIo, "{}: cannot be written: {}", path_, std::strerror(errno));
  }
  std::fclose(std::exchange(file_, nullptr));
}

}  // namespace lanner
