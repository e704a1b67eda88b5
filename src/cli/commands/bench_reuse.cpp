// SPDX-License-Identifier: Apache-2.0
// `lanner bench reuse`: what a model need not compute, because it has computed it before (prefix
// cache), or because it can be guessed and checked (speculation).
#include <algorithm>
#include <chrono>
#include <future>
#include <ostream>
#include <random>

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

std::vector<int32_t> random_tokens(int count, uint32_t seed, int64_t vocab_size) {
  std::mt19937 generator(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) {
    id = static_cast<int32_t>(generator() % static_cast<uint64_t>(vocab_size));
  }
  return ids;
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

struct BatchRun {
  std::vector<std::vector<int32_t>> tokens;  // [requests]
  double seconds = 0;                        // from the first token of all to the end
  int64_t num_tokens = 0;                    // in that time
};

BatchRun run_together(LLM& llm, const std::vector<Request>& requests) {
  BatchRun result;
  result.tokens.resize(requests.size());
  std::promise<void> done;
  size_t left = requests.size();
  size_t silent = requests.size();
  Clock::time_point begin;
  // Callbacks come one at a time.
  for (size_t i = 0; i < requests.size(); ++i) {
    llm.submit(requests[i], [&, i](const RequestOutput& output) {
      if (silent == 0) result.num_tokens += std::ssize(output.token_ids);
      std::vector<int32_t>& tokens = result.tokens[i];
      if (tokens.empty() && !output.token_ids.empty() && --silent == 0) begin = Clock::now();
      tokens.insert(tokens.end(), output.token_ids.begin(), output.token_ids.end());
      if (!output.is_last || --left > 0) return;
      result.seconds = seconds_between(begin, Clock::now());
      done.set_value();
    });
  }
  done.get_future().get();
  return result;
}

// Requests with speculation and without, in turns.
Json bench_speculation(LLM& with, LLM& without, const std::vector<Request>& requests, int repeat) {
  std::vector<double> rates;
  std::vector<double> plain_rates;
  std::vector<double> ratios;
  bool same = true;
  run_together(with, requests);
  run_together(without, requests);
  const LlmStats before = with.stats();
  for (int i = 0; i < repeat; ++i) {
    const BatchRun on = run_together(with, requests);
    const BatchRun off = run_together(without, requests);
    rates.push_back(static_cast<double>(on.num_tokens) / on.seconds);
    plain_rates.push_back(static_cast<double>(off.num_tokens) / off.seconds);
    ratios.push_back(rates.back() / plain_rates.back());
    same = same && on.tokens == off.tokens;
  }
  const LlmStats after = with.stats();
  return Json{{"batch", requests.size()},
              {"tokens_per_s", percentile(rates, 0.5)},
              {"tokens_per_s_without", percentile(plain_rates, 0.5)},
              {"speedup", percentile(ratios, 0.5)},
              {"drafts", after.draft_tokens - before.draft_tokens},
              {"accepted", after.accepted_tokens - before.accepted_tokens},
              {"draft_seconds", after.draft_seconds - before.draft_seconds},
              {"same_tokens", same}};
}

constexpr const char* kText =
    "The harbour of the old town lies between two hills. On the northern one stands a lighthouse "
    "that was built in 1874 and burned down twice; on the southern one there are only sheep. Ships "
    "that come in at night keep the light to their left, and in fog they wait outside until the "
    "bell of the church strikes six. The keeper's daughter, Marta Lindqvist, counted 1,312 ships "
    "in her first year, wrote all their names into a blue notebook, and gave it to the museum.";

Request copying_request(LLM& llm, int max_tokens) {
  const std::string task = std::string("Repeat the following text word for word.\n\n") + kText;
  Request request;
  if (llm.has_chat_template()) {
    ChatRequest chat;
    chat.messages.emplace_back().role = "user";
    chat.messages.back().content = task;
    request.prompt = llm.render(chat) + "The harbour of the old town";
    request.prompt_has_special_tokens = true;
  } else {
    request.prompt = std::string(kText) + "\n\n" + kText + "\n\nThe harbour of the old town";
  }
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

Request random_request(int64_t vocab_size, int max_tokens, uint32_t seed) {
  Request request = make_request(random_tokens(128, seed, vocab_size), max_tokens);
  request.sampling.temperature = 1.0;
  request.sampling.seed = seed;
  return request;
}

}  // namespace

int bench_reuse_command(const BenchReuseOptions& options, Context& context) {
  LlmConfig config = to_config(options.model, context);
  config.max_sequences = *std::ranges::max_element(options.batches);
  const std::string path = resolve_model(options.path, context);
  const std::unique_ptr<LLM> llm = load_model(context, path, config);
  const Json model = parse_json(llm->report(), "report").at("model");
  const auto vocab_size = model.at("vocab_size").get<int64_t>();
  Json report{{"model", {{"name", path}, {"dtype", model.at("dtype")}}}};
  say(context, "a second turn …");
  const int tokens = std::min(options.tokens, llm->max_context() - 128);
  report["prefix"] = bench_prefix(*llm, tokens, vocab_size, options.repeat);

  config.ngram_speculation = false;
  config.draft_model.clear();
  const std::unique_ptr<LLM> plain = load_model(context, path, config);
  Json copying = Json::array();
  Json random = Json::array();
  for (const int batch : options.batches) {
    say(context, fmt::format("speculation, {} at a time …", batch));
    std::vector<Request> copies;
    std::vector<Request> randoms;
    for (int i = 0; i < batch; ++i) {
      copies.push_back(copying_request(*llm, 96));
      randoms.push_back(random_request(vocab_size, 96, static_cast<uint32_t>(i + 5)));
    }
    copying.push_back(bench_speculation(*llm, *plain, copies, options.repeat));
    random.push_back(bench_speculation(*llm, *plain, randoms, options.repeat));
  }
  report["speculation"] = {{"copying", copying}, {"random", random}};
  say(context, "");
  print_report(report, options.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
