// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <random>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/engine.h"
#include "engine/report.h"
#include "lanner/llm.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// Runs whose sequences did not meet, before the measurement is given up.
constexpr int kMissedRuns = 100;
// Of the peak: what the compute side of a batch's roofline is set to, since no kernel reaches all.
constexpr double kReachableShareOfPeak = 0.6;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// The value below which a share of the values lies, the nearest one up.
double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::clamp(rank, size_t{1}, values.size()) - 1];
}

Json percentiles_ms(const std::vector<double>& seconds) {
  return Json{{"p50", percentile(seconds, 0.50) * 1e3},
              {"p90", percentile(seconds, 0.90) * 1e3},
              {"p99", percentile(seconds, 0.99) * 1e3}};
}

// When each token of a request came.
struct Timeline {
  Clock::time_point submitted;
  std::vector<Clock::time_point> tokens;
};

// Runs requests on random token ids together and notes when their tokens come.
class LoadRun {
 public:
  // Requests take turns at the adapters, if there are any.
  LoadRun(Engine& engine, size_t num_adapters, uint32_t seed)
      : engine_(engine),
        num_adapters_(num_adapters),
        token_(0, static_cast<int32_t>(engine.runner().info().vocab_size) - 1),
        generator_(seed) {}

  // One request per entry of max_tokens, each with a prompt of prompt_tokens.
  std::vector<Timeline> run(int prompt_tokens, const std::vector<int>& max_tokens) {
    timelines_.assign(max_tokens.size(), {});
    left_ = 0;
    for (size_t i = 0; i < max_tokens.size(); ++i) {
      std::vector<int32_t> prompt(static_cast<size_t>(prompt_tokens));
      for (int32_t& id : prompt) id = token_(generator_);
      end_prefix(prompt);
      EngineRequest request;
      request.prompt = std::move(prompt);
      request.sampling.max_tokens = max_tokens[i];
      if (num_adapters_ > 0) request.adapter = static_cast<int>(i % num_adapters_);
      request.sampling.ignore_eos = true;
      {
        const std::lock_guard lock(mutex_);
        ++left_;
        timelines_[i].submitted = Clock::now();
      }
      engine_.submit(next_id_++, std::move(request), [this, i](const TokenOutput& output) {
        note(i, output);
        return true;
      });
    }
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
    if (!error_.empty()) throw Error(ErrorCode::kInternal, error_);
    return std::move(timelines_);
  }

 private:
  // A prefix-LM's prompts end with the tokens that say where its answer goes.
  void end_prefix(std::vector<int32_t>& prompt) const {
    const std::optional<PrefixTokens>& prefix = engine_.runner().info().prefix;
    if (!prefix || prefix->masks.empty() || prompt.size() < 2) return;
    prompt[prompt.size() - 2] = prefix->masks.front();
    prompt.back() = prefix->start;
  }

  void note(size_t request, const TokenOutput& output) {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < output.token_ids.size(); ++i) timelines_[request].tokens.push_back(now);
    if (output.finish_reason == FinishReason::kNone) return;
    if (output.finish_reason != FinishReason::kLength) {
      error_ = output.error.empty() ? "a request ended before its time" : output.error;
    }
    if (--left_ == 0) done_.notify_one();
  }

  Engine& engine_;
  size_t num_adapters_;
  std::uniform_int_distribution<int32_t> token_;
  std::mt19937 generator_;
  RequestId next_id_ = 1;
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<Timeline> timelines_;
  size_t left_ = 0;
  std::string error_;
};

// What a token and a step cost.
struct Work {
  double weight_bytes = 0;
  double active_bytes = 0;  // of them, what one token is multiplied with
  double kv_bytes_per_token = 0;
  double block_parameters = 0;   // multiplied with every token
  double output_parameters = 0;  // multiplied with the last one
  double attention_width = 0;    // heads * head_dim * layers
};

Work work_of(const ModelRunner& runner) {
  const ModelInfo& info = runner.info();
  const WeightTally& weights = runner.model().weights();
  // All ranks together: each has as much as this one.
  const auto ranks = static_cast<double>(runner.num_ranks());
  Work work;
  work.weight_bytes = ranks * static_cast<double>(weights.bytes);
  work.active_bytes = ranks * weights.active_bytes;
  work.kv_bytes_per_token = ranks * static_cast<double>(runner.plan().memory.kv_bytes_per_token);
  work.output_parameters = ranks * static_cast<double>(runner.model().output_parameters());
  work.block_parameters = ranks * weights.active_parameters - work.output_parameters;
  work.attention_width = static_cast<double>(info.num_heads) * info.head_dim * info.num_layers;
  return work;
}

// A row of the report, and what its shares of the limits are made of.
struct Measurement {
  Json row;
  double seconds = 0;     // of a prefill, or of a step
  double operations = 0;  // in that time
  double bytes = 0;
  int tokens = 0;
};

