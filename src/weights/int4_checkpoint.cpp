// SPDX-License-Identifier: Apache-2.0
#include "weights/int4_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/buffer.h"
#include "base/error.h"
#include "base/float16.h"
#include "kernels/convert/blocks.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

constexpr int64_t kBlock = 32;  // values
constexpr int kSymmetricZero = 8;

// The q of values i and i + 16 of a block, from its four words.
void put_nibbles(const uint32_t* words, uint8_t* qs) {
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 8; ++i) {
      const uint32_t low = words[half] >> (4 * i) & 15;
      const uint32_t high = words[half + 2] >> (4 * i) & 15;
      qs[half * 8 + i] = static_cast<uint8_t>(low | high << 4);
    }
  }
}

template <typename Block, typename PutScale>
CheckpointTensor to_blocks(const Int4Matrix& m, DType dtype, PutScale put_scale) {
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(dtype_bytes(dtype, m.n * m.k)));
  auto* blocks = memory->as<Block>();
  const int64_t blocks_per_group = m.k / m.num_groups / kBlock;
  for (int64_t n = 0; n < m.n; ++n) {
    const uint32_t* words = m.words.data() + n * m.k / 8;
    for (int64_t b = 0; b < m.k / kBlock; ++b, ++blocks) {
      put_scale(static_cast<size_t>(n * m.num_groups + b / blocks_per_group), blocks);
      put_nibbles(words + b * 4, blocks->qs);
    }
  }
  std::byte* data = memory->data();
  return {Tensor(data, dtype, Shape{m.n, m.k}), std::move(memory)};
}

CheckpointTensor to_halves(const Int4Matrix& m) {
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(m.n * m.k) * sizeof(uint16_t));
  auto* values = memory->as<uint16_t>();
  for (int64_t n = 0; n < m.n; ++n) {
    for (int64_t k = 0; k < m.k; ++k) {
      const auto q =
          static_cast<int>(m.words[static_cast<size_t>((n * m.k + k) / 8)] >> (k % 8 * 4) & 15);
      const auto group = static_cast<size_t>(n * m.num_groups + m.groups[static_cast<size_t>(k)]);
      values[n * m.k + k] =
          fp32_to_fp16(fp16_to_fp32(m.scales[group]) * static_cast<float>(q - int{m.zeros[group]}));
    }
  }
  return {Tensor(values, DType::kF16, Shape{m.n, m.k}), std::move(memory)};
}

class Int4Checkpoint final : public Checkpoint {
 public:
  Int4Checkpoint(std::unique_ptr<Checkpoint> files, Int4Format format)
      : files_(std::move(files)), format_(std::move(format)) {
    const std::string& values = format_.parts.front();
    for (const std::string& name : files_->names()) {
      if (name.ends_with(values)) modules_.push_back(name.substr(0, name.size() - values.size()));
    }
    std::ranges::sort(modules_);
    if (modules_.empty()) {
      throw_error(ErrorCode::kCorruptFile,
                  "{}: 'quantization_config' says that it is quantised, but no tensor's name ends "
                  "with {}",
                  files_->path(), values);
    }
    for (const std::string& name : files_->names()) {
      if (!is_part(name)) names_.push_back(name);
    }
    for (const std::string& module : modules_) names_.push_back(module + ".weight");
    std::ranges::sort(names_);
  }

  std::vector<std::string> names() const override { return names_; }
  const std::string& path() const override { return files_->path(); }
  std::vector<std::span<const std::byte>> stored_bytes() const override {
    return files_->stored_bytes();
  }
  bool contains(std::string_view name) const override {
    return std::ranges::binary_search(names_, name);
  }

  TensorInfo info(std::string_view name) const override {
    const std::string* module = module_of(name);
    if (module == nullptr) return files_->info(name);
    TensorInfo info = files_->info(*module + format_.parts.front());
    info.dtype = format_.dtype == DType::kQ4_0   ? "Q4_0"
                 : format_.dtype == DType::kQ4_1 ? "Q4_1"
                                                 : "F16";
    if (info.shape.size() != 2) refuse_shape(*module);
    info.shape = format_.shape(info.shape);
    return info;
  }

