// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/kv_layout.h"
#include "kvcache/kv_cache.h"
#include "layers/execution_context.h"
#include "layers/forward_batch.h"
#include "layers/linear.h"

namespace lanner {

// How a prefix-LM finds the end of its prefix (the context) in a prompt.
struct PrefixTokens {
  int32_t start = 0;           // the first of them ends the prefix, and is not part of it
  std::vector<int32_t> masks;  // the first of these kinds that occurs is the prefix's position
};

// The prefix of a prompt: its first `length` tokens, and the position that what follows has.
struct PromptPrefix {
  int length = 0;
  int position = 0;
};

// What the engine must know of a model before and after it is loaded.
struct ModelInfo {
  std::string model_type;  // as in config.json
  int num_layers = 0;
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int max_position = 0;  // trained context length, stretched by its rope scaling
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;  // of K
  int v_head_dim = 0;
  // A sequence that gets longer than this while it is decoded is rotated otherwise from its first
  // position on (longrope): what the cache holds of it must be computed again. 0: no such length.
  int recompute_length = 0;
  std::vector<int32_t> eos_token_ids;
  // Prefix-LMs only: tokens of the prefix see each other in both directions.
  std::optional<PrefixTokens> prefix;
  // Tensors that are read from the file as they are, row by row, or not at all: no memory is
  // planned for them.
  std::vector<std::string> unpacked_weights;
};

// Nothing where the model is no prefix-LM. Throws Error(kInvalidArgument) naming the token that a
// prompt lacks.
PromptPrefix find_prefix(const ModelInfo& info, std::span<const int32_t> prompt);

// Where a forward pass puts what the batch asks for; fp32.
struct ForwardOutput {
  Tensor logits;  // [logits_rows, vocab_size]
  Tensor hidden;  // [hidden_rows, hidden_size], after the last norm
};

// A loaded network: the only thing that knows a family. forward is called by one thread at a time.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;
  // All packed weight matrices.
  virtual const WeightTally& weights() const = 0;
  // Those of weights().parameters that only a position whose logits are wanted is multiplied with.
  virtual int64_t output_parameters() const = 0;

  // Runs one step: stores K and V of the batch's tokens in the cache and computes the logits of
  // batch.logits_rows and the hidden states of batch.hidden_rows.
  virtual void forward(const ForwardBatch& batch, KvCache& cache, const ForwardOutput& output,
                       ExecutionContext& context) const = 0;
};

}  // namespace lanner