class ModelRun {
 public:
  ModelRun(Engine& engine, size_t num_adapters, const ModelBenchmark& benchmark,
           int max_tokens_per_step, const ProgressCallback& progress)
      : engine_(engine),
        benchmark_(benchmark),
        max_tokens_per_step_(max_tokens_per_step),
        progress_(progress),
        work_(work_of(engine.runner())),
        load_(engine, num_adapters, /*seed=*/1) {}

  Measurement prefill(int prompt);
  Measurement decode(int depth, int batch);

 private:
  void tell(const std::string& stage, int run) const {
    if (progress_) progress_(stage.c_str(), run, benchmark_.repeat);
  }

  Engine& engine_;
  const ModelBenchmark& benchmark_;
  int max_tokens_per_step_;
  const ProgressCallback& progress_;
  Work work_;
  LoadRun load_;
};

Measurement ModelRun::prefill(int prompt) {
  const std::string stage = fmt::format("prefill of {} tokens", prompt);
  std::vector<double> ttft;
  tell(stage, 0);
  load_.run(prompt, {1});  // warm-up: scratch memory grows, pages are touched
  for (int i = 0; i < benchmark_.repeat; ++i) {
    tell(stage, i);
    const Timeline timeline = load_.run(prompt, {1}).front();
    ttft.push_back(seconds_between(timeline.submitted, timeline.tokens.front()));
  }
  const double tokens = prompt;
  const double seconds = percentile(ttft, 0.5);
  // QK^T and PV over the half of the score matrix that the causal mask lets through.
  const double attention = 2.0 * tokens * tokens * work_.attention_width;
  return {
      .row = Json{{"tokens", prompt},
                  {"tokens_per_s", tokens / seconds},
                  {"share_of_peak", nullptr},
                  {"ttft_ms", percentiles_ms(ttft)}},
      .seconds = seconds,
      .operations = 2.0 * (work_.block_parameters * tokens + work_.output_parameters) + attention,
      .bytes = work_.weight_bytes,
      .tokens = prompt};
}

// Only the time in which all sequences decode counts. Those that are through with their prompts
// before the last one get as many tokens more.
Measurement ModelRun::decode(int depth, int batch) {
  const std::string stage = fmt::format("decode at depth {}, batch {}", depth, batch);
  const int prompt = std::max(depth, 1);
  const int prefill_steps = static_cast<int>(ceil_div(prompt, max_tokens_per_step_)) + 1;
  std::vector<int> max_tokens;
  for (int i = 0; i < batch; ++i) {
    max_tokens.push_back(benchmark_.generate + 1 + prefill_steps * (batch - i));
  }
  std::vector<double> rates;
  std::vector<double> intervals;
  int missed = 0;
  for (int i = 0; i < benchmark_.repeat; ++i) {
    tell(stage, i);
    const std::vector<Timeline> timelines = load_.run(prompt, max_tokens);
    Clock::time_point begin = Clock::time_point::min();
    Clock::time_point end = Clock::time_point::max();
    for (const Timeline& timeline : timelines) {
      begin = std::max(begin, timeline.tokens.front());
      end = std::min(end, timeline.tokens.back());
    }
    // A tiny model can be through with one sequence before the next one has come.
    if (end <= begin) {
      check_argument(++missed <= kMissedRuns,
                     "{}: the sequences are over before all have begun; --generate needs more",
                     stage);
      --i;
      continue;
    }
    int64_t tokens = 0;
    for (const Timeline& timeline : timelines) {
      for (size_t t = 1; t < timeline.tokens.size(); ++t) {
        if (timeline.tokens[t] <= begin || timeline.tokens[t] > end) continue;
        intervals.push_back(seconds_between(timeline.tokens[t - 1], timeline.tokens[t]));
        ++tokens;
      }
    }
    rates.push_back(static_cast<double>(tokens) / seconds_between(begin, end));
  }
  const double rate = percentile(rates, 0.5);
  const double kv_bytes = batch * work_.kv_bytes_per_token * (prompt + benchmark_.generate / 2.0);
  return {.row = Json{{"depth", depth},
                      {"batch", batch},
                      {"tokens_per_s", rate},
                      {"share_of_bandwidth", nullptr},
                      {"roofline_tokens_per_s", nullptr},
                      {"times_roofline", nullptr},
                      {"tpot_ms", percentiles_ms(intervals)}},
          .seconds = batch / rate,
          .operations = 2.0 * batch * (work_.block_parameters + work_.output_parameters),
          // The tokens of a batch go to different experts, at most.
          .bytes = std::min(work_.weight_bytes, work_.active_bytes * batch) + kv_bytes,
          .tokens = batch};
}

// What the machine could do at best, in 10^9 per second; peak 0: it has none for the type.
struct Limits {
  double bandwidth = 0;
  double peak = 0;
};

// The rates that a roofline is drawn with.
void add_rates(const Measurement& measured, Json& row) {
  row["gops"] = measured.operations / measured.seconds / 1e9;
  row["operations_per_byte"] = measured.operations / measured.bytes;
}

