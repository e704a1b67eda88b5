// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iterator>

#include "base/error.h"
#include "sampling/logits_processors.h"
#include "sampling/philox.h"
#include "sampling/split_logits.h"

namespace lanner {
namespace {

// One sequence: its rows, one after another as long as its drafts come true.
class SplitSequence {
 public:
  SplitSequence(const SamplingRow& row, int32_t first_row) : row_(row), next_row_(first_row) {}

  bool is_done() const { return is_done_; }
  SamplingResult& result() { return result_; }

  // What to choose from its next row; nothing where its constraint fails.
  bool ask(RowSelection& wanted) {
    return guarded([&] { fill(wanted); });
  }

  void take(RowChoice choice) {
    guarded([&] { absorb(std::move(choice)); });
  }

 private:
  const SamplingParams& params() const { return *row_.params; }
  uint64_t step() const { return row_.step + result_.tokens.size(); }

  // An error ends the sequence.
  template <typename Task>
  bool guarded(const Task& task) {
    try {
      task();
      return true;
    } catch (const std::exception& e) {
      result_.tokens = {kNoToken};
      result_.logprobs.clear();
      result_.error = e.what();
      is_done_ = true;
      return false;
    }
  }

  void fill(RowSelection& wanted) {
    wanted.row = next_row_;
    wanted.temperature = params().temperature;
    wanted.top_k = params().top_k;
    wanted.top_p = params().top_p;
    wanted.min_p = params().min_p;
    wanted.typical_p = params().typical_p;
    wanted.num_candidates = row_.num_candidates;
    wanted.wants_logprobs = row_.wants_logprobs;
    wanted.num_logprobs = params().logprobs.value_or(0);
    const uint64_t at = step();
    for (int i = 0; i < row_.width; ++i) {
      wanted.uniforms.push_back(uniform_at(row_.seed, at, row_.stream + static_cast<uint32_t>(i)));
    }
    LogitEdits& edits = wanted.edits;
    if (row_.constraint != nullptr) {
      const std::span<const uint32_t> allowed = row_.constraint->allowed();
      edits.has_mask = true;
      edits.mask.assign(allowed.begin(), allowed.end());
    }
    edits.biases = params().logit_bias;
    edits.banned = bad_word_ends(params().bad_word_ids, row_.tokens, result_.tokens);
    if (step() < static_cast<uint64_t>(params().min_tokens)) {
      edits.banned.insert(edits.banned.end(), row_.end_tokens.begin(), row_.end_tokens.end());
    }
    if (!has_penalties(params())) return;
    const auto entries = row_.counts->entries();
    edits.counts.assign(entries.begin(), entries.end());
    edits.repetition_penalty = params().repetition_penalty;
    edits.frequency_penalty = params().frequency_penalty;
    edits.presence_penalty = params().presence_penalty;
  }

  void absorb(RowChoice choice) {
    is_done_ = true;
    if (row_.num_candidates > 0) {
      if (choice.candidates.empty()) result_.tokens.push_back(kNoToken);
      result_.candidates = std::move(choice.candidates);
      result_.logprobs = std::move(choice.logprobs);
      return;
    }
    if (choice.tokens.empty()) {
      result_.tokens.push_back(kNoToken);
      return;
    }
    result_.tokens.insert(result_.tokens.end(), choice.tokens.begin(), choice.tokens.end());
    std::ranges::move(choice.logprobs, std::back_inserter(result_.logprobs));
    if (row_.width > 1) return;
    accept(result_.tokens.back());
    if (next_draft_ < row_.drafts.size() && result_.tokens.back() == row_.drafts[next_draft_]) {
      ++next_draft_;
      ++next_row_;
      is_done_ = false;
      return;
    }
    if (row_.constraint == nullptr || row_.wants_logprobs) return;
    for (const int32_t token : row_.constraint->forced()) {
      result_.tokens.push_back(token);
      accept(token);
    }
  }

  void accept(int32_t token) {
    if (row_.counts != nullptr) row_.counts->add_output(token);
    if (row_.constraint != nullptr) row_.constraint->accept(token);
  }

  const SamplingRow& row_;
  int32_t next_row_;
  size_t next_draft_ = 0;
  bool is_done_ = false;
  SamplingResult result_;
};

}  // namespace

std::vector<SamplingResult> sample_split(std::span<const SamplingRow> rows,
                                         std::span<const int32_t> first_rows,
                                         const SelectTokens& select) {
  LANNER_CHECK(rows.size() == first_rows.size());
  std::vector<SplitSequence> sequences;
  for (size_t i = 0; i < rows.size(); ++i) sequences.emplace_back(rows[i], first_rows[i]);
  for (;;) {
    std::vector<RowSelection> wanted;
    std::vector<SplitSequence*> asking;
    for (SplitSequence& sequence : sequences) {
      if (sequence.is_done()) continue;
      RowSelection selection;
      if (!sequence.ask(selection)) continue;
      wanted.push_back(std::move(selection));
      asking.push_back(&sequence);
    }
    if (wanted.empty()) break;
    std::vector<RowChoice> choices = select(wanted);
    for (size_t i = 0; i < asking.size(); ++i) asking[i]->take(std::move(choices[i]));
  }
  std::vector<SamplingResult> results;
  for (SplitSequence& sequence : sequences) results.push_back(std::move(sequence.result()));
  return results;
}

}  // namespace lanner
