// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "layers/execution_context.h"
#include "layers/forward_batch.h"
#include "layers/split.h"
#include "weights/lora.h"

namespace lanner {

// Rows of a step whose sequences have an adapter, by the adapter.
struct LoraRows {
  struct Group {
    int adapter = 0;
    std::vector<int32_t> rows;  // ascending
  };
  std::vector<Group> groups;

  static LoraRows of(const ForwardBatch& batch);
  // Of the rows `indices` of these, ascending, in their place.
  LoraRows select(std::span<const int32_t> indices) const;
  bool empty() const { return groups.empty(); }
};

// The adapters that a model is built with, and what of them its layers have taken so far.
class LoraClaims {
 public:
  // The adapters must outlive it; their names are those of the checkpoint (fit_lora).
  explicit LoraClaims(std::span<const LoraAdapter> adapters) : adapters_(adapters) {}

  size_t num_adapters() const { return adapters_.size(); }
  // What an adapter changes in a matrix [out_features, in_features]; null: nothing. Throws
  // Error(kInvalidArgument) where it is for another shape.
  const LoraModule* take(size_t adapter, const std::string& matrix, int64_t out_features,
                         int64_t in_features);
  // Throws Error(kUnsupported) naming a change that no layer has taken.
  void check_all_taken() const;

 private:
  std::span<const LoraAdapter> adapters_;
  std::set<std::pair<size_t, std::string>> taken_;
};

// What the adapters of a model change in one Linear: y += scale * (x A^T) B^T for the rows of each
// adapter (Hu et al. 2021, arXiv 2106.09685). The A of several matrices (Q, K and V) are one
// product, each B changes the columns that its matrix makes. Of a Linear that is cut over the ranks
// it holds the same share: rows of B, or columns of A, whose products add up like those of the
// weight. Immutable after construction.
class LinearLora {
 public:
  // Outputs of the Linear, in their order: some rows of a matrix of the checkpoint.
  struct Outputs {
    std::string matrix;
    int64_t matrix_rows = 0;
    int64_t begin = 0;  // of its rows
    int64_t count = 0;
  };

  // inputs: the columns that are held, of in_features. Null where nothing is changed. Takes what it
  // needs of context.lora, also where a rank has none of the outputs or inputs.
  static std::shared_ptr<const LinearLora> make(const std::vector<Outputs>& outputs,
                                                int64_t in_features, const Share& inputs,
                                                LoadContext& context);

  // Any of the step's rows.
  bool changes(const LoraRows* rows) const;
  // x [rows, in], y [rows, out] fp32, the rows those of context.lora.
  void add(const Tensor& x, const Tensor& y, ExecutionContext& context) const;

 private:
  struct Part {
    PackedWeight b;  // [its columns, rank]
    Share columns;   // of y
    Share ranks;     // of x A^T
  };
  struct Change {
    PackedWeight a;             // [ranks of all parts, in]
    std::vector<float> scales;  // of them
    std::vector<Part> parts;
  };

  // Of one adapter, whose parts of the matrices are `modules`; null where it changes none of the
  // outputs.
  static std::unique_ptr<Change> make_change(
      const std::vector<Outputs>& outputs, const std::map<std::string, const LoraModule*>& modules,
      const Share& inputs, ThreadPool& threads);
  const Change* find(int adapter) const;
  static void add(const Change& change, const Tensor& x, const Tensor& y,
                  ExecutionContext& context);

  std::vector<std::unique_ptr<Change>> changes_;  // by adapter; null: none
};

}  // namespace lanner
