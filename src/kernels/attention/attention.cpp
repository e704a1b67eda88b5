// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "base/error.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/plan.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;
constexpr int kMaxTileRows = 16;  // of any kernel
// Items per thread that even out their unequal cost.
constexpr int64_t kItemsPerThread = 4;
// Multiply-adds below which a second thread costs more than it saves.
constexpr double kMinParallelWork = 1 << 17;

// Softmax numerators times V, not yet divided by their sum, of some rows over some tokens.
struct Partial {
  float* sums;               // [rows][stride]
  AttentionRowResult* rows;  // [rows]
};

// One piece of work: a block of rows over one KV head; one chunk of its tokens if `chunk` >= 0.
struct Item {
  int sequence;
  int kv_head;
  int row_begin;
  int row_end;
  int chunk;
  float* partials;  // of all chunks, if the block is split
};

// A thread's memory.
struct Scratch {
  std::byte* queries;  // [tile] as the kernel packs them
  float* scores;       // [tile][panel][rows of the tile][16]
  Partial running;
  Partial chunk;
  const std::byte** k_panels;
  const std::byte** v_panels;
};

struct RowRange {
  int begin;
  int end;
  int size() const { return end - begin; }
};

class AttentionRun {
 public:
  AttentionRun(const Tensor& q, std::span<const AttentionSequence> sequences,
               const KvCacheView& cache, const AttentionParams& params, const Tensor& y)
      : q_(q),
        sequences_(sequences),
        cache_(cache),
        params_(params),
        y_(y),
        kernel_(select_attention(cache.layout.dtype)),
        group_(params.num_heads / cache.layout.kv_heads),
        stride_(static_cast<int>(round_up(cache.layout.v_head_dim, 16))),
        strides_{cache.layout.block_size / kPanelTokens,
                 cache.layout.block_bytes(),
                 cache.layout.head_bytes(),
                 cache.layout.k_bytes(),
                 cache.layout.k_panel_bytes(),
                 cache.layout.v_panel_bytes()} {
    const KvLayout& layout = cache.layout;
    // The panels of one step stay in L1 while all tiles of the block use them.
    const int64_t half_l1 = cache_sizes().l1d / 2;
    const auto step = [&](int64_t panel_bytes) {
      const int64_t panels =
          std::min<int64_t>(half_l1 / panel_bytes, kMaxValueTokens / kPanelTokens);
      return static_cast<int>(panels >= 4 ? panels / 4 * 4 : 2);
    };
    k_step_ = step(layout.k_panel_bytes());
    v_step_ = step(layout.v_panel_bytes());
  }

  void run(Workspace& workspace, ThreadPool& threads);

 private:
  AttentionPlan plan(const AttentionSequence& sequence, int64_t max_block_rows) const {
    return plan_attention({sequence.past_length, sequence.query_length, group_,
                           params_.sliding_window, sequence.prefix_length, kernel_.max_rows,
                           max_block_rows, cache_sizes().l2, params_.rule.flash_from});
  }

  int position(const AttentionSequence& sequence, int row) const {
    return sequence.past_length + row / group_;
  }
  // Tokens that a row may see, from the first to one past the last. Neither goes down from a row to
  // the next.
  int first_token(const AttentionSequence& sequence, int row) const {
    if (params_.sliding_window == 0) return 0;
    return std::max(0, position(sequence, row) + 1 - params_.sliding_window);
  }
  int last_token(const AttentionSequence& sequence, int row) const {
    const int own = position(sequence, row);
    return own < sequence.prefix_length ? sequence.prefix_length : own + 1;
  }

  RowRange tile(const Item& item, int index) const {
    const int rows = item.row_end - item.row_begin;
    const int tiles = num_tiles(item);
    return {item.row_begin + static_cast<int>(int64_t{rows} * index / tiles),
            item.row_begin + static_cast<int>(int64_t{rows} * (index + 1) / tiles)};
  }
  int num_tiles(const Item& item) const {
    return static_cast<int>(ceil_div(item.row_end - item.row_begin, kernel_.max_rows));
  }

  int64_t partial_floats(int64_t rows) const {
    constexpr int64_t kResultFloats = sizeof(AttentionRowResult) / sizeof(float);
    return round_up(rows * (stride_ + kResultFloats), 16);
  }
  Partial partial_at(float* memory, int64_t rows) const {
    return {memory, reinterpret_cast<AttentionRowResult*>(memory + rows * stride_)};
  }

