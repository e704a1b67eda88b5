// SPDX-License-Identifier: Apache-2.0
// EngineLoop: tokens that are proposed, to be verified by the next step.
#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "engine/engine_loop.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// Of a sequence in one step, unless LlmConfig::draft_tokens says otherwise.
constexpr int kMostDrafts = 8;
static_assert(kMostDrafts <= kMaxDraftTokens);
// Of a lookup: so likely to be right, it needs no draft model, which costs time.
constexpr double kSureEnough = 0.5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A sequence whose drafts the draft model makes in this step.
struct Drafting {
  ScheduledSequence scheduled;
  const Sequence* sequence = nullptr;
  const RunningRequest* request = nullptr;
  RunningSequence* running = nullptr;
  std::optional<TokenCounts> counts = {};            // copies: the drafts may be wrong
  std::unique_ptr<TokenConstraint> constraint = {};  // likewise
  bool ended = false;                                // no more can be drawn
};

}  // namespace

// For the sequences that go on. A step with a part of a prompt has no time left over.
void EngineLoop::propose_drafts(const SchedulerOutput& output) {
  if ((!has_ngrams_ && draft_model_ == nullptr) || scheduler_->has_prompt()) return;
  const int most = fixed_draft_tokens_ > 0 ? fixed_draft_tokens_ : kMostDrafts;
  struct GoingOn {
    const Sequence* sequence;
    RunningSequence* running;
    std::span<const int32_t> ngram;
    size_t proposal;
  };
  std::vector<GoingOn> going_on;
  std::vector<DraftPlanner::Proposal> proposals;
  for (const ScheduledSequence& scheduled : output.sequences) {
    RunningSequence* running = find(scheduled.id);
    const Sequence* sequence = scheduler_->find(scheduled.id);
    if (sequence == nullptr || !sequence->has_output()) continue;
    proposals.emplace_back();
    if (running == nullptr || sequence->is_beam()) continue;
    running->drafts_by_model = false;
    running->distributions.clear();
    std::span<const int32_t> ngram;
    if (has_ngrams_) {
      if (!running->drafter) {
        running->drafter = std::make_unique<NgramDrafter>(most, ngram_acceptance_);
      }
      ngram = running->drafter->propose(sequence->tokens);
      // A draft model would be right more often.
      const bool is_doubtful = !ngram.empty() && running->drafter->chance(0) < kSureEnough;
      if (draft_model_ != nullptr && is_doubtful) ngram = {};
    }
    going_on.push_back({sequence, running, ngram, proposals.size() - 1});
    proposals.back() = proposal_of(*sequence, *running, ngram, most);
  }
  std::vector<int> counts(proposals.size(), most);
  if (fixed_draft_tokens_ == 0) counts = draft_planner_.plan(proposals);
  int catch_up_budget = max_tokens_per_step_;
  for (const GoingOn& it : going_on) {
    const int count = std::min(counts[it.proposal], proposals[it.proposal].most);
    if (count == 0) continue;
    if (proposals[it.proposal].by_model) {
      set_model_drafts(*it.sequence, *it.running, count, catch_up_budget);
    } else {
      scheduler_->set_drafts(it.sequence->params.id, it.ngram.first(static_cast<size_t>(count)));
    }
  }
}

DraftPlanner::Proposal EngineLoop::proposal_of(const Sequence& sequence, RunningSequence& running,
                                               std::span<const int32_t> ngram, int most) const {
  const std::optional<int> max_tokens = sequence.params.max_tokens;
  DraftPlanner::Proposal proposal;
  proposal.remaining = max_context_ - sequence.num_tokens();
  if (max_tokens) {
    proposal.remaining = std::min(proposal.remaining, *max_tokens - sequence.num_output_tokens());
  }
  most = std::clamp(proposal.remaining - 1, 0, most);  // the last token comes with any step
  if (!ngram.empty()) {
    proposal.most = std::min(most, static_cast<int>(ngram.size()));
    for (int i = 0; i < proposal.most; ++i) {
      proposal.chances[static_cast<size_t>(i)] = running.drafter->chance(i);
    }
    return proposal;
  }
  if (draft_model_ == nullptr || sequence.num_tokens() + most >= draft_model_->max_context()) {
    return proposal;
  }
  proposal.by_model = true;
  proposal.most = most;
  proposal.chances.fill(running.model_acceptance.rate());
  proposal.missing = sequence.num_computed -
                     draft_model_->num_computed(sequence.blocks.blocks(), sequence.num_computed);
  return proposal;
}

void EngineLoop::note_draft_seconds(double seconds) {
  draft_seconds_ += seconds;
  step_draft_seconds_ += seconds;
}

// Asks for room; fill_drafts() makes the tokens.
void EngineLoop::set_model_drafts(const Sequence& sequence, RunningSequence& running, int count,
                                  int& catch_up_budget) {
  if (!draft_model_->knows(std::span(sequence.tokens).last(2))) return;
  const auto start = Clock::now();
  const bool ready = catch_up(sequence, catch_up_budget);
  note_draft_seconds(seconds_since(start));
  if (!ready) return;
  running.drafts_by_model = true;
  scheduler_->set_drafts(sequence.params.id, std::vector<int32_t>(static_cast<size_t>(count), 0));
}

