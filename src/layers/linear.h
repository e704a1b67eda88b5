// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/gemm/gemm.h"
#include "layers/execution_context.h"
#include "layers/rank_sum.h"
#include "layers/split.h"
#include "weights/checkpoint.h"

namespace lanner {

class LinearLora;

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
// added over the ranks. A share may be empty: there is no weight then.
//
// Adapters of the load context that change its matrices stay beside the weight; they change the
// rows that the execution context says (lora.h).
class Linear {
 public:
  Linear(const std::vector<LinearPart>& parts, int64_t in_features, bool bias,
         const WeightScope& weights, LoadContext& context);
  // Rows of a matrix the checkpoint has under another layer's name (tied embeddings), [out, in].
  Linear(const CheckpointTensor& weight, const Share& rows, LoadContext& context);

  int64_t in_features() const { return in_features_; }
  int64_t out_features() const { return out_features_; }
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
  // Only the columns `inputs` of the matrices, widened to whole groups of quantised values.
  Linear(const std::vector<LinearPart>& parts, int64_t in_features, const Share& inputs, bool bias,
         const WeightScope& weights, LoadContext& context);
  void run(const Tensor& x, const Tensor& y, bool accumulate, ExecutionContext& context) const;
  // The columns that are held.
  const Share& columns() const { return columns_; }

 private:
  int64_t in_features_ = 0;  // of the columns held
  int64_t out_features_ = 0;
  Share columns_;
  PackedWeight weight_;
  std::vector<float> bias_;                 // [out_features], or empty
  std::shared_ptr<const LinearLora> lora_;  // null: no adapter changes it
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

// Split by output rows: every rank computes its own outputs from the whole input. The parts name
// the rows that are this rank's.
class ColumnParallelLinear : public Linear {
 public:
  using Linear::Linear;
};

// Split by input columns: every rank computes a partial sum of all outputs.
class RowParallelLinear : public Linear {
 public:
  // inputs: the columns that are this rank's, of in_features. The bias is rank 0's to add.
  RowParallelLinear(const std::vector<LinearPart>& parts, int64_t in_features, const Share& inputs,
                    bool bias, const WeightScope& weights, LoadContext& context);

  // Memory for the inputs of so many tokens. `own` [num_tokens, inputs] is for the caller to fill;
  // where the share begins or ends inside a quantised group the rest of the group is zero.
  struct Input {
    Tensor all;  // [num_tokens, in_features()]
    Tensor own;
  };
  Input allocate_input(int64_t num_tokens, Workspace& workspace) const;

  // Puts x W^T + b into the sum over the ranks.
  void forward(const Input& x, RankSum& sum, ExecutionContext& context) const;
  // y = this rank's part of x W^T + b.
  void forward_part(const Input& x, const Tensor& y, ExecutionContext& context) const;

 private:
  Share inputs_;
};

}  // namespace lanner
