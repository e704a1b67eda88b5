// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/gemm/gemm.h"
#include "layers/execution_context.h"
#include "weights/checkpoint.h"

namespace lanner {

// A part of a Linear's outputs: a weight matrix of the checkpoint, or some rows of one.
struct LinearPart {
  struct Rows {
    int64_t begin = 0;
    int64_t count = 0;
  };

  std::string name;  // of its tensors, without ".weight" and ".bias"
  int64_t out_features = 0;
  // Which rows of a matrix with tensor_rows, in order; empty: all of them.
  std::vector<Rows> rows = {};
  int64_t tensor_rows = 0;
  // The file holds the matrix as [in_features, rows] (GPT-2's Conv1D).
  bool transposed = false;
};

// y = x W^T + b with the weight packed for this machine's kernels. Several parts of the checkpoint
// (Q, K and V; gate and up) become one matrix and one GEMM, their outputs side by side. Immutable
// after construction.
//
// The layer states how it is split over the ranks of a tensor parallel job: ColumnParallelLinear
// holds a share of the outputs, RowParallelLinear a share of the inputs, whose partial sums are
// added over the ranks.
class Linear {
 public:
  Linear(const std::vector<LinearPart>& parts, int64_t in_features, bool bias,
         const WeightScope& weights, LoadContext& context);
  // A matrix the checkpoint has under another layer's name (tied embeddings), [out, in].
  Linear(const CheckpointTensor& weight, LoadContext& context);

  int64_t in_features() const { return weight_.k(); }
  int64_t out_features() const { return weight_.n(); }
  int64_t bytes() const { return weight_.bytes(); }
  const char* kernel_name() const { return weight_.kernel_name(); }
  const PackedWeight& weight() const { return weight_; }

  // x [num_tokens, in_features], y [num_tokens, out_features], fp32.
  void forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const;

  // Of outputs that are a gate, then as many values: y = act(gate) * values,
  // y [num_tokens, out_features / 2].
  void forward_gated(const Tensor& x, Activation kind, const Tensor& y,
                     ExecutionContext& context) const;

 protected:
  void run(const Tensor& x, const Tensor& y, bool accumulate, bool with_bias,
           ExecutionContext& context) const;

 private:
  PackedWeight weight_;
  std::vector<float> bias_;  // [out_features], or empty
};

// What a model packed: the sum of its weights and the kernels they were packed for, each once.
struct WeightTally {
  int64_t bytes = 0;
  int64_t parameters = 0;
  std::vector<std::string> kernels;  // e.g. "avx512_vnni.int8"
  // Of those, what one token is multiplied with: all but the experts it does not go to.
  double active_bytes = 0;
  double active_parameters = 0;
  void add(const Linear& linear) { add(linear.weight()); }
  // A token is multiplied with `share` of the weight.
  void add(const PackedWeight& weight, double share = 1.0);
};

// Split by output rows: every rank computes its own outputs from the whole input.
class ColumnParallelLinear : public Linear {
 public:
  using Linear::Linear;
};

// Split by input columns: every rank computes a partial sum of all outputs.
class RowParallelLinear : public Linear {
 public:
  using Linear::Linear;

  // y = x W^T + b, summed over the ranks.
  void forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const;
  // y += x W^T + b, summed over the ranks; y is the residual stream, equal on all of them.
  void forward_add(const Tensor& x, const Tensor& y, ExecutionContext& context) const;
};

}  // namespace lanner
