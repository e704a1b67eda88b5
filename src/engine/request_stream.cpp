// SPDX-License-Identifier: Apache-2.0
#include "engine/request_stream.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace lanner {

RequestStream::RequestStream(RequestId id, const Tokenizer* tokenizer,
                             const SamplingParams& sampling, int prompt_tokens,
                             int truncated_tokens, const std::vector<int32_t>& shown_tokens,
                             OutputCallback on_output)
    : id_(id),
      tokenizer_(tokenizer),
      n_(sampling.n),
      min_tokens_(sampling.min_tokens),
      include_stop_(sampling.include_stop),
      wants_logprobs_(sampling.logprobs.has_value()),
      ranks_(sampling.best_of.value_or(sampling.n) > sampling.n),
      prompt_tokens_(prompt_tokens),
      truncated_tokens_(truncated_tokens),
      num_left_(sampling.n),
      on_output_(std::move(on_output)) {
  const int count = sampling.best_of.value_or(sampling.n);
  for (int i = 0; i < count; ++i) {
    Answer& answer = answers_.emplace_back(Answer{
        .decoder = {}, .stop = StopStringMatcher(sampling.stop), .finished = false, .all = {}});
    if (tokenizer != nullptr) {
      answer.decoder.emplace(*tokenizer, /*skip_special=*/true, shown_tokens);
    }
  }
}

bool RequestStream::push(const TokenOutput& news) {
  Answer& answer = answers_.at(static_cast<size_t>(news.index));
  RequestOutput output = to_output(news);
  const bool stopped = add_text(answer, news, output);
  answer.finished = output.finished();
  if (ranks_) {
    collect(answer, news, std::move(output));
  } else {
    emit(output);
  }
  return !stopped;
}

RequestOutput RequestStream::to_output(const TokenOutput& news) const {
  RequestOutput output;
  output.id = id_;
  output.index = news.index;
  output.token_ids = news.token_ids;
  if (wants_logprobs_) output.logprobs = to_logprobs(news.logprobs);
  output.prompt_logprobs = to_logprobs(news.prompt_logprobs);
  output.finish_reason = news.finish_reason;
  output.error = news.error;
  output.prompt_tokens = prompt_tokens_;
  output.truncated_tokens = truncated_tokens_;
  output.cached_tokens = news.cached_tokens;
  output.output_tokens = news.output_tokens;
  return output;
}

bool RequestStream::add_text(Answer& answer, const TokenOutput& news, RequestOutput& output) const {
  // Not after an error: it may have been the decoder's own.
  if (!answer.decoder || news.finish_reason == FinishReason::kError) return false;
  const auto count = static_cast<int>(news.token_ids.size());
  const auto stop_at = [&](const StopStringMatcher::Result& found, int num_tokens) {
    output.text += found.text;
    if (!found.stopped) return false;
    if (include_stop_) output.text += found.stop;
    output.finish_reason = FinishReason::kStop;
    output.token_ids.resize(static_cast<size_t>(num_tokens));
    output.logprobs.resize(std::min(output.logprobs.size(), output.token_ids.size()));
    output.output_tokens -= count - num_tokens;
    return true;
  };
  for (int i = 0; i < count; ++i) {
    const std::string piece = answer.decoder->push(news.token_ids[static_cast<size_t>(i)]);
    if (news.output_tokens - count + i + 1 <= min_tokens_) {
      output.text += piece;
    } else if (stop_at(answer.stop.push(piece), i + 1)) {
      return true;
    }
  }
  if (!output.finished()) return false;
  if (stop_at(answer.stop.push(answer.decoder->flush()), count)) return true;
  output.text += answer.stop.flush();
  return false;
}

TokenLogprob RequestStream::to_logprob(const TokenScore& score) const {
  TokenLogprob logprob{.id = score.id, .logprob = score.logprob, .bytes = {}};
  if (tokenizer_ != nullptr) logprob.bytes = tokenizer_->token_bytes(score.id);
  return logprob;
}

std::vector<PositionLogprobs> RequestStream::to_logprobs(
    const std::vector<PositionScores>& scores) const {
  std::vector<PositionLogprobs> logprobs;
  logprobs.reserve(scores.size());
  for (const PositionScores& position : scores) {
    PositionLogprobs& added = logprobs.emplace_back();
    added.token = to_logprob(position.token);
    for (const TokenScore& top : position.top) added.top.push_back(to_logprob(top));
  }
  return logprobs;
}

void RequestStream::emit(RequestOutput& output) {
  if (output.finished()) output.is_last = --num_left_ == 0;
  on_output_(output);
}

// Keeps what a sequence has said until all have ended, then tells the best ones.
void RequestStream::collect(Answer& answer, const TokenOutput& news, RequestOutput output) {
  RequestOutput& all = answer.all;
  const size_t kept = output.token_ids.size();
  for (size_t i = 0; i < std::min(kept, news.logprobs.size()); ++i) {
    answer.logprob_sum += news.logprobs[i].token.logprob;
  }
  output.text.insert(0, all.text);
  output.token_ids.insert(output.token_ids.begin(), all.token_ids.begin(), all.token_ids.end());
  output.logprobs.insert(output.logprobs.begin(), all.logprobs.begin(), all.logprobs.end());
  if (output.prompt_logprobs.empty()) output.prompt_logprobs = std::move(all.prompt_logprobs);
  output.cached_tokens = std::max(output.cached_tokens, all.cached_tokens);
  all = std::move(output);
  if (!std::ranges::all_of(answers_, &Answer::finished)) return;

  std::vector<size_t> order(answers_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto score = [&](size_t i) {
    const Answer& candidate = answers_[i];
    const auto tokens = static_cast<double>(candidate.all.token_ids.size());
    return tokens > 0 ? candidate.logprob_sum / tokens : -std::numeric_limits<double>::infinity();
  };
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return score(a) > score(b); });
  const std::vector<PositionLogprobs> prompt_logprobs =
      std::move(answers_.front().all.prompt_logprobs);
  for (size_t i = 0; i < static_cast<size_t>(n_); ++i) {
    RequestOutput& best = answers_[order[i]].all;
    best.index = static_cast<int>(i);
    best.prompt_logprobs = i == 0 ? prompt_logprobs : std::vector<PositionLogprobs>{};
    emit(best);
  }
}

}  // namespace lanner
