// SPDX-License-Identifier: Apache-2.0
#include "sampling/split_logits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "sampling/logits_processors.h"

namespace lanner {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kFirstOfTail = 64;
constexpr size_t kTailGrowth = 8;

enum class SliceState : uint32_t { kNone, kSome, kBad };  // of what can be drawn: -infinity, NaN

// What a rank says of its part of a row.
struct SliceSum {
  SliceState state = SliceState::kNone;
  float best = -kInfinity;
  double weight = 0;  // of all, the best one's being 1
};

// One of its best tokens.
struct SliceToken {
  float logit = -kInfinity;
  float raw = 0;  // before it was changed
  int32_t id = -1;
};

bool goes_before(const SliceToken& a, const SliceToken& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

SliceState state_of(std::span<const float> logits, Candidates& candidates) {
  if (candidates.reset(logits)) return SliceState::kSome;
  const bool is_bad = std::ranges::any_of(logits, [](float x) { return !(x < kInfinity); });
  return is_bad ? SliceState::kBad : SliceState::kNone;
}

SliceSum sum_of(SliceState state, Candidates& candidates) {
  if (state != SliceState::kSome) return {.state = state};
  return {.state = state, .best = candidates.best_logit(), .weight = candidates.total_weight()};
}

// The sums of all ranks for one row.
struct RowSum {
  SliceState state = SliceState::kNone;
  float best = -kInfinity;
  double weight = 0;            // of the whole row, the best one's being 1
  std::vector<double> weights;  // [num_ranks]

  double log_total() const { return best + std::log(weight); }
};

RowSum merge(std::span<const SliceSum> sums, double temperature) {
  RowSum row;
  for (const SliceSum& sum : sums) {
    if (sum.state == SliceState::kBad) row.state = SliceState::kBad;
    if (sum.state == SliceState::kSome && row.state == SliceState::kNone) {
      row.state = SliceState::kSome;
    }
    row.best = std::max(row.best, sum.best);
  }
  for (const SliceSum& sum : sums) {
    const double factor = sum.state == SliceState::kSome
                              ? std::exp((double{sum.best} - row.best) / temperature)
                              : 0.0;
    row.weights.push_back(sum.weight * factor);
    row.weight += row.weights.back();
  }
  return row;
}

// What all ranks say, [rank][count], of records that each has `mine` of.
template <typename T>
std::vector<std::vector<T>> gather(const std::vector<T>& mine, const VocabSlice& slice) {
  std::vector<T> all(mine.size() * static_cast<size_t>(slice.num_ranks));
  if (!mine.empty()) {
    slice.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  }
  std::vector<std::vector<T>> by_rank;
  for (auto it = all.begin(); std::ssize(by_rank) < slice.num_ranks;
       it += static_cast<std::ptrdiff_t>(mine.size())) {
    by_rank.emplace_back(it, it + static_cast<std::ptrdiff_t>(mine.size()));
  }
  return by_rank;
}

// The same of one row: records [begin, begin + count) of every rank.
template <typename T>
std::vector<T> of_row(const std::vector<std::vector<T>>& by_rank, size_t begin, size_t count) {
  std::vector<T> row;
  for (const std::vector<T>& records : by_rank) {
    row.insert(row.end(), records.begin() + static_cast<std::ptrdiff_t>(begin),
               records.begin() + static_cast<std::ptrdiff_t>(begin + count));
  }
  return row;
}

std::vector<SliceToken> merged(std::vector<SliceToken> tokens) {
  std::erase_if(tokens, [](const SliceToken& token) { return token.logit == -kInfinity; });
  std::ranges::sort(tokens, goes_before);
  return tokens;
}

std::vector<TokenScore> scores_of(std::span<const SliceToken> tokens, size_t count,
                                  double log_total) {
  std::vector<TokenScore> scores;
  for (const SliceToken& token : tokens.first(std::min(count, tokens.size()))) {
    scores.push_back({token.id, token.logit - log_total});
  }
  return scores;
}

// The edits of a row, on a slice of it.
void apply(const LogitEdits& edits, const VocabSlice& slice, std::span<float> logits) {
  if (logits.empty()) return;
  if (edits.has_mask) {
    const auto first = std::min(static_cast<size_t>(slice.begin) / 32, edits.mask.size());
    apply_token_mask(logits, std::span(edits.mask).subspan(first));
  }
  // Ids outside the slice are no index of it, and passed over.
  std::vector<LogitBias> biases = edits.biases;
  for (LogitBias& entry : biases) entry.token_id -= slice.begin;
  apply_logit_bias(logits, biases);
  std::vector<int32_t> banned = edits.banned;
  for (int32_t& id : banned) id -= slice.begin;
  ban_tokens(logits, banned);
  if (edits.counts.empty()) return;
  std::vector<TokenCounts::Entry> entries = edits.counts;
  for (TokenCounts::Entry& entry : entries) entry.id -= slice.begin;
  const TokenCounts counts = TokenCounts::of_entries(std::move(entries));
  apply_repetition_penalty(logits, counts, edits.repetition_penalty);
  apply_frequency_penalty(logits, counts, edits.frequency_penalty);
  apply_presence_penalty(logits, counts, edits.presence_penalty);
}

// One row while it is worked on.
class Row {
 public:
  Row(const RowSelection& wanted, std::span<float> logits, const VocabSlice& slice)
      : wanted_(wanted), logits_(logits), slice_(slice) {}

  bool needs_raw_sum() const { return wanted_.wants_logprobs || wanted_.num_candidates > 0; }
  size_t num_raw_tokens() const {
    return wanted_.wants_logprobs ? static_cast<size_t>(wanted_.num_logprobs) : 0;
  }

  void sum_raw() {
    state_ = state_of(logits_, candidates_);
    sum_ = sum_of(state_, candidates_);
    if (wanted_.wants_logprobs) raw_.assign(logits_.begin(), logits_.end());
    list(num_raw_tokens());
  }
  void set_raw(const RowSum& sum, std::vector<SliceToken> best) {
    log_total_ = sum.log_total();
    is_bad_ = sum.state != SliceState::kSome;
    top_ = scores_of(best, num_raw_tokens(), log_total_);
  }

  // The row as tokens are chosen from it.
  void process() {
    if (wanted_.num_candidates > 0) {
      for (float& logit : logits_) logit -= static_cast<float>(log_total_);
    }
    apply(wanted_.edits, slice_, logits_);
    state_ = state_of(logits_, candidates_);
    if (state_ == SliceState::kSome && wanted_.temperature > 0) {
      candidates_.set_temperature(wanted_.temperature);
    }
    const bool needs_weight =
        wanted_.temperature > 0 && wanted_.top_k == 0 && wanted_.num_candidates == 0;
    sum_ = {.state = state_, .best = candidates_.best_logit()};
    if (needs_weight) sum_ = sum_of(state_, candidates_);
    list(first_count());
  }

  void list_more() { list(listed_.size() * kTailGrowth); }

  // With what all ranks have listed. False: that does not tell; more of them must be listed.
  // scratch: a row of the whole vocabulary, or empty; -infinity before and after.
  bool choose(const RowSum& sum, const std::vector<std::vector<SliceToken>>& lists,
              std::vector<float>& scratch) {
    whole_ = sum;
    is_bad_ = is_bad_ || sum.state != SliceState::kSome;
    if (is_bad_ || draws_from_slices()) return true;
    std::vector<SliceToken> all;
    for (const auto& tokens : lists) all.insert(all.end(), tokens.begin(), tokens.end());
    all = merged(std::move(all));
    if (wanted_.num_candidates > 0) {
      choose_candidates(all);
      return true;
    }
    if (wanted_.temperature == 0) {
      for (size_t i = 0; i < wanted_.uniforms.size(); ++i) take(all.front());
      return true;
    }
    if (wanted_.top_k > 0) {
      draw_from(all, /*total_weight=*/0, scratch);
      return true;
    }
    const size_t num_certain = count_certain(all, lists);
    if (num_certain < all.size() || has_more(lists)) {
      all.resize(num_certain);
      if (!reaches_far_enough(all)) return false;
    }
    draw_from(all, whole_.weight, scratch);
    return true;
  }

  // Without a limit the sums decide: the number falls into one rank's part.
  bool draws_from_slices() const {
    return wanted_.num_candidates == 0 && wanted_.temperature > 0 && first_count() == 0;
  }
  // This rank's tokens among those drawn, in place of the others' nothing.
  std::vector<SliceToken> draw_own() {
    std::vector<SliceToken> drawn(wanted_.uniforms.size());
    if (is_bad_) return drawn;
    for (size_t i = 0; i < drawn.size(); ++i) {
      double target = wanted_.uniforms[i] * whole_.weight;
      int owner = -1;
      double own_target = 0;
      for (int rank = 0; rank < slice_.num_ranks; ++rank) {
        const double weight = whole_.weights[static_cast<size_t>(rank)];
        if (weight == 0) continue;
        owner = rank;
        own_target = target / weight;
        if (target < weight) break;
        target -= weight;
      }
      if (owner != slice_.rank) continue;
      const int32_t id = candidates_.draw(std::clamp(own_target, 0.0, kBelowOne));
      drawn[i] = {.logit = 0, .raw = raw_of(id), .id = id + slice_.begin};
    }
    return drawn;
  }
  void take_drawn(std::span<const SliceToken> of_all_ranks) {
    if (is_bad_) return;
    const size_t count = wanted_.uniforms.size();
    for (size_t i = 0; i < count; ++i) {
      for (size_t j = i; j < of_all_ranks.size(); j += count) {
        if (of_all_ranks[j].id >= 0) take(of_all_ranks[j]);
      }
    }
  }

  const RowSelection& wanted() const { return wanted_; }
  const SliceSum& sum() const { return sum_; }
  const std::vector<SliceToken>& listed() const { return listed_; }
  RowChoice& choice() { return choice_; }

 private:
  static constexpr double kBelowOne = 1.0 - std::numeric_limits<double>::epsilon();

  // Tokens that each rank lists at first.
  size_t first_count() const {
    if (wanted_.num_candidates > 0) return static_cast<size_t>(wanted_.num_candidates);
    if (wanted_.temperature == 0) return 1;
    if (wanted_.top_k > 0) return static_cast<size_t>(wanted_.top_k);
    if (wanted_.top_p >= 1 && wanted_.min_p <= 0 && wanted_.typical_p >= 1) return 0;
    return kFirstOfTail;
  }

  float raw_of(int32_t id) const { return raw_.empty() ? 0.0f : raw_[static_cast<size_t>(id)]; }

  // As many on every rank: the largest part has no more.
  void list(size_t count) {
    count = std::min(count, static_cast<size_t>(slice_.largest));
    listed_.assign(count, SliceToken{});
    if (state_ != SliceState::kSome) return;
    if (count == 1) {
      const int32_t id = candidates_.best();
      listed_[0] = {candidates_.best_logit(), raw_of(id), id + slice_.begin};
      return;
    }
    for (size_t i = 0; i < std::min(count, candidates_.size()); ++i) {
      const Candidate& c = candidates_.nth(i);
      listed_[i] = {c.logit, raw_of(c.id), c.id + slice_.begin};
    }
  }

  // A rank whose list is full may have more tokens than those in it.
  bool has_more(const std::vector<SliceToken>& list) const {
    return list.size() < static_cast<size_t>(slice_.largest) && list.back().logit != -kInfinity;
  }
  bool has_more(const std::vector<std::vector<SliceToken>>& lists) const {
    return std::ranges::any_of(lists, [&](const auto& list) { return has_more(list); });
  }

  // The first ones of `all` that no token can come before that is not listed.
  size_t count_certain(std::span<const SliceToken> all,
                       const std::vector<std::vector<SliceToken>>& lists) const {
    size_t count = all.size();
    for (const std::vector<SliceToken>& list : lists) {
      if (!has_more(list)) continue;
      const auto after = std::ranges::upper_bound(all, list.back(), goes_before);
      count = std::min(count, static_cast<size_t>(after - all.begin()));
    }
    return count;
  }

  // Whether all that top-p and min-p leave over is among the first tokens.
  bool reaches_far_enough(const std::vector<SliceToken>& first) const {
    const double temperature = wanted_.temperature;
    if (wanted_.top_p < 1) {
      double weight = 0;
      for (const SliceToken& token : first) {
        weight += std::exp((double{token.logit} - whole_.best) / temperature);
        // A little more than enough, as this is rounded otherwise than what will be asked for.
        if (weight >= std::min(wanted_.top_p * 1.000001, 1.0) * whole_.weight) return true;
      }
    }
    if (wanted_.min_p <= 0 || first.empty()) return false;
    return first.back().logit < whole_.best + temperature * std::log(wanted_.min_p);
  }

  // As if they were the whole row: the tokens left out are those that cannot be drawn. In their
  // places of the vocabulary they are drawn in the same order, and added up in the same.
  // total_weight 0: that of what top-k leaves.
  void draw_from(const std::vector<SliceToken>& tokens, double total_weight,
                 std::vector<float>& scratch) {
    if (slice_.rank != 0) return;
    scratch.resize(static_cast<size_t>(slice_.vocab_size), -kInfinity);
    for (const SliceToken& token : tokens) scratch[static_cast<size_t>(token.id)] = token.logit;
    Candidates drawn;
    LANNER_CHECK(drawn.reset(scratch));
    drawn.set_temperature(wanted_.temperature);
    apply_top_k(drawn, wanted_.top_k);
    if (wanted_.top_p < 1) {
      drawn.keep_weight(wanted_.top_p * (total_weight > 0 ? total_weight : drawn.total_weight()));
    }
    apply_min_p(drawn, wanted_.min_p);
    apply_typical_p(drawn, wanted_.typical_p);
    for (const double uniform : wanted_.uniforms) {
      take(*std::ranges::find(tokens, drawn.draw(uniform), &SliceToken::id));
    }
    for (const SliceToken& token : tokens) scratch[static_cast<size_t>(token.id)] = -kInfinity;
  }

  void take(const SliceToken& token) {
    choice_.tokens.push_back(token.id);
    if (!wanted_.wants_logprobs) return;
    choice_.logprobs.push_back({.token = {token.id, token.raw - log_total_}, .top = top_});
  }

  void choose_candidates(const std::vector<SliceToken>& all) {
    const size_t count = std::min(all.size(), static_cast<size_t>(wanted_.num_candidates));
    for (const SliceToken& token : std::span(all).first(count)) {
      choice_.candidates.push_back({token.id, token.logit});
      if (!wanted_.wants_logprobs) continue;
      choice_.logprobs.push_back({.token = {token.id, token.raw - log_total_}, .top = top_});
    }
  }

  const RowSelection& wanted_;
  std::span<float> logits_;
  const VocabSlice& slice_;
  Candidates candidates_;
  SliceState state_ = SliceState::kNone;
  SliceSum sum_;
  std::vector<float> raw_;
  std::vector<SliceToken> listed_;
  double log_total_ = 0;
  std::vector<TokenScore> top_;
  RowSum whole_;
  bool is_bad_ = false;
  RowChoice choice_;
};

using Rows = std::vector<Row*>;

void on_each(const Rows& rows, ThreadPool& threads, const std::function<void(Row&)>& task) {
  threads.parallel_for_dynamic(std::ssize(rows), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) task(*rows[static_cast<size_t>(i)]);
  });
}

