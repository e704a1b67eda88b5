// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <future>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "engine/model_runner.h"
#include "engine/report.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/synthetic.h"
#include "kernels/machine_peak/machine_peak.h"
#include "lanner/llm.h"

namespace lanner {
namespace {

// Longer calls are measured on fewer KV heads, which are independent of each other.
constexpr double kLongestCall = 1.0;  // seconds
// What is read from DRAM beside each decode row.
constexpr int64_t kReadBytes = int64_t{256} << 20;
// Of KV in all layers of a decode row: several times any last-level cache.
constexpr int64_t kDecodeBytes = int64_t{512} << 20;

struct Heads {
  int num_heads, kv_heads;
};

class AttentionBench {
 public:
  AttentionBench(const AttentionBenchmark& options, const Json& machine, ThreadPool& threads,
                 const std::function<void(const std::string&)>& on_step)
      : options_(options), machine_(machine), threads_(threads), on_step_(on_step) {}

  Json prefill() {
    Json rows = Json::array();
    for (int head_dim : options_.head_dims) {
      for (const Heads& heads : {Heads{32, 32}, Heads{32, 8}}) {
        KvLayout layout = kv_type(options_.kv_dtype);
        layout.block_size = kBlockSize;
        layout.kv_heads = heads.kv_heads;
        layout.head_dim = layout.v_head_dim = head_dim;
        const int64_t longest = *std::ranges::max_element(options_.tokens);
        const AttentionRule rule =
            measure_attention_rule(layout, heads.num_heads, longest, threads_);
        seconds_per_flop_ = 0;
        for (int tokens : options_.tokens) rows.push_back(row(layout, heads, tokens, rule));
      }
    }
    return rows;
  }

  Json decode() {
    Json rows = Json::array();
    for (const Heads& heads : {Heads{32, 32}, Heads{32, 8}}) {
      for (int depth : options_.depths) {
        for (const char* kv_dtype : {"fp16", "int8"}) {
          rows.push_back(decode_row(heads, depth, kv_dtype));
        }
      }
    }
    return rows;
  }

 private:
  // Multiplications and additions that the causal mask lets through.
  static double operations(int64_t tokens, int num_heads, int head_dim) {
    const double scores = 0.5 * static_cast<double>(tokens) * static_cast<double>(tokens + 1);
    return scores * num_heads * 4.0 * head_dim;
  }

  Json row(KvLayout layout, const Heads& heads, int tokens, const AttentionRule& rule) {
    on_step_(fmt::format("{} tokens, {} heads over {} of {}", tokens, heads.num_heads,
                         heads.kv_heads, layout.head_dim));
    const int group = heads.num_heads / heads.kv_heads;
    const double whole = operations(tokens, heads.num_heads, layout.head_dim);
    while (layout.kv_heads > 1 &&
           seconds_per_flop_ * whole > kLongestCall * heads.kv_heads / layout.kv_heads) {
      layout.kv_heads /= 2;
    }
    const int measured_heads = layout.kv_heads * group;
    const double scale = static_cast<double>(heads.kv_heads) / layout.kv_heads;
    const SyntheticShape shape{
        .layout = layout, .num_heads = measured_heads, .query_length = tokens};
    SyntheticAttention slim(shape, threads_), flash(shape, threads_);
    std::vector<double> slim_times, flash_times, ratios;
    for (int i = 0; i < options_.repeat; ++i) {
      slim_times.push_back(scale * time_attention(slim, {AttentionRule::kNever}, 1, threads_));
      flash_times.push_back(scale * time_attention(flash, {0}, 1, threads_));
      ratios.push_back(flash_times.back() / slim_times.back());
    }
    const auto median = [](std::vector<double>& values) {
      std::ranges::sort(values);
      return values[values.size() / 2];
    };
    const double slim_s = median(slim_times), flash_s = median(flash_times);
    // Of the pairs, each right after the other: neighbours on the machine disturb both alike.
    const double flash_over_slim = median(ratios);
    seconds_per_flop_ = slim_s / whole;
    const bool chooses_flash = tokens >= rule.flash_from;
    const double chosen_over_other = chooses_flash ? flash_over_slim : 1 / flash_over_slim;
    const AttentionWeights weights = select_attention(layout.dtype).weights;
    const char* arithmetic = weights == AttentionWeights::kFixed16 ? "int8"
                             : weights == AttentionWeights::kBf16  ? "bf16"
                                                                   : "fp32";
    const Json& peak = machine_.at("peak_gops").at(arithmetic);
    return Json{{"tokens", tokens},
                {"heads", heads.num_heads},
                {"kv_heads", heads.kv_heads},
                {"head_dim", layout.head_dim},
                {"slim_ms", slim_s * 1e3},
                {"flash_ms", flash_s * 1e3},
                {"flash_over_slim", flash_over_slim},
                {"slim_share_of_peak", whole / slim_s / 1e9 / peak.get<double>()},
                {"flash_share_of_peak", whole / flash_s / 1e9 / peak.get<double>()},
                {"peak", arithmetic},
                {"slim_scratch_bytes", slim.scratch_bytes({AttentionRule::kNever}, threads_)},
                {"flash_scratch_bytes", flash.scratch_bytes({0}, threads_)},
                {"measured_heads", measured_heads},
                {"chosen", chooses_flash ? "flash" : "slim"},
                {"chosen_over_better", std::max(chosen_over_other, 1.0)}};
  }

