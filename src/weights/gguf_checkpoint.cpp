// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_checkpoint.h"

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <ranges>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "weights/gguf_names.h"
#include "weights/gguf_types.h"
#include "weights/mxfp4.h"

namespace lanner {
namespace {

// Memory for copies that live briefly, kept for the next ones: the first touch of a page costs more
// than filling it. Thread-safe.
class CopyBuffers {
 public:
  // At least `bytes`. It comes back here when its last holder lets go of it.
  std::shared_ptr<Buffer> get(size_t bytes) {
    std::unique_ptr<Buffer> buffer = free_->take(bytes);
    if (buffer == nullptr) buffer = std::make_unique<Buffer>(bytes);
    return {buffer.release(), [free = free_](Buffer* done) { free->put(done); }};
  }

 private:
  // Outlives the checkpoint where a copy does.
  class FreeList {
   public:
    std::unique_ptr<Buffer> take(size_t bytes) {
      const std::lock_guard lock(mutex_);
      for (std::unique_ptr<Buffer>& buffer : buffers_) {
        if (buffer != nullptr && buffer->size() >= bytes) return std::move(buffer);
      }
      return nullptr;
    }
    void put(Buffer* buffer) {
      std::unique_ptr<Buffer> owned(buffer);
      const std::lock_guard lock(mutex_);
      for (std::unique_ptr<Buffer>& place : buffers_) {
        if (place == nullptr || place->size() < owned->size()) std::swap(place, owned);
        if (owned == nullptr) return;
      }
    }

   private:
    std::mutex mutex_;
    std::array<std::unique_ptr<Buffer>, 2> buffers_;  // Q and K of a layer live together
  };

  std::shared_ptr<FreeList> free_ = std::make_shared<FreeList>();
};

// The rows of x, source(row) to be row `row`. They are moved whole, so block types need no
// unpacking. A bias is a column.
template <typename Source>
CheckpointTensor reorder_rows(const Tensor& x, CopyBuffers& copies, const Source& source) {
  const bool is_bias = x.shape().rank() == 1;
  const int64_t num_rows = is_bias ? x.size(0) : x.num_rows();
  const auto row_bytes = static_cast<size_t>(is_bias ? dtype_bytes(x.dtype(), 1) : x.row_bytes());
  std::shared_ptr<Buffer> buffer = copies.get(static_cast<size_t>(num_rows) * row_bytes);
  for (int64_t row = 0; row < num_rows; ++row) {
    std::memcpy(buffer->data() + static_cast<size_t>(row) * row_bytes,
                x.raw() + static_cast<size_t>(source(row)) * row_bytes, row_bytes);
  }
  std::byte* data = buffer->data();
  return {Tensor(data, x.dtype(), x.shape()), std::move(buffer)};
}

// Heads in pairs -> the same in halves: row j * d/2 + i of a head was row 2i + j.
CheckpointTensor unpermute(const Tensor& x, int64_t num_heads, CopyBuffers& copies) {
  const int64_t head_dim = x.size(0) / num_heads;
  const int64_t half = head_dim / 2;
  return reorder_rows(x, copies, [=](int64_t row) {
    const int64_t in_head = row % head_dim;
    return row - in_head + 2 * (in_head % half) + in_head / half;
  });
}

// All of Q, all of K, all of V -> for each KV head its queries, its K, its V.
CheckpointTensor group_qkv(const Tensor& x, int64_t num_heads, int64_t num_kv_heads,
                           CopyBuffers& copies) {
  const int64_t head_dim = x.size(0) / (num_heads + 2 * num_kv_heads);
  const int64_t queries = num_heads / num_kv_heads;
  return reorder_rows(x, copies, [=](int64_t row) {
    const int64_t head = row / head_dim;
    const int64_t group = head / (queries + 2);
    const int64_t in_group = head % (queries + 2);
    const int64_t source = in_group < queries    ? group * queries + in_group
                           : in_group == queries ? num_heads + group
                                                 : num_heads + num_kv_heads + group;
    return source * head_dim + row % head_dim;
  });
}

class GgufCheckpoint : public Checkpoint {
 public:
  explicit GgufCheckpoint(std::shared_ptr<const GgufFile> file) : file_(std::move(file)) {
    const std::string architecture_name = file_->required_string("general.architecture");
    const GgufArchitecture& architecture = find_gguf_architecture(*file_);
    num_heads_ = read_heads(architecture_name + ".attention.head_count");
    num_kv_heads_ = num_heads_;
    if (const std::string key = architecture_name + ".attention.head_count_kv";
        file_->contains(key)) {
      num_kv_heads_ = read_heads(key);
    }
    for (const GgufTensorInfo& info : file_->tensors()) {
      std::optional<HfTensorName> hf = hf_tensor_name(architecture, info.name);
      if (!hf) {
        throw_error(ErrorCode::kUnsupported, "{}: tensor {} is not known for architecture {}",
                    path(), quote_name(info.name), quote_name(architecture_name));
      }
      if (hf->transform == GgufTransform::kNotAWeight) continue;
      add(std::move(hf->name), info, hf->transform);
    }
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, source] : tensors_) names.push_back(name);
    return names;
  }

