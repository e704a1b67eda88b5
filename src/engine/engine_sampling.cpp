// SPDX-License-Identifier: Apache-2.0
// EngineLoop: from a step's logits to its tokens.
#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "engine/engine_loop.h"

namespace lanner {

// Hidden states of the sequences whose embeddings are wanted.
void EngineLoop::pool(const SchedulerOutput& output, const Tensor& hidden) {
  int64_t row = 0;
  for (const ScheduledSequence& scheduled : output.sequences) {
    const int64_t first_row = row;
    row += scheduled.num_hidden;
    const auto found = by_sequence_.find(scheduled.id);
    if (found == by_sequence_.end() || !found->second->pooler) continue;
    RunningRequest& request = *found->second;
    request.cached_tokens = scheduler_->find(scheduled.id)->num_cached;
    // Thrown out and computed again.
    if (scheduled.start_position == 0) request.pooler->restart();
    request.pooler->add(hidden.rows(first_row, row));
  }
}

// Log-probabilities of a prompt: the row after token i tells of token i + 1. Before sample(), which
// changes logits.
void EngineLoop::score_prompts(const SchedulerOutput& output, const Tensor& logits) {
  int64_t row = 0;
  for (const ScheduledSequence& scheduled : output.sequences) {
    const int64_t first_row = row;
    row += scheduled.num_logits;
    const auto found = by_sequence_.find(scheduled.id);
    if (found == by_sequence_.end()) continue;
    RunningRequest& request = *found->second;
    const Sequence* sequence = scheduler_->find(scheduled.id);
    if (!request.sampling.prompt_logprobs || sequence == nullptr || sequence->has_output())
      continue;
    LANNER_CHECK(scheduled.num_logits == scheduled.num_tokens);
    const int begin = scheduled.start_position + 1;
    const int end = std::min(begin + scheduled.num_logits, sequence->num_prompt_tokens);
    const std::span<const int32_t> tokens(sequence->tokens);
    std::vector<PositionScores>& scores = request.prompt_logprobs;
    scores.resize(static_cast<size_t>(begin));  // computed again from here if it was thrown out
    scores.front().token = {tokens.front(), 0.0};
    if (begin >= end) continue;
    const auto next = tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    const int num_top = *request.sampling.prompt_logprobs;
    std::vector<PositionScores> scored =
        runner_->num_ranks() > 1
            ? runner_->score(first_row, next, num_top)
            : sampler_->score(logits.rows(first_row, first_row + std::ssize(next)), next, num_top,
                              runner_->threads());
    std::ranges::move(scored, std::back_inserter(scores));
  }
}

StepResult EngineLoop::sample(const SchedulerOutput& output, const Tensor& logits) {
  std::vector<SamplingRow> rows;
  std::vector<int32_t> first_rows;
  std::vector<RunningRequest*> requests;          // [rows]
  std::vector<const ScheduledSequence*> sampled;  // [rows]
  std::vector<std::optional<TokenCounts>> beam_counts;
  beam_counts.reserve(output.sequences.size());  // rows point into it
  int32_t row = 0;
  for (const ScheduledSequence& scheduled : output.sequences) {
    row += scheduled.num_logits;
    if (!scheduled.sample) continue;
    RunningRequest& request = *by_sequence_.at(scheduled.id);
    const Sequence& sequence = *scheduler_->find(scheduled.id);
    if (!sequence.has_output()) request.cached_tokens = sequence.num_cached;
    const std::span<const int32_t> tokens(sequence.tokens);
    SamplingRow added{.params = &request.sampling,
                      .seed = request.seed,
                      .stream = static_cast<uint32_t>(sequence.branch),
                      .step = static_cast<uint64_t>(sequence.num_output_tokens()),
                      .tokens = tokens,
                      .end_tokens = request.end_tokens,
                      .wants_logprobs = request.wants_logprobs()};
    if (request.beams) {
      added.num_candidates = request.beams->num_candidates();
      if (request.sequences.front().counts) {
        const auto prompt = static_cast<size_t>(sequence.num_prompt_tokens);
        std::optional<TokenCounts>& counts = beam_counts.emplace_back(tokens.first(prompt));
        for (const int32_t token : tokens.subspan(prompt)) counts->add_output(token);
        added.counts = &*counts;
      }
    } else {
      RunningSequence& running = request.sequences.at(static_cast<size_t>(sequence.branch));
      added.counts = running.counts ? &*running.counts : nullptr;
      added.constraint = running.constraint.get();
      added.drafts = output.tokens_of(scheduled).last(static_cast<size_t>(scheduled.num_drafts));
      if (scheduled.num_drafts > 0) added.distributions = running.distributions;
      if (!sequence.has_output()) added.width = sequence.params.width;
    }
    rows.push_back(added);
    first_rows.push_back(row - 1 - scheduled.num_drafts);
    requests.push_back(&request);
    sampled.push_back(&scheduled);
  }

  // With several ranks each has the logits of a part of the vocabulary.
  std::vector<SamplingResult> sampled_rows =
      runner_->num_ranks() > 1
          ? sample_split(rows, first_rows,
                         [&](const auto& wanted) { return runner_->select(wanted); })
          : sampler_->sample(logits, rows, first_rows, runner_->threads());
  StepResult result;
  for (size_t i = 0; i < rows.size();) {
    RunningRequest& request = *requests[i];
    if (request.beams) {
      const size_t count = request.beams->num_running();
      move_beams(request, std::span(sampled_rows).subspan(i, count), result);
      i += count;
      continue;
    }
    const ScheduledSequence& scheduled = *sampled[i];
    RunningSequence& running = *find(scheduled.id);
    SamplingResult& sampling = sampled_rows[i];
    if (rows[i].width > 1) {
      take_branches(request, sampling);
    } else {
      running.logprobs = std::move(sampling.logprobs);
      running.error = std::move(sampling.error);
    }
    if (scheduled.num_drafts > 0) note_drafts(running, scheduled, sampling.tokens, output);
    result.tokens.insert(result.tokens.end(), sampling.tokens.begin(), sampling.tokens.end());
    result.counts.push_back(static_cast<int32_t>(sampling.tokens.size()));
    result.parents.resize(result.tokens.size());
    ++i;
  }
  return result;
}

// The first tokens of the sequences that a prompt branches into: each goes on from the same state.
void EngineLoop::take_branches(RunningRequest& request, SamplingResult& sampling) {
  RunningSequence& first = request.sequences.front();
  first.error = std::move(sampling.error);
  if (sampling.tokens.front() == kNoToken) return;
  try {
    for (size_t i = request.sequences.size(); i-- > 0;) {
      RunningSequence& sequence = request.sequences[i];
      if (i > 0) {
        sequence.counts = first.counts;
        if (first.constraint) sequence.constraint = first.constraint->clone();
      }
      if (sequence.counts) sequence.counts->add_output(sampling.tokens[i]);
      if (sequence.constraint) sequence.constraint->accept(sampling.tokens[i]);
      if (!sampling.logprobs.empty()) sequence.logprobs = {std::move(sampling.logprobs[i])};
    }
  } catch (const std::exception& e) {  // of the constraint
    first.error = e.what();
    sampling.tokens = {kNoToken};
  }
}

// Lets the search of a request choose among the candidates of its beams, one row each.
void EngineLoop::move_beams(RunningRequest& request, std::span<SamplingResult> rows,
                            StepResult& result) {
  std::vector<std::vector<TokenScore>> candidates;
  std::vector<std::vector<PositionScores>> logprobs;
  bool failed = false;
  for (SamplingResult& row : rows) {
    failed = failed || row.candidates.empty();
    candidates.push_back(std::move(row.candidates));
    if (request.wants_logprobs()) logprobs.push_back(std::move(row.logprobs));
  }
  const bool goes_on = !failed && request.beams->advance(candidates, logprobs);
  if (goes_on) {
    const std::vector<int32_t>& tokens = request.beams->next_tokens();
    const std::vector<int32_t>& parents = request.beams->parents();
    result.tokens.insert(result.tokens.end(), tokens.begin(), tokens.end());
    result.parents.insert(result.parents.end(), parents.begin(), parents.end());
    const auto per_row = static_cast<int32_t>(tokens.size() / rows.size());
    result.counts.insert(result.counts.end(), rows.size(), per_row);
    return;
  }
  // Ended: update() passes over what is no longer there.
  result.counts.insert(result.counts.end(), rows.size(), 0);
  if (failed) {
    finish(request.id, FinishReason::kError, "the model's logits are not numbers");
    return;
  }
  end_beams(request);
}

// Tells the best beams, each as a whole.
void EngineLoop::end_beams(RunningRequest& request) {
  const std::vector<BeamSearch::Beam> best = request.beams->best();
  const RequestId id = request.id;
  const size_t count = request.sequences.size();
  for (size_t i = 0; i < best.size(); ++i) {
    TokenOutput output;
    output.index = static_cast<int>(i);
    output.token_ids = best[i].tokens;
    output.logprobs = best[i].logprobs;
    if (i == 0) output.prompt_logprobs = std::exchange(request.prompt_logprobs, {});
    output.finish_reason = best[i].at_end_token ? FinishReason::kStop : FinishReason::kLength;
    output.output_tokens = static_cast<int>(best[i].tokens.size());
    output.cached_tokens = request.cached_tokens;
    tell(request, output);
    if (!requests_.contains(id)) return;  // it threw
    request.sequences[i].ended = true;
  }
  if (best.size() == count) {
    request.num_left = 1;
    request.sequences.front().ended = false;
    return end_sequence(request, 0);
  }
  finish(id, FinishReason::kError, "fewer answers are possible than n asks for");
}

}  // namespace lanner