  CheckpointTensor get(std::string_view name) const override {
    const std::string* module = module_of(name);
    if (module == nullptr) return files_->get(name);
    if (files_->info(*module + format_.parts.front()).shape.size() != 2) refuse_shape(*module);
    return to_tensor(format_.read(*files_, *module));
  }

 private:
  [[noreturn]] void refuse_shape(const std::string& module) const {
    throw_error(ErrorCode::kCorruptFile, "{}: tensor {} is no matrix", path(),
                quote_name(module + format_.parts.front()));
  }

  bool is_part(const std::string& name) const {
    return std::ranges::any_of(format_.parts, [&](const std::string& part) {
      return name.ends_with(part) &&
             std::ranges::binary_search(modules_, name.substr(0, name.size() - part.size()));
    });
  }

  const std::string* module_of(std::string_view name) const {
    constexpr std::string_view kWeight = ".weight";
    if (!name.ends_with(kWeight)) return nullptr;
    name.remove_suffix(kWeight.size());
    const auto found = std::ranges::lower_bound(modules_, name);
    return found != modules_.end() && *found == name ? &*found : nullptr;
  }

  std::unique_ptr<Checkpoint> files_;
  Int4Format format_;
  std::vector<std::string> modules_;  // sorted
  std::vector<std::string> names_;    // sorted
};

}  // namespace

CheckpointTensor to_tensor(const Int4Matrix& m) {
  if (!m.groups.empty()) return to_halves(m);
  const bool symmetric = std::ranges::all_of(m.zeros, [](int z) { return z == kSymmetricZero; });
  if (symmetric) {
    return to_blocks<BlockQ4_0>(m, DType::kQ4_0, [&](size_t group, BlockQ4_0* block) {
      std::memcpy(block->d, &m.scales[group], 2);
    });
  }
  return to_blocks<BlockQ4_1>(m, DType::kQ4_1, [&](size_t group, BlockQ4_1* block) {
    const uint16_t min =
        fp32_to_fp16(-fp16_to_fp32(m.scales[group]) * static_cast<float>(m.zeros[group]));
    std::memcpy(block->d, &m.scales[group], 2);
    std::memcpy(block->m, &min, 2);
  });
}

std::unique_ptr<Checkpoint> make_int4_checkpoint(std::unique_ptr<Checkpoint> files,
                                                 Int4Format format) {
  return std::make_unique<Int4Checkpoint>(std::move(files), std::move(format));
}

CheckpointTensor int32_part(const Checkpoint& files, const std::string& name, int64_t rows,
                            int64_t columns) {
  CheckpointTensor part = files.get(name);
  const Shape expected = rows > 0 ? Shape{rows, columns} : Shape{columns};
  if (part.view.dtype() != DType::kI32 || part.view.shape() != expected) {
    throw_error(ErrorCode::kCorruptFile, "{}: tensor {} is {} {}, expected int32 {}", files.path(),
                quote_name(name), part.view.dtype(), part.view.shape(), expected);
  }
  return part;
}

std::vector<uint16_t> transposed_scales(const Checkpoint& files, const std::string& name,
                                        int64_t groups, int64_t n) {
  const CheckpointTensor scales = files.get(name);
  if (scales.view.dtype() != DType::kF16) {
    throw_error(ErrorCode::kUnsupported, "{}: tensor {} is {}; scales are supported in fp16",
                files.path(), quote_name(name), scales.view.dtype());
  }
  if (scales.view.shape() != Shape{groups, n}) {
    throw_error(ErrorCode::kCorruptFile, "{}: tensor {} is {}, expected [{}, {}]", files.path(),
                quote_name(name), scales.view.shape(), groups, n);
  }
  std::vector<uint16_t> result(static_cast<size_t>(groups * n));
  for (int64_t g = 0; g < groups; ++g) {
    const auto* row = scales.view.row<uint16_t>(g);
    for (int64_t i = 0; i < n; ++i) result[static_cast<size_t>(i * groups + g)] = row[i];
  }
  return result;
}

int64_t count_groups(const std::string& module, int64_t k, int64_t group_size) {
  const int64_t size = group_size == -1 ? k : group_size;
  if (size < 1 || size % kBlock != 0 || k % size != 0) {
    throw_error(ErrorCode::kUnsupported,
                "{}: groups of {} of {} values are not supported: a group has a multiple of {}",
                quote_name(module), size, k, kBlock);
  }
  return k / size;
}

}  // namespace lanner
