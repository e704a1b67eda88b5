// SPDX-License-Identifier: Apache-2.0
// For tests only: a checkpoint in memory and what layers are built and run with.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "layers/execution_context.h"
#include "weights/checkpoint.h"

namespace lanner {

// fp32 tensors by name.
class MemoryCheckpoint : public Checkpoint {
 public:
  void add(const std::string& name, const Shape& shape, std::vector<float> values) {
    tensors_[name] = {shape, std::make_shared<std::vector<float>>(std::move(values))};
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors_) names.push_back(name);
    return names;
  }
  bool contains(std::string_view name) const override {
    return tensors_.contains(std::string(name));
  }
  TensorInfo info(std::string_view name) const override {
    const Tensor view = get(name).view;
    return {.dtype = "F32", .shape = {}, .bytes = view.bytes()};
  }
  CheckpointTensor get(std::string_view name) const override {
    const auto found = tensors_.find(std::string(name));
    if (found == tensors_.end()) throw_error(ErrorCode::kNotFound, "no tensor '{}'", name);
    const auto& [shape, values] = found->second;
    return {Tensor(values->data(), DType::kF32, shape), values};
  }
  const std::string& path() const override { return path_; }

 private:
  struct Stored {
    Shape shape;
    std::shared_ptr<std::vector<float>> values;
  };
  std::map<std::string, Stored> tensors_;
  std::string path_ = "memory";
};

struct LayerFixture {
  explicit LayerFixture(int max_context = 64, int num_threads = 2) : threads(num_threads) {
    load.max_context = max_context;
  }

  ThreadPool threads;
  Workspace workspace;
  Topology topology;
  std::unique_ptr<Communicator> communicator = make_single_communicator();
  ExecutionContext context{.threads = threads,
                           .workspace = workspace,
                           .topology = topology,
                           .communicator = *communicator};
  int64_t reported_bytes = 0;
  LoadContext load{.execution = context,
                   .weight_dtype = std::nullopt,
                   .max_context = 0,
                   .on_weight = [this](int64_t bytes) { reported_bytes += bytes; }};
};

}  // namespace lanner
