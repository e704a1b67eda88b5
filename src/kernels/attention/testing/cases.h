// SPDX-License-Identifier: Apache-2.0
// For tests only: sequences with K and V in a cache of shuffled blocks, and attention over them in
// float64, by the definition.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "base/buffer.h"
#include "base/float16.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/kernels.h"
#include "kernels/hadamard.h"
#include "kernels/testing/matrix.h"

namespace lanner {

struct AttentionCase {
  int num_heads = 4;
  int kv_heads = 2;
  int head_dim = 16;
  int v_head_dim = 16;
  DType dtype = DType::kF32;
  int block_size = 32;
  float soft_cap = 0;
  int sliding_window = 0;
  bool alibi = false;
  bool sinks = false;
  bool rotated = false;  // of int8
  int64_t flash_from = AttentionRule::kNever;
  struct Lengths {
    int past, queries, prefix = 0;
  };
  std::vector<Lengths> sequences;
};

inline void write_kv(DType dtype, std::byte* data, int64_t element, float value) {
  if (dtype == DType::kF32) {
    std::memcpy(data + element * 4, &value, 4);
    return;
  }
  const uint16_t bits = dtype == DType::kF16 ? fp32_to_fp16(value) : fp32_to_bf16(value);
  std::memcpy(data + element * 2, &bits, 2);
}

inline float round_kv(DType dtype, float value) {
  if (dtype == DType::kF16) return fp16_to_fp32(fp32_to_fp16(value));
  if (dtype == DType::kBf16) return bf16_to_fp32(fp32_to_bf16(value));
  return value;
}

// A row in int8 with one scale, back in fp32, in double where it matters: what an int8 cache holds
// of K and V, and kernels that multiply bytes of a query.
struct QuantisedRow {
  explicit QuantisedRow(std::vector<float> x) {
    float largest = 0;
    for (float value : x) largest = std::max(largest, std::abs(value));
    scale = largest / 127.0f;
    for (float value : x) {
      q.push_back(largest > 0 ? static_cast<int>(std::lrint(value * (127.0f / largest))) : 0);
    }
  }
  std::vector<float> values() const {
    std::vector<float> x;
    for (int value : q) x.push_back(static_cast<float>(value) * scale);
    return x;
  }
  std::vector<int> q;
  float scale;
};

class AttentionWorld {
 public:
  AttentionWorld(const AttentionCase& c, uint32_t seed)
      : c_(c), q_(num_tokens(c), int64_t{c.num_heads} * c.head_dim) {
    view_.layout = {c.dtype, c.block_size, c.kv_heads, c.head_dim, c.v_head_dim, c.rotated};
    std::vector<int> blocks_of;
    for (const auto& [past, queries, prefix] : c.sequences) {
      blocks_of.push_back((past + queries + c.block_size - 1) / c.block_size);
      view_.num_blocks += blocks_of.back();
    }
    view_.num_blocks += 2;  // of nobody
    memory_ = Buffer(static_cast<size_t>(view_.num_blocks * view_.layout.block_bytes()));
    // NaN in every type: what nobody wrote must not reach a result.
    std::memset(memory_.data(), 0xff, memory_.size());
    view_.data = memory_.data();

    std::vector<int32_t> blocks(static_cast<size_t>(view_.num_blocks));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(seed));
    size_t used = 0;
    for (size_t s = 0; s < c.sequences.size(); ++s) {
      tables_.emplace_back(blocks.begin() + static_cast<std::ptrdiff_t>(used),
                           blocks.begin() + static_cast<std::ptrdiff_t>(used) + blocks_of[s]);
      used += static_cast<size_t>(blocks_of[s]);
      // A sequence's content does not depend on the sequences beside it.
      fill(s, seed * 1000 + static_cast<uint32_t>(c.sequences[s].past));
    }
    for (int h = 0; h < c.num_heads; ++h) {
      slopes_.push_back(std::exp2(-0.5f - 0.25f * float(h)));
      sinks_.push_back(float(h % 7) * 1.5f - 3.0f);
    }
  }

