// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <ostream>
#include <random>

#include <fmt/format.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/load_progress.h"
#include "cli/report_table.h"

namespace lanner::cli {
namespace {

using Clock = std::chrono::steady_clock;

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
  LoadRun(LLM& llm, int64_t vocab_size, uint32_t seed)
      : llm_(llm), token_(0, static_cast<int32_t>(vocab_size) - 1), generator_(seed) {}

  // One request per entry of max_tokens, each with a prompt of prompt_tokens.
  std::vector<Timeline> run(int prompt_tokens, const std::vector<int>& max_tokens) {
    timelines_.assign(max_tokens.size(), {});
    left_ = max_tokens.size();
    for (size_t i = 0; i < max_tokens.size(); ++i) {
      Request request;
      std::vector<int32_t> ids(static_cast<size_t>(prompt_tokens));
      for (int32_t& id : ids) id = token_(generator_);
      request.prompt = std::move(ids);
      request.sampling.max_tokens = max_tokens[i];
      request.sampling.ignore_eos = true;
      timelines_[i].submitted = Clock::now();
      llm_.submit(request, [this, i](const RequestOutput& output) { note(i, output); });
    }
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
    if (!error_.empty()) throw Error(ErrorCode::kInternal, error_);
    return std::move(timelines_);
  }

 private:
  void note(size_t request, const RequestOutput& output) {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < output.token_ids.size(); ++i) timelines_[request].tokens.push_back(now);
    if (!output.finished()) return;
    if (output.finish_reason != FinishReason::kLength) {
      error_ = output.error.empty() ? "a request ended before its time" : output.error;
    }
    if (--left_ == 0) done_.notify_one();
  }

  LLM& llm_;
  std::uniform_int_distribution<int32_t> token_;
  std::mt19937 generator_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<Timeline> timelines_;
  size_t left_ = 0;
  std::string error_;
};

// What a token and a step cost, as the model reports it.
struct Work {
  double weight_bytes = 0;
  double kv_bytes_per_token = 0;
  double block_parameters = 0;   // multiplied with every token
  double output_parameters = 0;  // multiplied with the last one
  double attention_width = 0;    // heads * head_dim * layers
};

Work read_work(const Json& model) {
  const Json& loaded = model.at("loaded");
  Work work;
  work.weight_bytes = loaded.at("weight_bytes").get<double>();
  work.kv_bytes_per_token = model.at("memory_plan").at("kv_bytes_per_token").get<double>();
  work.output_parameters = loaded.at("output_parameters").get<double>();
  work.block_parameters = loaded.at("parameters").get<double>() - work.output_parameters;
  work.attention_width = model.at("num_heads").get<double>() * model.at("head_dim").get<double>() *
                         model.at("num_layers").get<double>();
  return work;
}

// A row of the report and the rate that its share of a limit is made of.
struct Measurement {
  Json row;
  double per_second = 0;  // operations or bytes
};

Measurement bench_prefill(LoadRun& load, const BenchModelOptions& options, const Work& work) {
  std::vector<double> ttft;
  load.run(options.prompt, {1});  // warm-up: scratch memory grows, pages are touched
  for (int i = 0; i < options.repeat; ++i) {
    const Timeline timeline = load.run(options.prompt, {1}).front();
    ttft.push_back(seconds_between(timeline.submitted, timeline.tokens.front()));
  }
  const double seconds = percentile(ttft, 0.5);
  const double tokens = options.prompt;
  // QK^T and PV over the half of the score matrix that the causal mask lets through.
  const double attention = 2.0 * tokens * tokens * work.attention_width;
  const double operations =
      2.0 * (work.block_parameters * tokens + work.output_parameters) + attention;
  return {.row = Json{{"tokens", options.prompt},
                      {"tokens_per_s", tokens / seconds},
                      {"share_of_peak", nullptr},
                      {"ttft_ms", percentiles_ms(ttft)}},
          .per_second = operations / seconds};
}

