// SPDX-License-Identifier: Apache-2.0
#include "layers/expert_weights.h"

#include <algorithm>
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
  Loader(const MoeConfig& config, const Share& columns, const WeightScope& weights,
         LoadContext& context)
      : config_(config), own_(columns), weights_(weights), context_(context) {}

  ExpertWeights load() {
    if (own_.empty()) return {};
    ExpertWeights result = is_stacked() ? load_all() : load_separate();
    // It enters the sum over the ranks once.
    if (context_.execution.communicator.rank() != 0) result.down_bias.clear();
    return result;
  }

 private:
  bool is_stacked() const {
    return !config_.all_gate_up.empty() && (weights_.contains(config_.all_gate_up) ||
                                            weights_.contains(config_.all_gate_up + "_blocks"));
  }

  ExpertWeights load_all() {
    const int64_t experts = config_.router.num_experts;
    const int64_t width = config_.intermediate;
    const int64_t hidden = config_.hidden;
    ExpertWeights result;
    {
      const CheckpointTensor all = load_stacked({experts, 2 * width, hidden, config_.all_gate_up});
      std::vector<Tensor> parts;
      for (int64_t e = 0; e < experts; ++e) {
        const Tensor expert = all.view.rows(e * 2 * width, (e + 1) * 2 * width);
        for (int64_t half = 0; half < 2; ++half) {
          const Tensor whole = config_.gate_up_alternate
                                   ? every_second_row(expert, half)
                                   : expert.rows(half * width, (half + 1) * width);
          parts.push_back(whole.rows(own_.begin, own_.end));
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
      pack_down(parts, result);
    }
    if (config_.expert_bias) {
      result.gate_up_bias = gate_up_bias(stacked_bias(config_.all_gate_up, 2 * width));
      result.down_bias = stacked_bias(config_.all_down, hidden);
    }
    return result;
  }

  ExpertWeights load_separate() {
    const int64_t width = config_.intermediate;
    std::vector<CheckpointTensor> owners;  // of what the views show
    std::vector<Tensor> gate_up, down;
    ExpertWeights result;
    const auto take = [&](const std::string& name, int64_t rows, int64_t columns) {
      owners.push_back(weights_.tensor(name + ".weight", Shape{rows, columns}));
      return owners.back().view;
    };
    const auto add_bias = [&](const std::string& name, int64_t rows, const Share& own,
                              std::vector<float>& biases) {
      if (!config_.expert_bias) return;
      const std::vector<float> all = load_vector(weights_, name + ".bias", rows);
      biases.insert(biases.end(), all.begin() + own.begin, all.begin() + own.end);
    };
    for (int64_t e = 0; e < config_.router.num_experts; ++e) {
      for (const std::string& pattern : {config_.gate, config_.up}) {
        const std::string name = fmt::format(fmt::runtime(pattern), e);
        gate_up.push_back(take(name, width, config_.hidden).rows(own_.begin, own_.end));
        add_bias(name, width, own_, result.gate_up_bias);
      }
      const std::string name = fmt::format(fmt::runtime(config_.down), e);
      down.push_back(take(name, config_.hidden, width));
      add_bias(name, config_.hidden, {0, config_.hidden}, result.down_bias);
    }
    result.gate_up = pack(gate_up);
    pack_down(down, result);
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

  // Gate and up of each expert one after the other, this rank's columns.
  std::vector<float> gate_up_bias(const std::vector<float>& stored) const {
    const int64_t width = config_.intermediate;
    std::vector<float> bias;
    for (int64_t expert = 0; expert < config_.router.num_experts; ++expert) {
      for (int64_t half = 0; half < 2; ++half) {
        for (int64_t i = own_.begin; i < own_.end; ++i) {
          const int64_t row = config_.gate_up_alternate ? 2 * i + half : half * width + i;
          bias.push_back(stored[static_cast<size_t>(expert * 2 * width + row)]);
        }
      }
    }
    return bias;
  }

  // Whole matrices; what is held of them are this rank's columns.
  void pack_down(const std::vector<Tensor>& matrices, ExpertWeights& result) {
    result.down_columns = own_;
    for (const Tensor& matrix : matrices) {
      const Share whole =
          whole_groups(own_, config_.intermediate, matrix.dtype(), context_.weight_dtype);
      result.down_columns = {std::min(result.down_columns.begin, whole.begin),
                             std::max(result.down_columns.end, whole.end)};
    }
    std::vector<Tensor> parts;
    for (const Tensor& matrix : matrices) {
      parts.push_back(matrix.columns(result.down_columns.begin, result.down_columns.end));
    }
    result.down = pack(parts);
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
  Share own_;
  const WeightScope& weights_;
  LoadContext& context_;
};

}  // namespace

ExpertWeights load_expert_weights(const MoeConfig& config, const Share& columns,
                                  const WeightScope& weights, LoadContext& context) {
  return Loader(config, columns, weights, context).load();
}

}  // namespace lanner