  std::vector<AttentionSequence> sequences() const {
    std::vector<AttentionSequence> all;
    int64_t begin = 0;
    for (size_t s = 0; s < tables_.size(); ++s) {
      const auto [past, queries, prefix] = c_.sequences[s];
      all.push_back({begin, queries, past, prefix, tables_[s]});
      begin += queries;
    }
    return all;
  }

  AttentionParams params() const {
    return {
        c_.num_heads,      1.0f / std::sqrt(float(c_.head_dim)), c_.soft_cap,
        c_.sliding_window, c_.alibi ? slopes_.data() : nullptr,  c_.sinks ? sinks_.data() : nullptr,
        {c_.flash_from}};
  }

  const KvCacheView& cache() const { return view_; }
  TestMatrix& q() { return q_; }
  int64_t tokens() const { return num_tokens(c_); }
  int64_t width() const { return int64_t{c_.num_heads} * c_.v_head_dim; }

  std::vector<float> run(ThreadPool& threads) { return run(threads, sequences()); }
  std::vector<float> run(ThreadPool& threads, const std::vector<AttentionSequence>& sequences) {
    TestMatrix y(tokens(), width(), /*gap=*/5);
    attention(q_.tensor(), sequences, view_, params(), y.tensor(), workspace_, threads);
    if (!y.gaps_are_untouched()) return {};
    return y.values();
  }

  std::vector<float> reference() {
    std::vector<float> y;
    int64_t token = 0;
    for (size_t s = 0; s < tables_.size(); ++s) {
      const auto [past, queries, prefix] = c_.sequences[s];
      for (int i = 0; i < queries; ++i, ++token) {
        for (int head = 0; head < c_.num_heads; ++head) attend(s, past + i, token, head, y);
      }
    }
    return y;
  }

  Workspace& workspace() { return workspace_; }

 private:
  static int64_t num_tokens(const AttentionCase& c) {
    int64_t tokens = 0;
    for (const auto& sequence : c.sequences) tokens += sequence.queries;
    return tokens;
  }

  void fill(size_t s, uint32_t seed) {
    const auto [past, queries, prefix] = c_.sequences[s];
    const int length = past + queries;
    const KvLayout& layout = view_.layout;
    k_.push_back(random_normal(int64_t{length} * c_.kv_heads * c_.head_dim, seed));
    v_.push_back(random_normal(int64_t{length} * c_.kv_heads * c_.v_head_dim, seed + 1));
    size_t k = 0, v = 0;
    for (int t = 0; t < length; ++t) {
      const int32_t block = tables_[s][static_cast<size_t>(t / c_.block_size)];
      const int offset = t % c_.block_size;
      for (int head = 0; head < c_.kv_heads; ++head) {
        std::byte* data = view_.data + block * layout.block_bytes();
        if (layout.is_int8()) {
          store_int8(data, offset, head, &k_[s][k], &v_[s][v]);
          k += static_cast<size_t>(c_.head_dim);
          v += static_cast<size_t>(c_.v_head_dim);
          continue;
        }
        for (int d = 0; d < c_.head_dim; ++d, ++k) {
          write_kv(c_.dtype, data + layout.k_offset(head), layout.k_element(offset, d), k_[s][k]);
          k_[s][k] = round_kv(c_.dtype, k_[s][k]);
        }
        for (int d = 0; d < c_.v_head_dim; ++d, ++v) {
          write_kv(c_.dtype, data + layout.v_offset(head), layout.v_element(offset, d), v_[s][v]);
          v_[s][v] = round_kv(c_.dtype, v_[s][v]);
        }
      }
    }
    const std::vector<float> q =
        random_normal(int64_t{queries} * c_.num_heads * c_.head_dim, seed + 2, /*deviation=*/2.0f);
    int64_t first = 0;
    for (size_t i = 0; i < s; ++i) first += c_.sequences[i].queries;
    for (int i = 0; i < queries; ++i) {
      const auto row = q_.row(first + i);
      std::copy_n(q.begin() + i * static_cast<std::ptrdiff_t>(row.size()), row.size(), row.begin());
    }
  }

