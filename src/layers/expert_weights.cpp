// SPDX-License-Identifier: Apache-2.0
#include "layers/expert_weights.h"

#include <memory>

#include "base/buffer.h"
#include "base/error.h"
#include "layers/load_vector.h"
#include "layers/transpose.h"
#include "weights/mxfp4.h"

namespace lanner {
namespace {

// One matrix of all experts as the checkpoint has it, [experts * rows, columns].
struct StackedMatrix {
  int64_t experts;
  int64_t rows;
  int64_t columns;
  std::string name;
};

class Loader {
 public:
  Loader(const MoeConfig& config, const WeightScope& weights, LoadContext& context)
      : config_(config), weights_(weights), context_(context) {}

  ExpertWeights load() {
    if (!is_stacked()) return load_separate();
    const int64_t experts = config_.router.num_experts;
    const int64_t width = config_.intermediate;
    const int64_t hidden = config_.hidden;
    ExpertWeights result;
    {
      const CheckpointTensor all = load_stacked({experts, 2 * width, hidden, config_.all_gate_up});
      std::vector<Tensor> parts;
      for (int64_t e = 0; e < experts; ++e) {
        const Tensor own = all.view.rows(e * 2 * width, (e + 1) * 2 * width);
        for (int64_t half = 0; half < 2; ++half) {
          parts.push_back(config_.gate_up_alternate ? every_second_row(own, half)
                                                    : own.rows(half * width, (half + 1) * width));
        }
      }
      result.gate_up = pack(parts);
    }
    {
      const CheckpointTensor all = load_stacked({experts, hidden, width, config_.all_down});
      std::vector<Tensor> parts;
      for (int64_t e = 0; e < experts; ++e) {
        parts.push_back(all.view.rows(e * hidden, (e + 1) * hidden));
      }
      result.down = pack(parts);
    }
    if (config_.expert_bias) {
      result.gate_up_bias = gate_up_bias(stacked_bias(config_.all_gate_up, 2 * width));
      result.down_bias = stacked_bias(config_.all_down, hidden);
    }
    return result;
  }

 private:
  bool is_stacked() const {
    return !config_.all_gate_up.empty() && (weights_.contains(config_.all_gate_up) ||
                                            weights_.contains(config_.all_gate_up + "_blocks"));
  }

  ExpertWeights load_separate() {
    const int64_t width = config_.intermediate;
    std::vector<CheckpointTensor> gate_up, down;
    ExpertWeights result;
    const auto take = [&](const std::string& pattern, int64_t expert, int64_t rows, int64_t columns,
                          std::vector<CheckpointTensor>& matrices, std::vector<float>& biases) {
      const std::string name = fmt::format(fmt::runtime(pattern), expert);
      matrices.push_back(weights_.tensor(name + ".weight", Shape{rows, columns}));
      if (!config_.expert_bias) return;
      const std::vector<float> bias = load_vector(weights_, name + ".bias", rows);
      biases.insert(biases.end(), bias.begin(), bias.end());
    };
    for (int64_t e = 0; e < config_.router.num_experts; ++e) {
      take(config_.gate, e, width, config_.hidden, gate_up, result.gate_up_bias);
      take(config_.up, e, width, config_.hidden, gate_up, result.gate_up_bias);
      take(config_.down, e, config_.hidden, width, down, result.down_bias);
    }
    result.gate_up = pack(views(gate_up));
    result.down = pack(views(down));
    return result;
  }

  static std::vector<Tensor> views(const std::vector<CheckpointTensor>& tensors) {
    std::vector<Tensor> result;
    for (const CheckpointTensor& tensor : tensors) result.push_back(tensor.view);
    return result;
  }

  // [experts * rows, columns], contiguous.
  CheckpointTensor load_stacked(const StackedMatrix& m) const {
    const Shape flat{m.experts * m.rows, m.columns};
    if (weights_.contains(m.name + "_blocks")) {
      const int64_t blocks = m.columns / kMxfp4Elements;
      check_argument(m.columns % kMxfp4Elements == 0,
                     "tensor '{}': rows of {} elements are no whole number of MXFP4 blocks",
                     weights_.full_name(m.name), m.columns);
      const CheckpointTensor values =
          weights_.tensor(m.name + "_blocks", Shape{m.experts, m.rows, blocks, kMxfp4Elements / 2});
      const CheckpointTensor scales =
          weights_.tensor(m.name + "_scales", Shape{m.experts, m.rows, blocks});
      return mxfp4_to_q8_0(values.view, scales.view, weights_.full_name(m.name),
                           context_.execution.threads);
    }
    if (!config_.transposed) {
      CheckpointTensor tensor = weights_.tensor(m.name, Shape{m.experts, m.rows, m.columns});
      return {tensor.view.reshaped(flat), tensor.owner};
    }
    const CheckpointTensor tensor = weights_.tensor(m.name, Shape{m.experts, m.columns, m.rows});
    const Tensor& from = tensor.view;
    auto memory = std::make_shared<Buffer>(static_cast<size_t>(from.bytes()));
    const Tensor to(memory->data(), from.dtype(), flat);
    for (int64_t e = 0; e < m.experts; ++e) {
      transpose(from.rows(e * m.columns, (e + 1) * m.columns), to.raw_row(e * m.rows),
                weights_.full_name(m.name));
    }
    return {to, memory};
  }

  static Tensor every_second_row(const Tensor& x, int64_t first) {
    return Tensor(x.raw_row(first), x.dtype(), Shape{x.num_rows() / 2, x.size(-1)},
                  2 * x.row_stride());
  }

  std::vector<float> stacked_bias(const std::string& matrix, int64_t size) const {
    return load_matrix(weights_, matrix + "_bias", Shape{config_.router.num_experts, size});
  }

  // Gate and up of each expert one after the other.
  std::vector<float> gate_up_bias(std::vector<float> stored) const {
    if (!config_.gate_up_alternate) return stored;
    const auto width = static_cast<size_t>(config_.intermediate);
    std::vector<float> bias(stored.size());
    for (size_t i = 0; i < stored.size(); ++i) {
      const size_t expert = i / (2 * width), row = i % (2 * width);
      bias[expert * 2 * width + row % 2 * width + row / 2] = stored[i];
    }
    return bias;
  }

  PackedWeight pack(const std::vector<Tensor>& parts) {
    PackedWeight packed =
        PackedWeight::pack(parts, {.dtype = context_.weight_dtype}, context_.execution.threads);
    int64_t bytes = 0;
    for (const Tensor& part : parts)
      bytes += part.num_rows() * dtype_bytes(part.dtype(), part.size(-1));
    context_.on_weight(bytes);
    return packed;
  }

  const MoeConfig& config_;
  const WeightScope& weights_;
  LoadContext& context_;
};

}  // namespace

ExpertWeights load_expert_weights(const MoeConfig& config, const WeightScope& weights,
                                  LoadContext& context) {
  return Loader(config, weights, context).load();
}

}  // namespace lanner