  // Panel p of a sequence, or its last one.
  struct Panel {
    const std::byte* k;
    const std::byte* v;
  };
  Panel panel(const Item& item, int p) const;

  void pack_queries(const Item& item, std::byte* queries) const;
  void attend_chunk(const Item& item, int panel_begin, int panel_end, bool is_decode,
                    const Scratch& scratch, const Partial& out) const;
  void attend(const Item& item, const AttentionPlan& plan, const Scratch& scratch) const;
  void merge(const Partial& into, const Partial& from, int rows) const;
  void write(const Item& item, const Partial& result) const;

  const Tensor& q_;
  std::span<const AttentionSequence> sequences_;
  const KvCacheView& cache_;
  const AttentionParams& params_;
  const Tensor& y_;
  const AttentionKernel& kernel_;
  const int group_;
  const int stride_;  // of the rows of sums
  // Of the layout, which computes them anew at every call.
  struct Strides {
    int panels_per_block;
    int64_t block_bytes, head_bytes, k_bytes, k_panel_bytes, v_panel_bytes;
  };
  const Strides strides_;
  int k_step_ = 0;  // panels
  int v_step_ = 0;
};

// Tile after tile.
void AttentionRun::pack_queries(const Item& item, std::byte* queries) const {
  const AttentionSequence& sequence = sequences_[static_cast<size_t>(item.sequence)];
  const int head_dim = cache_.layout.head_dim;
  for (int i = 0; i < num_tiles(item); ++i) {
    const RowRange rows = tile(item, i);
    const float* q[kMaxTileRows];
    for (int row = rows.begin; row < rows.end; ++row) {
      const int head = item.kv_head * group_ + row % group_;
      q[row - rows.begin] =
          q_.row<float>(sequence.query_begin + row / group_) + int64_t{head} * head_dim;
    }
    kernel_.pack(q, rows.size(), head_dim, params_.scale, cache_.layout.rotated, queries);
    queries += attention_query_bytes(rows.size(), head_dim);
  }
}

AttentionRun::Panel AttentionRun::panel(const Item& item, int p) const {
  const AttentionSequence& sequence = sequences_[static_cast<size_t>(item.sequence)];
  const int last = (sequence.past_length + sequence.query_length - 1) / kPanelTokens;
  p = std::min(p, last);
  const int32_t block = sequence.block_table[static_cast<size_t>(p / strides_.panels_per_block)];
  const std::byte* head =
      cache_.data + block * strides_.block_bytes + item.kv_head * strides_.head_bytes;
  const int in_block = p % strides_.panels_per_block;
  return {head + in_block * strides_.k_panel_bytes,
          head + strides_.k_bytes + in_block * strides_.v_panel_bytes};
}

