// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "layers/execution_context.h"
#include "weights/checkpoint.h"

namespace lanner {

// Token embeddings, read row by row from the checkpoint's own memory map: only rows that occur are
// ever loaded.
class Embedding {
 public:
  Embedding(const WeightScope& weights, int64_t vocab_size, int64_t hidden)
      : table_(weights.tensor("weight", Shape{vocab_size, hidden})) {}

  // y [num_tokens, hidden] fp32. Throws Error(kInvalidArgument) for an id outside the vocabulary.
  void forward(std::span<const int32_t> token_ids, const Tensor& y,
               ExecutionContext& context) const;

  // The table as output weights (tied embeddings), [vocab_size, hidden].
  const CheckpointTensor& table() const { return table_; }

 private:
  CheckpointTensor table_;
};

}  // namespace lanner