  bool contains(std::string_view name) const override {
    return tensors_.find(name) != tensors_.end();
  }

  TensorInfo info(std::string_view name) const override {
    const Source& source = at(name);
    const GgufTensorInfo& info = *source.info;
    const GgufTensorType* type = find_gguf_tensor_type(info.type);
    TensorInfo result{type != nullptr ? type->name : std::to_string(info.type), info.shape,
                      static_cast<int64_t>(info.bytes)};
    if (source.index >= 0) {
      result.bytes /= info.shape[0];
      result.shape.erase(result.shape.begin());
    }
    return result;
  }

  CheckpointTensor get(std::string_view name) const override {
    const Source& source = at(name);
    const CheckpointTensor tensor = load(source);
    const Tensor& view = tensor.view;
    switch (source.transform) {
      case GgufTransform::kNone:
      case GgufTransform::kNotAWeight:  // none of those is kept
        return tensor;
      case GgufTransform::kRow:
        return {view.reshaped(Shape{1, view.numel()}), tensor.owner};
      case GgufTransform::kSubtractOne:
        return subtract_one(view, name);
      case GgufTransform::kUnpermuteQ:
        check_heads(view, 2 * num_heads_, name);
        return unpermute(view, num_heads_, copies_);
      case GgufTransform::kUnpermuteK:
        check_heads(view, 2 * num_kv_heads_, name);
        return unpermute(view, num_kv_heads_, copies_);
      case GgufTransform::kGroupQkv:
        check_argument(num_heads_ % num_kv_heads_ == 0,
                       "{}: {} KV heads do not divide {} attention heads", path(), num_kv_heads_,
                       num_heads_);
        check_heads(view, num_heads_ + 2 * num_kv_heads_, name);
        return group_qkv(view, num_heads_, num_kv_heads_, copies_);
    }
    LANNER_CHECK(false);
  }

  // Sorted by the names in the file, where a stack of tensors is one.
  std::vector<std::span<const std::byte>> stored_bytes() const override {
    std::map<std::string_view, std::span<const std::byte>> sorted;
    for (const GgufTensorInfo& info : file_->tensors()) {
      const Tensor bytes = file_->tensor_bytes(info).view;
      sorted.emplace(info.name, std::span(bytes.raw(), info.bytes));
    }
    const auto values = sorted | std::views::values;
    return {values.begin(), values.end()};
  }

  const std::string& path() const override { return file_->path(); }

 private:
  struct Source {
    const GgufTensorInfo* info;
    GgufTransform transform;
    int64_t index = -1;  // in the outermost dimension; -1: all of it
  };

