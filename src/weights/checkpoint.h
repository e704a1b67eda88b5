// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"

namespace lanner {

// A tensor of a checkpoint. The view is valid as long as a copy of the owner lives, also without
// the Checkpoint. Its data is read-only: writing to it is undefined.
struct CheckpointTensor {
  Tensor view;
  std::shared_ptr<const void> owner;
};

// What a file says of a tensor, known without reading its data.
struct TensorInfo {
  std::string dtype;           // as the file names it: "BF16", "Q4_K"
  std::vector<int64_t> shape;  // outermost first
  int64_t bytes = 0;           // in the file
};

// Named tensors on disk, under the names of the family's Hugging Face checkpoints whatever the file
// format. Reading is lazy and thread-safe.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // Sorted.
  virtual std::vector<std::string> names() const = 0;
  virtual bool contains(std::string_view name) const = 0;
  // Throws Error(kNotFound) naming the tensor.
  virtual TensorInfo info(std::string_view name) const = 0;
  // A scalar comes as [1]. Throws Error(kNotFound) naming the tensor, Error(kUnsupported) naming
  // the tensor and its type where Lanner has no such type.
  virtual CheckpointTensor get(std::string_view name) const = 0;
  // The same for a caller that knows the shape. Throws Error(kInvalidArgument) naming the tensor,
  // its shape and the expected one when they differ.
  virtual CheckpointTensor tensor(std::string_view name, const Shape& shape) const;
  // The bytes of all tensors as the files have them, unconverted, in an order that does not depend
  // on where in the files they lie; nothing where weights are made up. They are not read here, and
  // valid as long as the Checkpoint lives.
  virtual std::vector<std::span<const std::byte>> stored_bytes() const { return {}; }
  // Where the tensors come from: the path of the file or folder.
  virtual const std::string& path() const = 0;
};

// The tensors of a checkpoint whose names start with a prefix: what a layer is built from. Small,
// to be passed by value or reference; the checkpoint must outlive it.
class WeightScope {
 public:
  explicit WeightScope(const Checkpoint& checkpoint, std::string prefix = "")
      : checkpoint_(&checkpoint), prefix_(std::move(prefix)) {}

  // at("self_attn") of "model.layers.0" is "model.layers.0.self_attn".
  WeightScope at(std::string_view name) const { return WeightScope(*checkpoint_, full_name(name)); }
  WeightScope at(int index) const { return at(std::to_string(index)); }

  std::string full_name(std::string_view name) const;
  bool contains(std::string_view name) const { return checkpoint_->contains(full_name(name)); }

  // Throws as Checkpoint::tensor().
  CheckpointTensor tensor(std::string_view name, const Shape& shape) const;
  // Nothing if there is no such tensor.
  std::optional<CheckpointTensor> optional_tensor(std::string_view name, const Shape& shape) const;

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const std::string& prefix() const { return prefix_; }

 private:
  const Checkpoint* checkpoint_;
  std::string prefix_;
};

}  // namespace lanner