// Panels [panel_begin, panel_end) of the sequence for every row of the item.
void AttentionRun::attend_chunk(const Item& item, int panel_begin, int panel_end, bool is_decode,
                                const Scratch& scratch, const Partial& out) const {
  const AttentionSequence& sequence = sequences_[static_cast<size_t>(item.sequence)];
  const KvLayout& layout = cache_.layout;
  for (int p = panel_begin; p < panel_end; ++p) {
    const Panel at = panel(item, p);
    scratch.k_panels[p - panel_begin] = at.k;
    scratch.v_panels[p - panel_begin] = at.v;
  }
  const int num_panels = panel_end - panel_begin;
  // What is read after the K of this chunk is its V, and then the K of the next.
  for (int i = 0; i < kAttentionAhead; ++i) {
    scratch.k_panels[num_panels + i] =
        i < num_panels ? scratch.v_panels[i] : panel(item, panel_begin + i).v;
    scratch.v_panels[num_panels + i] = panel(item, panel_end + i).k;
  }

  // What a tile sees of the chunk: tokens, and the panels that hold them, counted from the chunk's
  // first.
  struct Seen {
    RowRange rows;
    int first, last;  // tokens
    int panel_begin, panel_end;
    float* scores;
  };
  const auto seen_by = [&](int index) {
    const RowRange rows = tile(item, index);
    const int origin = panel_begin * kPanelTokens;
    const int limit = num_panels * kPanelTokens;
    const int first = std::clamp(first_token(sequence, rows.begin) - origin, 0, limit);
    const int last = std::clamp(last_token(sequence, rows.end - 1) - origin, first, limit);
    float* scores = scratch.scores + int64_t{rows.begin - item.row_begin} * limit;
    return Seen{
        rows,  first, last, first / kPanelTokens, static_cast<int>(ceil_div(last, kPanelTokens)),
        scores};
  };

  const int tiles = num_tiles(item);
  for (int step = 0; step < num_panels; step += k_step_) {
    for (int i = 0; i < tiles; ++i) {
      const Seen seen = seen_by(i);
      const int begin = std::max(step, seen.panel_begin);
      const int end = std::min(step + k_step_, seen.panel_end);
      if (begin >= end) continue;
      const int64_t count = seen.rows.size();
      kernel_.scores(scratch.queries +
                         attention_query_bytes(seen.rows.begin - item.row_begin, layout.head_dim),
                     seen.rows.size(), layout.head_dim, scratch.k_panels + begin, end - begin,
                     seen.scores + (begin - seen.panel_begin) * count * kPanelTokens);
    }
  }

  for (int i = 0; i < tiles; ++i) {
    const Seen seen = seen_by(i);
    const int panels = seen.panel_end - seen.panel_begin;
    const int origin = (panel_begin + seen.panel_begin) * kPanelTokens;
    for (int row = seen.rows.begin; row < seen.rows.end; ++row) {
      const int limit = panels * kPanelTokens;
      AttentionRow mask;
      mask.begin = std::clamp(first_token(sequence, row) - origin, 0, limit);
      mask.end = std::clamp(last_token(sequence, row) - origin, 0, limit);
      mask.soft_cap = params_.soft_cap;
      if (params_.alibi_slopes != nullptr) {
        mask.slope = params_.alibi_slopes[item.kv_head * group_ + row % group_];
      }
      mask.distance = origin - position(sequence, row);
      mask.v_panels = scratch.v_panels + seen.panel_begin;
      mask.v_scale_offset = layout.v_scale_offset();
      if (is_decode) {
        // The half of V that the scores have not fetched, a part by each row.
        constexpr int64_t kLine = 64;
        const int64_t lines = ceil_div(mask.v_scale_offset, kLine);
        const int64_t num_rows = item.row_end - item.row_begin;
        const auto line = [&](int64_t part) {
          return lines / 2 + (lines - lines / 2) * part / num_rows;
        };
        mask.fetch_begin = kLine * line(row - item.row_begin);
        mask.fetch_end = kLine * line(row - item.row_begin + 1);
      }
      kernel_.softmax(seen.scores + int64_t{row - seen.rows.begin} * kPanelTokens,
                      int64_t{seen.rows.size()} * kPanelTokens, panels, mask,
                      out.rows + (row - item.row_begin));
    }
  }

  std::fill_n(out.sums, int64_t{item.row_end - item.row_begin} * stride_, 0.0f);
  // Steps begin at multiples of their length, wherever the chunk does: a kernel that sums integers
  // rounds once per step.
  for (int step = -(panel_begin % v_step_); step < num_panels; step += v_step_) {
    for (int i = 0; i < tiles; ++i) {
      const Seen seen = seen_by(i);
      const int first = std::max(step * kPanelTokens, seen.first);
      const int last = std::min((step + v_step_) * kPanelTokens, seen.last);
      if (first >= last) continue;
      const int origin = seen.panel_begin * kPanelTokens;
      kernel_.values(seen.scores, seen.rows.size(), scratch.v_panels + seen.panel_begin,
                     first - origin, last - origin, layout.v_head_dim,
                     out.rows + (seen.rows.begin - item.row_begin),
                     out.sums + int64_t{seen.rows.begin - item.row_begin} * stride_, stride_);
    }
  }
}

// Flash-decoding: both halves are brought to the larger maximum.
void AttentionRun::merge(const Partial& into, const Partial& from, int rows) const {
  for (int r = 0; r < rows; ++r) {
    AttentionRowResult& a = into.rows[r];
    const AttentionRowResult& b = from.rows[r];
    if (b.sum == 0.0f) continue;  // the row sees nothing there
    const float max = std::max(a.max, b.max);
    const float factor = std::exp(a.max - max);
    const float from_factor = std::exp(b.max - max);
    a.max = max;
    a.sum = a.sum * factor + b.sum * from_factor;
    kernel_.merge(into.sums + int64_t{r} * stride_, factor, from.sums + int64_t{r} * stride_,
                  from_factor, stride_);
  }
}