// Has the draft model compute what the large one has computed of the sequence, all but a token that
// can go along with the first draft. False: the rest must wait for the next step.
bool EngineLoop::catch_up(const Sequence& sequence, int& budget) {
  const std::span<const int32_t> blocks = sequence.blocks.blocks();
  const int begin = draft_model_->num_computed(blocks, sequence.num_computed);
  const int missing = sequence.num_computed - begin;
  if (missing == 0) return true;
  // A block of several sequences is written once, and not by all of them in one pass.
  const int32_t block = blocks[static_cast<size_t>(begin / kBlockSize)];
  if (missing == 1 && scheduler_->blocks().references(block) == 1) return true;
  const auto count = static_cast<size_t>(std::min(missing, budget));
  if (count == 0) return false;
  const auto tokens = std::span(sequence.tokens).subspan(static_cast<size_t>(begin), count);
  if (!draft_model_->knows(tokens)) return false;
  budget -= static_cast<int>(count);
  const auto start = Clock::now();
  draft_model_->forward(std::vector{DraftModel::Part{blocks, tokens, begin}},
                        /*wants_logits=*/false);
  draft_planner_.note_catch_up(static_cast<int>(count), seconds_since(start));
  return static_cast<int>(count) == missing;
}

// Puts the draft model's tokens into the places of a step that set_model_drafts() has asked for,
// one after another, all sequences together.
void EngineLoop::fill_drafts(SchedulerOutput& output) {
  if (draft_model_ == nullptr) return;
  draft_model_->follow(output);
  std::vector<Drafting> all;
  for (const ScheduledSequence& scheduled : output.sequences) {
    RunningSequence* running = scheduled.num_drafts > 0 ? find(scheduled.id) : nullptr;
    if (running == nullptr || !running->drafts_by_model) continue;
    Drafting& added = all.emplace_back(Drafting{.scheduled = scheduled,
                                                .sequence = scheduler_->find(scheduled.id),
                                                .request = by_sequence_.at(scheduled.id),
                                                .running = running});
    added.counts = running->counts;
    try {
      if (running->constraint) added.constraint = running->constraint->clone();
    } catch (const std::exception&) {
      added.ended = true;  // the verification will meet the same error, where it can be told
    }
  }
  const auto start = Clock::now();
  for (int round = 0; true; ++round) {
    std::vector<Drafting*> drafting;
    std::vector<DraftModel::Part> parts;
    std::vector<SamplingRow> rows;
    std::vector<int32_t> first_rows;
    for (Drafting& it : all) {
      if (it.ended || round >= it.scheduled.num_drafts) continue;
      const Sequence& sequence = *it.sequence;
      const auto blocks = output.blocks_of(it.scheduled);
      const int known = sequence.num_tokens() - 1;
      const int begin = round == 0 ? draft_model_->num_computed(blocks, known) : known + round;
      const auto tokens =
          round == 0 ? std::span(sequence.tokens).subspan(static_cast<size_t>(begin))
                     : output.tokens_of(it.scheduled).subspan(static_cast<size_t>(round), 1);
      drafting.push_back(&it);
      parts.push_back({blocks, tokens, begin});
      first_rows.push_back(static_cast<int32_t>(rows.size()));
      rows.push_back({.params = &it.request->sampling,
                      .seed = it.request->seed,
                      .stream = static_cast<uint32_t>(sequence.branch),
                      .step = static_cast<uint64_t>(sequence.num_output_tokens() + round),
                      .tokens = sequence.tokens,
                      .end_tokens = it.request->end_tokens,
                      .counts = it.counts ? &*it.counts : nullptr,
                      .constraint = it.constraint.get(),
                      .is_draft = true,
                      .wants_distribution = it.request->draws_drafts()});
    }
    if (parts.empty()) break;
    const auto pass_start = Clock::now();
    const Tensor logits = draft_model_->forward(parts, /*wants_logits=*/true);
    std::vector<SamplingResult> results =
        sampler_->sample(logits, rows, first_rows, runner_->threads());
    draft_planner_.note_pass(static_cast<int>(rows.size()), seconds_since(pass_start));
    for (size_t i = 0; i < results.size(); ++i) {
      Drafting& it = *drafting[i];
      const int32_t token = results[i].tokens.front();
      it.ended = token == kNoToken;  // what is left of its places will be found wrong
      if (it.ended) continue;
      const int32_t first =
          it.scheduled.token_begin + it.scheduled.num_tokens - it.scheduled.num_drafts;
      output.tokens[static_cast<size_t>(first + round)] = token;
      if (it.request->draws_drafts()) {
        it.running->distributions.push_back(std::move(results[i].distribution));
      }
    }
  }
  note_draft_seconds(seconds_since(start));
}

// What became of the drafts of a step.
void EngineLoop::note_drafts(RunningSequence& running, const ScheduledSequence& scheduled,
                             std::span<const int32_t> tokens, const SchedulerOutput& output) {
  const auto drafts = output.tokens_of(scheduled).last(static_cast<size_t>(scheduled.num_drafts));
  const auto accepted =
      static_cast<int>(std::ranges::mismatch(drafts, tokens).in1 - drafts.begin());
  if (running.drafts_by_model) {  // those of a lookup are its drafter's business
    running.model_acceptance.learn(scheduled.num_drafts, accepted);
    model_acceptance_.learn(scheduled.num_drafts, accepted);
  }
  const std::lock_guard lock(mutex_);
  stats_.draft_tokens += scheduled.num_drafts;
  stats_.accepted_tokens += accepted;
}

}  // namespace lanner