Json prefill_row(const Measurement& measured, const Limits& limits) {
  Json row = measured.row;
  add_rates(measured, row);
  if (limits.peak > 0) {
    row["share_of_peak"] = measured.operations / measured.seconds / 1e9 / limits.peak;
  }
  return row;
}

Json decode_row(const Measurement& measured, const Limits& limits) {
  Json row = measured.row;
  row["share_of_bandwidth"] = measured.bytes / measured.seconds / 1e9 / limits.bandwidth;
  double seconds = measured.bytes / 1e9 / limits.bandwidth;
  if (limits.peak > 0) {
    seconds = std::max(seconds, measured.operations / 1e9 / (limits.peak * kReachableShareOfPeak));
  }
  row["roofline_tokens_per_s"] = measured.tokens / seconds;
  row["times_roofline"] = measured.seconds / seconds;
  add_rates(measured, row);
  return row;
}

void check(const ModelBenchmark& benchmark) {
  const auto check_list = [](const char* name, const std::vector<int>& values, int low) {
    check_argument(!values.empty(), "[benchmark] no {} to run", name);
    for (int value : values) {
      check_argument(value >= low, "[benchmark] {} is {}, expected {} or more", name, value, low);
    }
  };
  check_list("prompt", benchmark.prompts, 1);
  check_list("depth", benchmark.depths, 0);
  check_list("batch", benchmark.batches, 1);
  check_list("generate", {benchmark.generate}, 2);
  check_list("repeat", {benchmark.repeat}, 1);
}

// With room for the longest sequences, and no memory taken for more.
LlmConfig with_room(LlmConfig config, const ModelBenchmark& benchmark) {
  const int batch = std::ranges::max(benchmark.batches);
  const int64_t depth = std::max(std::ranges::max(benchmark.depths), 1);
  const int64_t ramp = (ceil_div(depth, int64_t{config.max_tokens_per_step}) + 1) * batch;
  const int64_t decode = depth + benchmark.generate + 1 + ramp;
  const int64_t prefill = int64_t{std::ranges::max(benchmark.prompts)} + 1;
  const int needed = checked_cast<int>(std::max(decode, prefill), "length of the benchmark");
  if (config.max_context == 0) config.max_context = needed;
  check_argument(config.max_context >= needed,
                 "max_context is {}, but the benchmark needs {} tokens", config.max_context,
                 needed);
  config.max_sequences = batch;
  // Every token is to be computed, and on its own.
  config.prefix_cache = false;
  config.ngram_speculation = false;
  return config;
}

}  // namespace

std::string benchmark_model(const std::string& path, const LlmConfig& given,
                            const ModelBenchmark& benchmark, const ProgressCallback& progress) {
  check(benchmark);
  const LlmConfig config = with_room(given, benchmark);
  const auto start = Clock::now();
  const ModelFiles files = open_model(path, config);
  Engine engine(files, config, progress);
  const double load_seconds = seconds_between(start, Clock::now());

  ModelRun run(engine, files.lora.size(), benchmark, config.max_tokens_per_step, progress);
  std::vector<Measurement> prefill;
  for (int prompt : benchmark.prompts) prefill.push_back(run.prefill(prompt));
  engine.call([](ModelRunner& runner) { runner.use_synthetic_prefill(true); });
  std::vector<Measurement> decode;
  for (int depth : benchmark.depths) {
    for (int batch : benchmark.batches) decode.push_back(run.decode(depth, batch));
  }
  // Before the machine is measured, which takes memory of its own.
  const int64_t peak_rss = peak_memory();
  if (progress) progress("the machine's limits", 0, 0);
  const Json machine = parse_json(benchmark_machine(config), "report").at("machine");

  const ModelRunner& runner = engine.runner();
  Json model = describe_model(files, runner.plan());
  const Json loaded = describe_loaded(runner);
  const Json& peak = machine.at("peak_gops").at(loaded.at("arithmetic").get<std::string>());
  const Limits limits{.bandwidth = machine.at("read_gbps").get<double>(),
                      .peak = peak.is_null() ? 0 : peak.get<double>()};
  Json report{{"machine", machine},
              {"model",
               {{"name", path},
                {"format", model.at("format")},
                {"dtype", model.at("dtype")},
                {"kv_dtype", model.at("kv_dtype")},
                {"parameters", loaded.at("parameters")},
                {"weight_bytes", loaded.at("weight_bytes")},
                {"kv_cache_bytes", runner.plan().memory.kv_bytes},
                {"kernels", loaded.at("kernels")},
                {"arithmetic", loaded.at("arithmetic")}}},
              {"prefill", Json::array()},
              {"decode", Json::array()},
              {"ranks", describe_ranks(runner)},
              {"load_s", load_seconds},
              {"peak_rss_bytes", peak_rss}};
  for (const Measurement& row : prefill) report["prefill"].push_back(prefill_row(row, limits));
  for (const Measurement& row : decode) report["decode"].push_back(decode_row(row, limits));
  return report.dump(2);
}

}  // namespace lanner