  void add(std::string hf, const GgufTensorInfo& info, GgufTransform transform) {
    const size_t at_sign = hf.find('@');
    if (at_sign == std::string::npos) {
      tensors_.emplace(std::move(hf), Source{&info, transform});
      return;
    }
    constexpr int64_t kMost = 65536;
    if (info.shape.size() < 2 || info.shape[0] > kMost) {
      throw_error(ErrorCode::kInvalidArgument, "{}: tensor {} is no stack of 1 to {} tensors",
                  path(), quote_name(info.name), kMost);
    }
    for (int64_t i = 0; i < info.shape[0]; ++i) {
      std::string name = hf;
      name.replace(at_sign, 1, std::to_string(i));
      tensors_.emplace(std::move(name), Source{&info, transform, i});
    }
  }

  CheckpointTensor load(const Source& source) const {
    const GgufTensorInfo& info = *source.info;
    if (info.type == kGgufMxfp4) return load_mxfp4(info, source.index);
    CheckpointTensor tensor = file_->tensor(info);
    if (source.index >= 0) tensor.view = slice(tensor.view, source.index);
    return tensor;
  }

  CheckpointTensor load_mxfp4(const GgufTensorInfo& info, int64_t index) const {
    const CheckpointTensor bytes = file_->tensor_bytes(info);
    std::vector<int64_t> shape = info.shape;
    int64_t first = 0;
    int64_t count = bytes.view.numel();
    if (index >= 0) {
      count /= shape[0];
      first = index * count;
      shape.erase(shape.begin());
    }
    return ggml_mxfp4_to_q8_0(bytes.view.data<const uint8_t>() + first, Shape(shape), info.name);
  }

  // x[index], with one dimension less.
  static Tensor slice(const Tensor& x, int64_t index) {
    const int64_t rows = x.num_rows() / x.size(0);
    std::byte* data = x.raw_row(index * rows);
    std::vector<int64_t> sizes(x.shape().sizes().begin() + 1, x.shape().sizes().end());
    return Tensor(data, x.dtype(), Shape(sizes));
  }

  void check_heads(const Tensor& x, int64_t divisor, std::string_view name) const {
    if (x.shape().rank() > 2 || x.size(0) % divisor != 0) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{}: tensor {} is {}, which {} heads of Q and {} of K do not divide", path(),
                  quote_name(name), x.shape(), num_heads_, num_kv_heads_);
    }
  }

  CheckpointTensor subtract_one(const Tensor& x, std::string_view name) const {
    if (x.dtype() != DType::kF32) {
      throw_error(ErrorCode::kUnsupported, "{}: tensor {} is {}, expected fp32", path(),
                  quote_name(name), x.dtype());
    }
    auto buffer = std::make_shared<Buffer>(static_cast<size_t>(x.bytes()));
    auto* values = buffer->as<float>();
    for (int64_t i = 0; i < x.numel(); ++i) values[i] = x.data<float>()[i] - 1.0f;
    return {Tensor(values, DType::kF32, x.shape()), std::move(buffer)};
  }

  int64_t read_heads(const std::string& key) const {
    const int64_t heads = file_->required_int(key);
    if (heads < 1 || heads > 65536) {
      throw_error(ErrorCode::kInvalidArgument, "{}: {} is {}, expected 1 to 65536", path(),
                  quote_name(key), heads);
    }
    return heads;
  }

  const Source& at(std::string_view name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw_error(ErrorCode::kNotFound, "{}: no tensor {}", path(), quote_name(name));
    }
    return found->second;
  }

  std::shared_ptr<const GgufFile> file_;
  int64_t num_heads_ = 0;
  int64_t num_kv_heads_ = 0;
  mutable CopyBuffers copies_;
  std::map<std::string, Source, std::less<>> tensors_;
};

}  // namespace

std::unique_ptr<Checkpoint> make_gguf_checkpoint(std::shared_ptr<const GgufFile> file) {
  return std::make_unique<GgufCheckpoint>(std::move(file));
}

}  // namespace lanner
