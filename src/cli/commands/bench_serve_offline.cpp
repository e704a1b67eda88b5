// SPDX-License-Identifier: Apache-2.0
// `lanner bench serve-offline`: a fixed set of requests, so many of them at a time.
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
#include "cli/statistics.h"

namespace lanner::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Lengths {
  int prompt = 0;
  int output = 0;
};

// Lengths of conversations: at each tenth of the requests, linear in between. The means are those
// of ShareGPT as in Kwon et al. 2023 (arXiv 2309.06180), 161 tokens in and 338 out, times `scale`.
constexpr double kPromptDeciles[] = {4, 11, 17, 25, 38, 62, 105, 175, 280, 470, 900};
constexpr double kOutputDeciles[] = {6, 40, 90, 155, 230, 305, 375, 440, 530, 690, 1000};

int at_share(const double (&deciles)[11], double share, double scale) {
  const double position = share * 10;
  const auto below = std::min(static_cast<size_t>(position), size_t{9});
  const double part = position - static_cast<double>(below);
  const double length = deciles[below] + part * (deciles[below + 1] - deciles[below]);
  return std::max(static_cast<int>(std::lround(length * scale)), 2);
}

// Neither half of a request may take more than half of the context.
std::vector<Lengths> recorded_lengths(size_t count, double scale, int max_context) {
  std::mt19937 generator(1);
  // A division by 2^32 is the same on every machine; the library's distributions are not.
  const auto uniform = [&] { return static_cast<double>(generator()) * 0x1p-32; };
  std::vector<Lengths> lengths;
  for (size_t i = 0; i < count; ++i) {
    const int prompt = at_share(kPromptDeciles, uniform(), scale);
    const int output = at_share(kOutputDeciles, uniform(), scale);
    lengths.push_back({std::min(prompt, max_context / 2), std::min(output, max_context / 2)});
  }
  return lengths;
}

// Keeps `concurrency` requests in flight until all have ended.
class OfflineRun {
 public:
  OfflineRun(LLM& llm, std::vector<Request> requests)
      : llm_(llm), requests_(std::move(requests)), submitted_(requests_.size()) {}

  void run(size_t concurrency) {
    for (size_t i = 0; i < std::min(concurrency, requests_.size()); ++i) submit_next();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return num_ended_ == requests_.size(); });
    if (!error_.empty()) throw Error(ErrorCode::kInternal, error_);
  }

  std::vector<double> ttft;       // seconds
  std::vector<double> intervals;  // seconds per token after the first, per request
  int64_t output_tokens = 0;

 private:
  void submit_next() {
    size_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      if (next_ == requests_.size()) return;
      index = next_++;
      submitted_[index] = Clock::now();
    }
    llm_.submit(requests_[index],
                [this, index, first = Clock::time_point()](const RequestOutput& output) mutable {
                  const auto now = Clock::now();
                  if (first == Clock::time_point() && !output.token_ids.empty()) first = now;
                  if (!output.finished()) return;
                  submit_next();
                  note(index, output, first, now);  // the last one ends the run, and `this`
                });
  }

  void note(size_t index, const RequestOutput& output, Clock::time_point first,
            Clock::time_point last) {
    const std::lock_guard lock(mutex_);
    if (output.finish_reason != FinishReason::kLength) {
      error_ = output.error.empty() ? "a request ended before its time" : output.error;
    }
    ttft.push_back(seconds_between(submitted_[index], first));
    if (output.output_tokens > 1) {
      intervals.push_back(seconds_between(first, last) / (output.output_tokens - 1));
    }
    output_tokens += output.output_tokens;
    if (++num_ended_ == requests_.size()) done_.notify_one();
  }

  LLM& llm_;
  std::vector<Request> requests_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<Clock::time_point> submitted_;
  size_t next_ = 0;
  size_t num_ended_ = 0;
  std::string error_;
};