struct Gathered {
  std::vector<std::vector<SliceSum>> sums;      // [rank][row]
  std::vector<std::vector<SliceToken>> tokens;  // [rank][tokens of all rows]
};

Gathered gather_rows(const Rows& rows, const VocabSlice& slice) {
  std::vector<SliceSum> sums;
  std::vector<SliceToken> tokens;
  for (const Row* row : rows) {
    sums.push_back(row->sum());
    tokens.insert(tokens.end(), row->listed().begin(), row->listed().end());
  }
  return {gather(sums, slice), gather(tokens, slice)};
}

// Log-probabilities are those of the logits as they were, whatever is done to them afterwards.
void sum_raw(const Rows& all, const VocabSlice& slice, ThreadPool& threads) {
  Rows rows;
  std::ranges::copy_if(all, std::back_inserter(rows),
                       [](Row* row) { return row->needs_raw_sum(); });
  if (rows.empty()) return;
  on_each(rows, threads, [](Row& row) { row.sum_raw(); });
  const Gathered gathered = gather_rows(rows, slice);
  size_t at = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t count = rows[i]->listed().size();
    rows[i]->set_raw(merge(of_row(gathered.sums, i, 1), 1.0),
                     merged(of_row(gathered.tokens, at, count)));
    at += count;
  }
}