  Json decode_row(const Heads& heads, int depth, const char* kv_dtype) {
    on_step_(fmt::format("decode at depth {}, {} KV heads, {}", depth, heads.kv_heads, kv_dtype));
    KvLayout layout = kv_type(kv_dtype);
    layout.block_size = kBlockSize;
    layout.kv_heads = heads.kv_heads;
    layout.head_dim = layout.v_head_dim = options_.head_dims.back();
    const double bytes = static_cast<double>(layout.block_bytes()) / layout.block_size * depth;
    const int layers =
        std::clamp(static_cast<int>(static_cast<double>(kDecodeBytes) / bytes), 1, 256);
    SyntheticAttention attention({.layout = layout,
                                  .num_heads = heads.num_heads,
                                  .past_length = depth - 1,
                                  .query_length = 1,
                                  .num_layers = layers},
                                 threads_);
    const int repeats = std::max(5, layers) * std::max(1, options_.repeat / 2);
    // Neighbours on a machine take bandwidth away and give it back: before and after.
    const double read_before = measure_read_bandwidth(kReadBytes, threads_);
    const double seconds = time_attention(attention, {}, repeats, threads_);
    const double read = std::max(read_before, measure_read_bandwidth(kReadBytes, threads_));
    return Json{{"depth", depth},
                {"heads", heads.num_heads},
                {"kv_heads", heads.kv_heads},
                {"head_dim", layout.head_dim},
                {"kv_dtype", kv_dtype},
                {"ms", seconds * 1e3},
                {"gbps", bytes / seconds / 1e9},
                {"read_gbps", read / 1e9},
                {"share_of_bandwidth", bytes / seconds / read}};
  }

  const AttentionBenchmark& options_;
  const Json& machine_;
  ThreadPool& threads_;
  const std::function<void(const std::string&)>& on_step_;
  double seconds_per_flop_ = 0;
};

}  // namespace

std::string benchmark_attention(const AttentionBenchmark& options,
                                const std::function<void(const std::string&)>& on_step) {
  check_argument(!options.tokens.empty() && !options.head_dims.empty() && options.repeat > 0,
                 "the attention benchmark needs lengths, head sizes and at least one repetition");
  LlmConfig config;
  config.threads = options.threads;
  const auto say = on_step ? on_step : [](const std::string&) {};
  say("the machine's limits");
  Json report = parse_json(benchmark_machine(config), "report");
  const ThreadPlan plan = plan_compute_threads(read_topology(), config);
  // On a thread of its own, as an engine has: the caller's stays where it is.
  std::async(std::launch::async, [&] {
    pin_this_thread(plan.cpus.front());
    ThreadPool threads(plan.cpus);
    const Json machine = report.at("machine");  // new keys move what a report holds
    AttentionBench bench(options, machine, threads, say);
    report["kv_dtype"] = options.kv_dtype;
    report["attention"] = bench.prefill();
    report["decode"] = bench.decode();
  }).get();
  return report.dump(2);
}

}  // namespace lanner