  // Writes a token's K and V of one head, and puts what the cache has of them into k and v.
  void store_int8(std::byte* block, int offset, int head, float* k, float* v) {
    const KvLayout& layout = view_.layout;
    std::byte* keys = block + layout.k_offset(head);
    std::byte* values = block + layout.v_offset(head);
    std::vector<float> row(k, k + c_.head_dim);
    if (c_.rotated) hadamard(row.data(), c_.head_dim);
    const QuantisedRow key(row), value(std::vector<float>(v, v + c_.v_head_dim));
    for (int d = 0; d < c_.head_dim; ++d) {
      keys[layout.k_element(offset, d)] =
          static_cast<std::byte>(key.q[static_cast<size_t>(d)] + 128);
    }
    for (int d = 0; d < c_.v_head_dim; ++d) {
      values[layout.v_element(offset, d)] = static_cast<std::byte>(value.q[static_cast<size_t>(d)]);
    }
    std::memcpy(keys + layout.k_scale(offset), &key.scale, sizeof key.scale);
    std::memcpy(values + layout.v_scale(offset), &value.scale, sizeof value.scale);
    row = key.values();
    if (c_.rotated) hadamard(row.data(), c_.head_dim);
    std::copy(row.begin(), row.end(), k);
    const std::vector<float> values_back = value.values();
    std::copy(values_back.begin(), values_back.end(), v);
  }

  // The query as the kernel multiplies it.
  std::vector<float> query(int64_t token, int head) {
    const auto row = q_.row(token).subspan(static_cast<size_t>(head * c_.head_dim),
                                           static_cast<size_t>(c_.head_dim));
    std::vector<float> x(row.begin(), row.end());
    const AttentionWeights weights = select_attention(c_.dtype).weights;
    if (weights == AttentionWeights::kBf16) {
      const float scale = params().scale;
      for (float& value : x) value = bf16_to_fp32(fp32_to_bf16(value * scale)) / scale;
    }
    if (weights != AttentionWeights::kFixed16) return x;
    if (c_.rotated) hadamard(x.data(), c_.head_dim);
    x = QuantisedRow(x).values();
    if (c_.rotated) hadamard(x.data(), c_.head_dim);
    return x;
  }

  // Of one query head at `position`.
  void attend(size_t s, int position, int64_t token, int head, std::vector<float>& y) {
    const int kv_head = head / (c_.num_heads / c_.kv_heads);
    const std::vector<float> row = query(token, head);
    const int first = c_.sliding_window > 0 ? std::max(0, position + 1 - c_.sliding_window) : 0;
    const int prefix = c_.sequences[s].prefix;
    const int end = position < prefix ? prefix : position + 1;
    std::vector<double> scores;
    double max = -INFINITY;
    for (int t = first; t < end; ++t) {
      double score = 0;
      for (int d = 0; d < c_.head_dim; ++d) {
        score += double(row[static_cast<size_t>(d)]) *
                 k_[s][static_cast<size_t>((t * c_.kv_heads + kv_head) * c_.head_dim + d)];
      }
      score *= double(params().scale);
      if (c_.soft_cap > 0) score = c_.soft_cap * std::tanh(score / c_.soft_cap);
      if (c_.alibi) score += double(slopes_[static_cast<size_t>(head)]) * (t - position);
      scores.push_back(score);
      max = std::max(max, score);
    }
    const double sink = c_.sinks ? sinks_[static_cast<size_t>(head)] : -INFINITY;
    max = std::max(max, sink);
    double total = std::exp(sink - max);
    std::vector<double> sums(static_cast<size_t>(c_.v_head_dim));
    for (int t = first; t < end; ++t) {
      const double weight = std::exp(scores[static_cast<size_t>(t - first)] - max);
      total += weight;
      for (int d = 0; d < c_.v_head_dim; ++d) {
        sums[static_cast<size_t>(d)] +=
            weight * v_[s][static_cast<size_t>((t * c_.kv_heads + kv_head) * c_.v_head_dim + d)];
      }
    }
    for (double sum : sums) y.push_back(static_cast<float>(sum / total));
  }

  AttentionCase c_;
  TestMatrix q_;
  KvCacheView view_;
  Buffer memory_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<std::vector<float>> k_, v_;  // of each sequence, [token][kv_head][dim], as stored
  std::vector<float> slopes_, sinks_;
  Workspace workspace_;
};

}  // namespace lanner
