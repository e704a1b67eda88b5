// SPDX-License-Identifier: Apache-2.0
#include "engine/embedding.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace lanner {

void take_embedding(const TokenOutput& news, bool normalized, EmbeddingOutput& output) {
  output.finish_reason = news.finish_reason;
  output.error = news.error;
  output.embedding.cached_tokens = news.cached_tokens;
  if (news.finish_reason != FinishReason::kStop) return;
  double squares = 0;
  for (const float value : news.embedding) squares += double{value} * value;
  const bool has_length = squares > 0 || !normalized;
  if (!std::isfinite(squares) || !has_length || news.embedding.empty()) {
    output.finish_reason = FinishReason::kError;
    output.error = "the model's hidden states are not numbers, or all 0";
    return;
  }
  output.embedding.values = news.embedding;
  if (!normalized) return;
  const double factor = 1 / std::sqrt(squares);
  for (float& value : output.embedding.values) value = static_cast<float>(value * factor);
}

void EmbeddingCollector::add(size_t index, const EmbeddingOutput& output) {
  const std::lock_guard lock(mutex_);
  embeddings_[index] = output.embedding;
  if (output.finish_reason != FinishReason::kStop && error_.empty()) {
    error_ = output.error.empty() ? "the request was aborted" : output.error;
  }
  if (--left_ == 0) done_.notify_all();
}

std::vector<TextEmbedding> EmbeddingCollector::wait() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return left_ == 0; });
  if (!error_.empty()) throw Error(ErrorCode::kInternal, error_);
  return std::move(embeddings_);
}

}  // namespace lanner
