// SPDX-License-Identifier: Apache-2.0
// `lanner bench reuse`: what a model need not compute, because it has computed it before.
#include <algorithm>
#include <chrono>
#include <future>
#include <ostream>

#include <fmt/format.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/load_progress.h"
#include "cli/statistics.h"

namespace lanner::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Run {
  std::vector<int32_t> tokens;
  double ttft = 0;  // seconds
  int cached_tokens = 0;
};

Run run(LLM& llm, const Request& request) {
  const auto start = Clock::now();
  Run result;
  std::promise<void> done;
  Clock::time_point first;
  llm.submit(request, [&](const RequestOutput& output) {
    const auto now = Clock::now();
    if (result.tokens.empty() && !output.token_ids.empty()) first = now;
    result.tokens.insert(result.tokens.end(), output.token_ids.begin(), output.token_ids.end());
    result.cached_tokens = output.cached_tokens;
    if (!output.is_last) return;
    result.ttft = seconds_between(start, first);
    done.set_value();
  });
  done.get_future().get();
  return result;
}

Request make_request(std::vector<int32_t> prompt, int max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

// The second turn of a chat: the first prompt, its answer and a question more.
Json bench_prefix(LLM& llm, int tokens, int64_t vocab_size, int repeat) {
  constexpr int kAnswer = 64;
  constexpr int kQuestion = 32;
  std::vector<double> first;
  std::vector<double> second;
  std::vector<double> whole;
  int cached = 0;
  for (int i = 0; i < repeat; ++i) {
    const auto seed = static_cast<uint32_t>(10 * i);
    std::vector<int32_t> ids = random_tokens(tokens, seed + 1, vocab_size);
    const Run answer = run(llm, make_request(ids, kAnswer));
    first.push_back(answer.ttft);
    ids.insert(ids.end(), answer.tokens.begin(), answer.tokens.end());
    const std::vector<int32_t> question = random_tokens(kQuestion, seed + 2, vocab_size);
    ids.insert(ids.end(), question.begin(), question.end());
    const Run turn = run(llm, make_request(ids, 1));
    second.push_back(turn.ttft);
    cached = turn.cached_tokens;
    Request salted = make_request(ids, 1);
    salted.cache_salt = fmt::format("{}", i);
    whole.push_back(run(llm, salted).ttft);
  }
  const double reused = percentile(second, 0.5);
  const double without = percentile(whole, 0.5);
  return Json{{"first_turn_tokens", tokens},
              {"second_turn_tokens", tokens + kAnswer + kQuestion},
              {"cached_tokens", cached},
              {"first_turn_ttft_ms", percentile(first, 0.5) * 1e3},
              {"second_turn_ttft_ms", reused * 1e3},
              {"second_turn_without_cache_ttft_ms", without * 1e3},
              {"speedup", without / reused}};
}

}  // namespace

int bench_reuse_command(const BenchReuseOptions& options, Context& context) {
  LlmConfig config = to_config(options.model, context);
  refuse_adapters(config);
  const std::string path = resolve_model(options.path, context);
  const std::unique_ptr<LLM> llm = load_model(context, path, config);
  const Json model = parse_json(llm->report(), "report").at("model");
  const auto vocab_size = model.at("vocab_size").get<int64_t>();
  Json report{{"model", {{"name", path}, {"dtype", model.at("dtype")}}}};
  say(context, "a second turn …");
  const int tokens = std::min(options.tokens, llm->max_context() - 128);
  report["prefix"] = bench_prefix(*llm, tokens, vocab_size, options.repeat);
  say(context, "");
  print_report(report, options.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