std::vector<Request> make_requests(const std::vector<Lengths>& lengths, int64_t vocab_size) {
  std::mt19937 generator(2);
  std::vector<Request> requests;
  for (const Lengths& length : lengths) {
    std::vector<int32_t> ids(static_cast<size_t>(length.prompt));
    for (int32_t& id : ids) {
      id = static_cast<int32_t>(generator() % static_cast<uint64_t>(vocab_size));
    }
    Request& request = requests.emplace_back();
    request.prompt = std::move(ids);
    request.sampling.max_tokens = length.output;
    request.sampling.ignore_eos = true;
  }
  return requests;
}

// Enough for the full width to last, few enough for one at a time.
size_t num_requests(const BenchServeOfflineOptions& options, int concurrency) {
  return static_cast<size_t>(options.requests > 0 ? options.requests : 2 * concurrency + 6);
}

Json run_at(LLM& llm, int concurrency, const std::vector<Request>& all, size_t count) {
  std::vector<Request> requests(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
  int64_t prompt_tokens = 0;
  for (const Request& request : requests) {
    prompt_tokens += std::ssize(std::get<std::vector<int32_t>>(request.prompt));
  }
  const LlmStats before = llm.stats();
  OfflineRun run(llm, std::move(requests));
  const auto start = Clock::now();
  run.run(static_cast<size_t>(concurrency));
  const double seconds = seconds_between(start, Clock::now());
  const LlmStats after = llm.stats();
  const double steps = after.step_seconds - before.step_seconds;
  const double forward =
      after.forward_seconds - before.forward_seconds + after.draft_seconds - before.draft_seconds;
  return Json{{"concurrency", concurrency},
              {"requests", count},
              {"prompt_tokens", prompt_tokens},
              {"output_tokens", run.output_tokens},
              {"output_tokens_per_s", static_cast<double>(run.output_tokens) / seconds},
              {"seconds", seconds},
              {"ttft_ms", percentiles_ms(run.ttft)},
              {"tpot_ms", percentiles_ms(run.intervals)},
              {"steps", after.steps - before.steps},
              {"overhead_share", steps > 0 ? (steps - forward) / steps : 0.0},
              {"preemptions", after.preemptions - before.preemptions}};
}

}  // namespace

int bench_serve_offline_command(const BenchServeOfflineOptions& options, Context& context) {
  LlmConfig config = to_config(options.model, context);
  refuse_adapters(config);
  config.max_sequences = *std::ranges::max_element(options.concurrency);
  config.prefix_cache = false;  // the same prompts come again at every width
  const std::string path = resolve_model(options.path, context);
  const std::unique_ptr<LLM> llm = load_model(context, path, config);
  const Json model = parse_json(llm->report(), "report").at("model");
  const size_t most = num_requests(options, config.max_sequences);
  const int64_t fixed = int64_t{options.prompt.value_or(0)} + options.generate.value_or(0);
  if (fixed > llm->max_context()) {
    throw usage_failure(fmt::format("--prompt and --generate make {} tokens, the context holds {}",
                                    fixed, llm->max_context()));
  }
  const std::vector<Lengths> lengths =
      options.prompt ? std::vector<Lengths>(most, {*options.prompt, *options.generate})
                     : recorded_lengths(most, options.scale, llm->max_context());
  const std::vector<Request> requests =
      make_requests(lengths, model.at("vocab_size").get<int64_t>());
  run_at(*llm, 1, requests, 1);  // warm-up: scratch memory grows, pages are touched
  Json rows = Json::array();
  for (const int concurrency : options.concurrency) {
    say(context, fmt::format("{} at a time …", concurrency));
    rows.push_back(run_at(*llm, concurrency, requests, num_requests(options, concurrency)));
  }
  say(context, "");
  print_report(Json{{"model",
                     {{"name", path},
                      {"dtype", model.at("dtype")},
                      {"kv_dtype", model.at("kv_dtype")},
                      {"weight_bytes", model.at("loaded").at("weight_bytes")}}},
                    {"lengths", options.prompt ? "fixed" : "recorded"},
                    {"scale", options.prompt ? 1.0 : options.scale},
                    {"serve_offline", rows},
                    {"peak_rss_bytes", llm->stats().peak_memory_bytes}},
               options.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