// Only the time in which all sequences decode counts. Those that are through with their prompts
// before the last one get as many tokens more.
Measurement bench_decode(LoadRun& load, const BenchModelOptions& options, const Work& work,
                         int depth, int batch) {
  const int prompt = std::max(depth, 1);
  const int prefill_steps = prompt / LlmConfig{}.max_tokens_per_step + 1;
  std::vector<int> max_tokens;
  for (int i = 0; i < batch; ++i) {
    max_tokens.push_back(options.generate + 1 + prefill_steps * (batch - i));
  }
  std::vector<double> rates;
  std::vector<double> intervals;
  for (int i = 0; i < options.repeat; ++i) {
    const std::vector<Timeline> timelines = load.run(prompt, max_tokens);
    Clock::time_point begin = Clock::time_point::min();
    Clock::time_point end = Clock::time_point::max();
    for (const Timeline& timeline : timelines) {
      begin = std::max(begin, timeline.tokens.front());
      end = std::min(end, timeline.tokens.back());
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
  const double kv_bytes = batch * work.kv_bytes_per_token * (prompt + options.generate / 2.0);
  return {.row = Json{{"depth", depth},
                      {"batch", batch},
                      {"tokens_per_s", rate},
                      {"share_of_bandwidth", nullptr},
                      {"tpot_ms", percentiles_ms(intervals)}},
          .per_second = (work.weight_bytes + kv_bytes) * rate / batch};
}

// The rows with their shares of a limit in 10^9 per second; null where the limit is not known.
Json with_shares(const std::vector<Measurement>& measurements, const char* key,
                 const Json& billions_per_second) {
  Json rows = Json::array();
  for (const Measurement& measurement : measurements) {
    rows.push_back(measurement.row);
    if (billions_per_second.is_null()) continue;
    rows.back()[key] = measurement.per_second / 1e9 / billions_per_second.get<double>();
  }
  return rows;
}

void print(const Json& report, bool as_json, Context& context) {
  context.out << (as_json ? report.dump(2) + "\n" : report_table(report.dump()));
  flush_output(context);
}

void say(Context& context, const std::string& what) {
  if (context.err_is_terminal) context.err << "\r\033[K" << what << std::flush;
}

}  // namespace

int bench_machine_command(const BenchMachineOptions& options, Context& context) {
  LlmConfig config;
  config.threads = options.threads > 0 ? options.threads : context.threads;
  say(context, "measuring the machine …");
  const std::string report = context.backend.benchmark_machine(config);
  say(context, "");
  print(parse_json(report, "report"), options.json, context);
  return kExitOk;
}

int bench_model_command(const BenchModelOptions& options, Context& context) {
  LlmConfig config = to_config(options.model, context);
  config.max_sequences = *std::max_element(options.batches.begin(), options.batches.end());
  const std::string path = resolve_model(options.path, context);
  const std::unique_ptr<LLM> llm = load_model(context, path, config);
  const Json model = parse_json(llm->report(), "report").at("model");
  const Json& loaded = model.at("loaded");
  const Work work = read_work(model);

  LoadRun load(*llm, model.at("vocab_size").get<int64_t>(), /*seed=*/1);
  say(context, fmt::format("prefill of {} tokens …", options.prompt));
  const std::vector<Measurement> prefill = {bench_prefill(load, options, work)};
  std::vector<Measurement> decode;
  for (int depth : options.depths) {
    for (int batch : options.batches) {
      say(context, fmt::format("decode at depth {}, batch {} …", depth, batch));
      decode.push_back(bench_decode(load, options, work, depth, batch));
    }
  }
  // Before the machine is measured, which takes memory of its own.
  const LlmStats stats = llm->stats();
  say(context, "measuring the machine …");
  const Json machine =
      parse_json(context.backend.benchmark_machine(config), "report").at("machine");
  say(context, "");
  const Json& peak = machine.at("peak_gops").at(loaded.at("arithmetic").get<std::string>());
  print(Json{{"machine", machine},
             {"model",
              {{"name", path},
               {"dtype", model.at("dtype")},
               {"kv_dtype", model.at("kv_dtype")},
               {"parameters", loaded.at("parameters")},
               {"weight_bytes", loaded.at("weight_bytes")},
               {"kernels", loaded.at("kernels")},
               {"arithmetic", loaded.at("arithmetic")}}},
             {"prefill", with_shares(prefill, "share_of_peak", peak)},
             {"decode", with_shares(decode, "share_of_bandwidth", machine.at("read_gbps"))},
             {"load_s", stats.load_seconds},
             {"peak_rss_bytes", stats.peak_memory_bytes}},
        options.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
