// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "layers/execution_context.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "weights/checkpoint.h"

namespace lanner {

// A table of vectors, read row by row from the checkpoint's own memory map: only rows that occur
// are ever loaded. Every rank looks up its tokens itself: ranks of one machine share those pages.
class Embedding {
 public:
  Embedding(const WeightScope& weights, int64_t num_rows, int64_t width)
      : table_(weights.tensor("weight", Shape{num_rows, width})) {}

  // y [ids, width] fp32. Throws Error(kInvalidArgument) for an id outside the table.
  void forward(std::span<const int32_t> ids, const Tensor& y, ExecutionContext& context) const;

  // The table as output weights (tied embeddings), [num_rows, width].
  const CheckpointTensor& table() const { return table_; }
  int64_t width() const { return table_.view.size(-1); }

 private:
  CheckpointTensor table_;
};

// What turns tokens into the input of the first block. Names are those of the tensors in the
// checkpoint without ".weight"; parts without a name are absent.
struct InputConfig {
  std::string tokens = "model.embed_tokens";
  int64_t vocab_size = 0;
  int64_t hidden = 0;
  int64_t width = 0;                    // of the table's rows; 0: hidden
  float scale = 1.0f;                   // of the token's vector
  std::string projection = {};          // from width to hidden
  std::string positions = {};           // learned vectors, added
  int num_positions = 0;                // that a sequence can have
  int position_offset = 0;              // row of position 0
  std::optional<NormConfig> norm = {};  // of the sum
};

// norm(projection(scale * token vector) + position vector)
class InputEmbedding {
 public:
  InputEmbedding(const InputConfig& config, const WeightScope& weights, LoadContext& context);

  // y [num_tokens, hidden] fp32. Throws Error(kInvalidArgument) for an id outside the vocabulary.
  void forward(std::span<const int32_t> token_ids, std::span<const int32_t> positions,
               const Tensor& y, ExecutionContext& context) const;

  const Embedding& tokens() const { return tokens_; }
  void tally(WeightTally& tally) const {
    if (projection_) tally.add(*projection_);
  }

 private:
  InputConfig config_;
  Embedding tokens_;
  std::optional<Embedding> positions_;
  std::optional<Linear> projection_;
  std::optional<Norm> norm_;
};

}  // namespace lanner
