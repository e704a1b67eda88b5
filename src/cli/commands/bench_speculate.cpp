// SPDX-License-Identifier: Apache-2.0
// `lanner bench speculate`: what guessing tokens and checking them gains, or costs.
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

constexpr const char* kText =
    "The harbour of the old town lies between two hills. On the northern one stands a lighthouse "
    "that was built in 1874 and burned down twice; on the southern one there are only sheep. Ships "
    "that come in at night keep the light to their left, and in fog they wait outside until the "
    "bell of the church strikes six. The keeper's daughter, Marta Lindqvist, counted 1,312 ships "
    "in her first year, wrote all their names into a blue notebook, and gave it to the museum.";

constexpr const char* kQuestions[] = {"Why is the sky blue, and why are sunsets red?",
                                      "Describe how bread is made, step by step.",
                                      "What should I see in Lisbon in three days?"};

// What the requests of a text are made from.
struct Text {
  std::string name;
  int generate = 0;  // tokens of an answer
  int64_t vocab_size = 0;
};

Request chat_request(LLM& llm, const std::string& question) {
  Request request;
  if (!llm.has_chat_template()) {
    request.prompt = question;
    return request;
  }
  ChatRequest chat;
  chat.messages.emplace_back().role = "user";
  chat.messages.back().content = question;
  request.prompt = llm.render(chat);
  request.prompt_has_special_tokens = true;
  return request;
}

Request copying_request(LLM& llm) {
  constexpr const char* kBeginning = "The harbour of the old town";
  Request request =
      chat_request(llm, std::string("Repeat the following text word for word.\n\n") + kText);
  auto& prompt = std::get<std::string>(request.prompt);
  if (!llm.has_chat_template()) prompt = fmt::format("{0}\n\n{0}\n\n", kText);
  prompt += kBeginning;
  return request;
}

// The request `index` of the pair `pair`: another text for each, but for the one that is copied.
Request make_request(LLM& llm, const Text& text, int pair, int index) {
  const auto number = static_cast<uint32_t>(1000 * pair + index);
  Request request;
  if (text.name == "random") {
    request.prompt = random_tokens(128, number, text.vocab_size);
    request.sampling.temperature = 1.0;
    request.sampling.seed = number;
  } else if (text.name == "copying") {
    request = copying_request(llm);
  } else {
    request = chat_request(llm, kQuestions[number % std::size(kQuestions)]);
    if (text.name == "drawn") request.sampling.temperature = 0.8;
  }
  request.sampling.max_tokens = text.generate;
  request.sampling.ignore_eos = true;
  return request;
}

struct Counts {
  int64_t steps = 0;
  int64_t computed_tokens = 0;
};

// One run, and what the engine counted in it.
BatchRun run_counted(LLM& llm, const std::vector<Request>& requests, Counts& counts) {
  const LlmStats before = llm.stats();
  BatchRun run = run_together(llm, requests);
  const LlmStats after = llm.stats();
  counts.steps += after.steps - before.steps;
  counts.computed_tokens += after.computed_tokens - before.computed_tokens;
  return run;
}

double rate(const BatchRun& run) { return static_cast<double>(run.num_tokens) / run.seconds; }

// Pairs of runs with speculation and without, which begin with the one and the other in turns.
Json bench_text(LLM& with, LLM& without, const Text& text, int batch, int pairs) {
  const auto requests_of = [&](int pair) {
    std::vector<Request> requests;
    for (int i = 0; i < batch; ++i) requests.push_back(make_request(with, text, pair, i));
    return requests;
  };
  run_together(with, requests_of(pairs));
  run_together(without, requests_of(pairs));
  std::vector<double> rates;
  std::vector<double> plain_rates;
  std::vector<double> ratios;
  Counts counts;
  Counts plain_counts;
  bool same = true;
  const LlmStats before = with.stats();
  for (int pair = 0; pair < pairs; ++pair) {
    const std::vector<Request> requests = requests_of(pair);
    BatchRun off;
    if (pair % 2 == 1) off = run_counted(without, requests, plain_counts);
    const BatchRun on = run_counted(with, requests, counts);
    if (pair % 2 == 0) off = run_counted(without, requests, plain_counts);
    rates.push_back(rate(on));
    plain_rates.push_back(rate(off));
    ratios.push_back(rate(on) / rate(off));
    same = same && on.tokens == off.tokens;
  }
  const LlmStats after = with.stats();
  Json row{{"batch", batch},
           {"speedup", percentile(ratios, 0.5)},
           {"speedup_p25", percentile(ratios, 0.25)},
           {"speedup_p75", percentile(ratios, 0.75)},
           {"tokens_per_s", percentile(rates, 0.5)},
           {"tokens_per_s_without", percentile(plain_rates, 0.5)},
           {"steps", counts.steps},
           {"steps_without", plain_counts.steps},
           {"computed_tokens", counts.computed_tokens},
           {"computed_tokens_without", plain_counts.computed_tokens},
           {"drafts", after.draft_tokens - before.draft_tokens},
           {"accepted", after.accepted_tokens - before.accepted_tokens},
           {"draft_seconds", after.draft_seconds - before.draft_seconds}};
  // Without a seed the texts are drawn anew.
  if (text.name != "drawn") row["same_tokens"] = same;
  return row;
}

}  // namespace

int bench_speculate_command(const BenchSpeculateOptions& options, Context& context) {
  if (options.random_weights && options.texts != std::vector<std::string>{"random"}) {
    throw usage_failure("--random-weights answer nothing: give --text random");
  }
  LlmConfig config = to_config(options.model, context);
  refuse_adapters(config);
  config.random_weights = options.random_weights.has_value();
  config.max_sequences = *std::ranges::max_element(options.batches);
  const std::string path =
      options.random_weights ? *options.random_weights : resolve_model(options.path, context);
  const std::unique_ptr<LLM> llm = load_model(context, path, config);
  const Json model = parse_json(llm->report(), "report").at("model");
  config.ngram_speculation = false;
  config.draft_model.clear();
  const std::unique_ptr<LLM> plain = load_model(context, path, config);
  Json speculation = Json::object();
  for (const std::string& name : options.texts) {
    const Text text{name, options.generate, model.at("vocab_size").get<int64_t>()};
    for (const int batch : options.batches) {
      say(context, fmt::format("{}, {} at a time …", name, batch));
      speculation[name].push_back(bench_text(*llm, *plain, text, batch, options.repeat));
    }
  }
  say(context, "");
  print_report(Json{{"model", {{"name", path}, {"dtype", model.at("dtype")}}},
                    {"draft_model", options.model.draft_model},
                    {"pairs", options.repeat},
                    {"speculation", speculation}},
               options.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
