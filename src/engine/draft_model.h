// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/model_runner.h"

namespace lanner {

// The small model that proposes tokens. Its K and V lie in a cache of its own, at the same slots as
// those of the large model: blocks that are shared, forked, thrown out or found again are so for
// both. It computes nothing along with the large model, but knows of each block how far its own K
// and V are those of the block's tokens, and makes up for the rest when it is asked. Used by the
// engine's thread.
class DraftModel {
 public:
  // Loads the weights; computes with the runner's threads. Throws what loading throws.
  DraftModel(const ModelFiles& files, const DraftPlan& plan, int32_t num_blocks,
             ModelRunner& runner, const ProgressCallback& progress);

  // What the large model is about to overwrite and copy in its cache.
  void follow(const SchedulerOutput& output);

  // Of the first num_tokens of a sequence so many, from the first on, are in the cache.
  int num_computed(std::span<const int32_t> blocks, int num_tokens) const;

  // Tokens to compute: they follow `start` others that are in the cache.
  struct Part {
    std::span<const int32_t> blocks;  // with room for them
    std::span<const int32_t> tokens;
    int start = 0;
  };
  //   returns  [parts, vocab_size] fp32, the logits after the last token of each, valid until the
  //            next call; vocab_size is the large model's or less
  Tensor forward(std::span<const Part> parts, bool wants_logits);

  // Longest sequence that it can go on from, in tokens.
  int max_context() const { return max_context_; }
  // Whether its vocabulary, which may be padded to another size, has them all.
  bool knows(std::span<const int32_t> tokens) const;
  const Model& model() const { return *model_; }

 private:
  ModelRunner& runner_;
  int max_context_;
  std::unique_ptr<Model> model_;
  AttentionRule attention_rule_;
  KvCache cache_;
  std::vector<uint8_t> num_valid_;  // [num_blocks] tokens of the block, from its first one on
  Buffer logits_;
};

}  // namespace lanner