void AttentionRun::write(const Item& item, const Partial& result) const {
  const AttentionSequence& sequence = sequences_[static_cast<size_t>(item.sequence)];
  const int v_head_dim = cache_.layout.v_head_dim;
  for (int row = item.row_begin; row < item.row_end; ++row) {
    const int index = row - item.row_begin;
    const int head = item.kv_head * group_ + row % group_;
    const auto [row_max, sum, _] = result.rows[index];
    float factor = 1.0f / sum;
    if (params_.sinks != nullptr) {
      const float sink = params_.sinks[head];
      const float max = std::max(row_max, sink);
      const float own = std::exp(row_max - max);
      factor = own / (sum * own + std::exp(sink - max));
    }
    const float* from = result.sums + int64_t{index} * stride_;
    float* to = y_.row<float>(sequence.query_begin + row / group_) + int64_t{head} * v_head_dim;
    for (int j = 0; j < v_head_dim; ++j) to[j] = from[j] * factor;
  }
}

void AttentionRun::attend(const Item& item, const AttentionPlan& plan,
                          const Scratch& scratch) const {
  const AttentionSequence& sequence = sequences_[static_cast<size_t>(item.sequence)];
  const int rows = item.row_end - item.row_begin;
  pack_queries(item, scratch.queries);
  const int begin = first_token(sequence, item.row_begin) / kPanelTokens;
  const int end = static_cast<int>(ceil_div(last_token(sequence, item.row_end - 1), kPanelTokens));
  const auto chunk_end = [&](int from) {
    const int past = plan.is_flash ? from % plan.chunk_panels : 0;
    return std::min(from - past + plan.chunk_panels, end);
  };
  if (item.chunk >= 0) {
    const int from = std::min(begin + item.chunk * plan.chunk_panels, end);
    attend_chunk(item, from, chunk_end(from), plan.is_decode, scratch,
                 partial_at(item.partials + item.chunk * partial_floats(rows), rows));
    return;
  }
  attend_chunk(item, begin, chunk_end(begin), plan.is_decode, scratch, scratch.running);
  for (int from = chunk_end(begin); from < end; from = chunk_end(from)) {
    attend_chunk(item, from, chunk_end(from), plan.is_decode, scratch, scratch.chunk);
    merge(scratch.running, scratch.chunk, rows);
  }
  write(item, scratch.running);
}