void choose(Rows rows, const VocabSlice& slice, ThreadPool& threads) {
  std::vector<float> scratch;
  while (!rows.empty()) {
    const Gathered gathered = gather_rows(rows, slice);
    Rows undecided;
    size_t at = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      Row& row = *rows[i];
      const size_t count = row.listed().size();
      std::vector<std::vector<SliceToken>> lists;
      for (const std::vector<SliceToken>& tokens : gathered.tokens) {
        const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(at);
        lists.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(count));
      }
      at += count;
      const double temperature = row.wanted().temperature > 0 ? row.wanted().temperature : 1.0;
      if (!row.choose(merge(of_row(gathered.sums, i, 1), temperature), lists, scratch)) {
        undecided.push_back(&row);
      }
    }
    on_each(undecided, threads, [](Row& row) { row.list_more(); });
    rows = std::move(undecided);
  }
}

void draw_from_slices(const Rows& all, const VocabSlice& slice) {
  Rows rows;
  std::ranges::copy_if(all, std::back_inserter(rows),
                       [](Row* row) { return row->draws_from_slices(); });
  if (rows.empty()) return;
  std::vector<SliceToken> mine;
  for (Row* row : rows) {
    const std::vector<SliceToken> drawn = row->draw_own();
    mine.insert(mine.end(), drawn.begin(), drawn.end());
  }
  const auto drawn = gather(mine, slice);
  size_t at = 0;
  for (Row* row : rows) {
    const size_t count = row->wanted().uniforms.size();
    row->take_drawn(of_row(drawn, at, count));
    at += count;
  }
}

