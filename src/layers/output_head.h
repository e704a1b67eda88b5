// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layers/embedding.h"
#include "layers/linear.h"

namespace lanner {

// From normed hidden states to logits: soft_cap(W (scale * projection(x)) + bias).
struct OutputConfig {
  std::string name = "lm_head";
  int64_t vocab_size = 0;
  int64_t hidden = 0;
  int64_t width = 0;  // of W's rows; 0: hidden
  bool tied = false;  // W is the table of token vectors
  bool bias = false;
  bool unit_rows = false;       // each row of W is divided by its Euclidean length
  std::string projection = {};  // from hidden to width; empty: none
  float scale = 1.0f;
  float soft_cap = 0.0f;  // > 0: cap * tanh(logits / cap)
};

// The output weights with what a family does around them. Each rank has the logits of a part of the
// vocabulary (share_of_vocab). Immutable after construction.
class OutputHead {
 public:
  // input: whose table is W when the two are tied.
  OutputHead(const OutputConfig& config, const InputEmbedding& input, const WeightScope& weights,
             LoadContext& context);

  // x [rows, hidden] fp32, overwritten; logits [rows, this rank's part of the vocabulary] fp32.
  void forward(const Tensor& x, const Tensor& logits, ExecutionContext& context) const;

  void tally(WeightTally& tally) const {
    if (projection_) tally.add(*projection_);
    tally.add(*output_);
  }
  // Elements of its matrices that this rank holds.
  int64_t parameters() const;

 private:
  OutputConfig config_;
  Share vocab_;
  std::optional<Linear> projection_;
  std::optional<ColumnParallelLinear> output_;
  std::vector<float> factors_;  // of each of this rank's logits, or empty
};

}  // namespace lanner