void AttentionRun::run(Workspace& workspace, ThreadPool& threads) {
  const Workspace::Scope scope(workspace);
  const KvLayout& layout = cache_.layout;
  const auto num_sequences = static_cast<int>(sequences_.size());
  const auto allocate = [&]<typename T>(T*& memory, int64_t count) {
    memory = reinterpret_cast<T*>(workspace.allocate(static_cast<size_t>(count) * sizeof(T)));
  };

  int64_t total_rows = 0;
  for (const AttentionSequence& sequence : sequences_) {
    total_rows += int64_t{sequence.query_length} * group_ * layout.kv_heads;
  }
  const int64_t max_block_rows =
      threads.size() == 1 ? total_rows : total_rows / (kItemsPerThread * threads.size());

  AttentionPlan* plans;
  allocate(plans, num_sequences);
  int64_t num_blocks = 0, num_chunks = 0, rows = 0, panels = 0, score_floats = 0;
  double work = 0;
  for (int s = 0; s < num_sequences; ++s) {
    const AttentionPlan& plan = *std::construct_at(
        &plans[s], this->plan(sequences_[static_cast<size_t>(s)], max_block_rows));
    num_blocks += int64_t{plan.num_blocks} * layout.kv_heads;
    num_chunks += int64_t{plan.num_blocks} * layout.kv_heads * plan.num_chunks;
    rows = std::max<int64_t>(rows, plan.block_rows);
    panels = std::max<int64_t>(panels, plan.chunk_panels);
    score_floats =
        std::max(score_floats, int64_t{plan.block_rows} * plan.chunk_panels * kPanelTokens);
    work += static_cast<double>(sequences_[static_cast<size_t>(s)].query_length) *
            params_.num_heads * plan.block_panels * kPanelTokens *
            (layout.head_dim + layout.v_head_dim);
  }
  if (num_blocks == 0) return;

  // Too few blocks to keep the threads busy: the chunks of decode go to different threads.
  const bool parallel = threads.size() > 1 && work >= kMinParallelWork;
  const bool split = parallel && num_blocks < kItemsPerThread * threads.size();

  // Longest sequences first: what comes last should be short.
  int* order;
  allocate(order, num_sequences);
  for (int s = 0; s < num_sequences; ++s) order[s] = s;
  std::sort(order, order + num_sequences, [&](int a, int b) {
    return plans[a].num_panels != plans[b].num_panels ? plans[a].num_panels > plans[b].num_panels
                                                      : a < b;
  });

  Item *items, *merges;
  allocate(items, std::max(num_chunks, num_blocks));
  allocate(merges, num_blocks);
  int64_t num_items = 0, num_merges = 0;
  for (int i = 0; i < num_sequences; ++i) {
    const AttentionPlan& plan = plans[order[i]];
    const int num_rows = sequences_[static_cast<size_t>(order[i])].query_length * group_;
    for (int head = 0; head < layout.kv_heads; ++head) {
      // The last block of a head sees the most: it goes first.
      for (int block = plan.num_blocks - 1; block >= 0; --block) {
        const int begin = block * plan.block_rows;
        Item item{order[i], head, begin, std::min(begin + plan.block_rows, num_rows), -1, nullptr};
        if (!split || !plan.is_decode || plan.num_chunks == 1) {
          std::construct_at(&items[num_items++], item);
          continue;
        }
        allocate(item.partials, plan.num_chunks * partial_floats(num_rows));
        std::construct_at(&merges[num_merges++], item);
        for (item.chunk = 0; item.chunk < plan.num_chunks; ++item.chunk) {
          std::construct_at(&items[num_items++], item);
        }
      }
    }
  }

  Scratch* scratch;
  allocate(scratch, threads.size());
  for (int t = 0; t < threads.size(); ++t) {
    Scratch& s = *std::construct_at(&scratch[t]);
    float *running, *chunk;
    allocate(s.queries, attention_query_bytes(static_cast<int>(rows), layout.head_dim));
    allocate(s.scores, score_floats);
    allocate(running, partial_floats(rows));
    allocate(chunk, partial_floats(rows));
    allocate(s.k_panels, panels + kAttentionAhead);
    allocate(s.v_panels, panels + kAttentionAhead);
    s.running = partial_at(running, rows);
    s.chunk = partial_at(chunk, rows);
  }

  threads.parallel_for_dynamic(num_items, parallel ? 1 : num_items,
                               [&](int64_t begin, int64_t end, int thread) {
                                 for (int64_t i = begin; i < end; ++i) {
                                   attend(items[i], plans[items[i].sequence], scratch[thread]);
                                 }
                               });
  threads.parallel_for(num_merges, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Item& item = merges[i];
      const int num_rows = item.row_end - item.row_begin;
      const Partial result = partial_at(item.partials, num_rows);
      for (int c = 1; c < plans[item.sequence].num_chunks; ++c) {
        merge(result, partial_at(item.partials + c * partial_floats(num_rows), num_rows), num_rows);
      }
      write(item, result);
    }
  });
}

void check_sequence(const AttentionSequence& sequence, int64_t num_tokens,
                    const KvCacheView& cache) {
  check_argument(sequence.query_begin >= 0 && sequence.query_length >= 0 &&
                     sequence.query_begin <= num_tokens &&
                     sequence.query_length <= num_tokens - sequence.query_begin,
                 "[attention] queries {} + {} are outside q with {} tokens", sequence.query_begin,
                 sequence.query_length, num_tokens);
  const int64_t kv_length = int64_t{sequence.past_length} + sequence.query_length;
  // Panels are counted in ints, and rounded up.
  check_argument(
      sequence.past_length >= 0 && kv_length <= std::numeric_limits<int>::max() - kPanelTokens,
      "[attention] past length {} is out of range", sequence.past_length);
  check_argument(sequence.prefix_length >= 0 &&
                     (sequence.past_length >= sequence.prefix_length ||
                      sequence.query_length == 0 || sequence.prefix_length <= kv_length),
                 "[attention] a prefix of {} tokens reaches past the {} in the cache: it cannot be "
                 "prefilled in parts",
                 sequence.prefix_length, kv_length);
  const int64_t needed = ceil_div(kv_length, cache.layout.block_size);
  check_argument(
      static_cast<int64_t>(sequence.block_table.size()) >= needed,
      "[attention] a block table of {} blocks is too short for {} tokens in blocks of {}",
      sequence.block_table.size(), kv_length, cache.layout.block_size);
  for (int32_t block : sequence.block_table.first(static_cast<size_t>(needed))) {
    check_argument(block >= 0 && block < cache.num_blocks,
                   "[attention] block {} is outside the cache of {}", block, cache.num_blocks);
  }
}