std::span<float> row_values(const Tensor& logits, int64_t row, const VocabSlice& slice) {
  if (slice.size == 0) return {};
  LANNER_CHECK(logits.dtype() == DType::kF32 && logits.size(-1) == slice.size);
  check_argument(row >= 0 && row < logits.num_rows(), "[sampling] logits are {}, expected row {}",
                 logits.shape(), row);
  return {logits.row<float>(row), static_cast<size_t>(slice.size)};
}

}  // namespace

std::vector<RowChoice> select_tokens(const Tensor& logits, std::span<const RowSelection> wanted,
                                     const VocabSlice& slice, ThreadPool& threads) {
  std::vector<Row> rows;
  rows.reserve(wanted.size());
  Rows pointers;
  for (const RowSelection& selection : wanted) {
    rows.emplace_back(selection, row_values(logits, selection.row, slice), slice);
    pointers.push_back(&rows.back());
  }
  sum_raw(pointers, slice, threads);
  on_each(pointers, threads, [](Row& row) { row.process(); });
  choose(pointers, slice, threads);
  draw_from_slices(pointers, slice);
  std::vector<RowChoice> choices;
  for (Row& row : rows) choices.push_back(std::move(row.choice()));
  return choices;
}

std::vector<PositionScores> score_tokens(const Tensor& logits, int64_t first_row,
                                         std::span<const int32_t> tokens, int num_top,
                                         const VocabSlice& slice, ThreadPool& threads) {
  const auto top = static_cast<size_t>(std::min(num_top, slice.largest));
  std::vector<SliceSum> sums(tokens.size());
  std::vector<SliceToken> listed(tokens.size() * (top + 1));  // the token itself, then the best
  threads.parallel_for_dynamic(std::ssize(tokens), 1, [&](int64_t begin, int64_t end, int) {
    Candidates candidates;
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const std::span<float> values =
          row_values(logits, first_row + static_cast<int64_t>(i), slice);
      const SliceState state = state_of(values, candidates);
      sums[i] = sum_of(state, candidates);
      SliceToken* out = &listed[i * (top + 1)];
      const int32_t own = tokens[i] - slice.begin;
      if (own >= 0 && own < slice.size) out[0] = {values[static_cast<size_t>(own)], 0, tokens[i]};
      for (size_t j = 0; j < top && state == SliceState::kSome && j < candidates.size(); ++j) {
        const Candidate& c = candidates.nth(j);
        out[j + 1] = {c.logit, 0, c.id + slice.begin};
      }
    }
  });
  const auto all_sums = gather(sums, slice);
  const auto all_listed = gather(listed, slice);
  std::vector<PositionScores> scores;
  for (size_t i = 0; i < tokens.size(); ++i) {
    PositionScores score;
    score.token = {tokens[i], std::numeric_limits<double>::quiet_NaN()};
    const RowSum sum = merge(of_row(all_sums, i, 1), 1.0);
    if (sum.state == SliceState::kSome) {
      for (const SliceToken& token : of_row(all_listed, i * (top + 1), 1)) {
        if (token.id == tokens[i]) score.token.logprob = token.logit - sum.log_total();
      }
      score.top =
          scores_of(merged(of_row(all_listed, i * (top + 1) + 1, top)), top, sum.log_total());
    }
    scores.push_back(std::move(score));
  }
  return scores;
}

}  // namespace lanner
