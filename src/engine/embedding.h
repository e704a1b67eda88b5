// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "lanner/embedding.h"

namespace lanner {

// Completes what a request for an embedding is told of: its last news, as users see it.
void take_embedding(const TokenOutput& news, bool normalized, EmbeddingOutput& output);

// Collects the embeddings of several requests for a caller that waits.
class EmbeddingCollector {
 public:
  explicit EmbeddingCollector(size_t count) : embeddings_(count), left_(count) {}

  void add(size_t index, const EmbeddingOutput& output);
  // Throws Error when one of them has failed.
  std::vector<TextEmbedding> wait();

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<TextEmbedding> embeddings_;
  size_t left_;
  std::string error_;
};

}  // namespace lanner