void check(const Tensor& q, const KvCacheView& cache, const AttentionParams& params,
           const Tensor& y) {
  const KvLayout& layout = cache.layout;
  check_argument(layout.block_size > 0 && layout.block_size % kPanelTokens == 0 &&
                     layout.kv_heads > 0 && layout.head_dim > 0 && layout.head_dim % 2 == 0 &&
                     layout.v_head_dim > 0,
                 "[attention] blocks of {} tokens, {} KV heads of {} and {} do not fit the layout",
                 layout.block_size, layout.kv_heads, layout.head_dim, layout.v_head_dim);
  check_argument(!layout.is_int8() || layout.head_dim <= KvLayout::kMaxInt8HeadDim,
                 "[attention] an int8 cache takes heads of up to {}, not {}",
                 KvLayout::kMaxInt8HeadDim, layout.head_dim);
  check_argument(params.num_heads > 0 && params.num_heads % layout.kv_heads == 0,
                 "[attention] {} heads are no multiple of {} KV heads", params.num_heads,
                 layout.kv_heads);
  check_argument(params.sliding_window >= 0 && params.soft_cap >= 0,
                 "[attention] a sliding window of {} or a soft cap of {} makes no sense",
                 params.sliding_window, params.soft_cap);
  check_argument(q.dtype() == DType::kF32 && y.dtype() == DType::kF32,
                 "[attention] q and y are {} and {}, expected fp32", q.dtype(), y.dtype());
  const int64_t num_tokens = q.num_rows();
  check_argument(q.shape() == Shape({num_tokens, int64_t{params.num_heads} * layout.head_dim}),
                 "[attention] q is {}, expected [num_tokens, {} heads * {}]", q.shape(),
                 params.num_heads, layout.head_dim);
  check_argument(y.shape() == Shape({num_tokens, int64_t{params.num_heads} * layout.v_head_dim}),
                 "[attention] y is {}, expected [{}, {} heads * {}]", y.shape(), num_tokens,
                 params.num_heads, layout.v_head_dim);
}

}  // namespace

std::span<const AttentionKernel* const> attention_kernels() {
  static constexpr const AttentionKernel* kKernels[] = {
      &kAttentionAvx512Vnni[0], &kAttentionAvxVnni[0], &kAttentionAvx512Bf16[0],
      &kAttentionAvx512[0],     &kAttentionAvx512[1],  &kAttentionAvx512[2],
      &kAttentionAvx512[3],     &kAttentionAvx2[0],    &kAttentionAvx2[1],
      &kAttentionAvx2[2],       &kAttentionAvx2[3],    &kAttentionScalar[0],
      &kAttentionScalar[1],     &kAttentionScalar[2],  &kAttentionScalar[3],
  };
  return kKernels;
}

const AttentionKernel& select_attention(DType kv_dtype, Isa isa) {
  for (const AttentionKernel* kernel : attention_kernels()) {
    if (kernel->kv_dtype == kv_dtype && isa.has(kernel->needs)) return *kernel;
  }
  throw_error(ErrorCode::kUnsupported, "[attention] a KV cache of {} is not supported", kv_dtype);
}

void attention(const Tensor& q, std::span<const AttentionSequence> sequences,
               const KvCacheView& cache, const AttentionParams& params, const Tensor& y,
               Workspace& workspace, ThreadPool& threads) {
  check(q, cache, params, y);
  for (const AttentionSequence& sequence : sequences) {
    check_sequence(sequence, q.num_rows(), cache);
  }
  AttentionRun(q, sequences, cache, params, y).run(workspace, threads);
}

}  // namespace lanner
