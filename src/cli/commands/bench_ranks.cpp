// SPDX-License-Identifier: Apache-2.0
// `lanner bench ranks`: a model on several ranks against the same on one, in turn.
#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <future>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/load_progress.h"
#include "cli/options.h"
#include "cli/rank_options.h"
#include "cli/statistics.h"

namespace lanner::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Run {
  double prefill_seconds = 0;
  double token_seconds = 0;  // of decoding, on average
};

Run measure(LLM& llm, const BenchRanksOptions& options) {
  Request request;
  std::vector<int32_t> prompt;
  for (int i = 0; i < options.prompt; ++i) prompt.push_back(1 + i * 7 % 97);
  request.prompt = prompt;
  request.sampling.max_tokens = options.generate + 1;
  request.sampling.ignore_eos = true;
  std::vector<Clock::time_point> times = {Clock::now()};
  std::string error;
  std::promise<void> done;
  llm.submit(request, [&](const RequestOutput& output) {
    if (!output.token_ids.empty()) times.push_back(Clock::now());
    error = output.error;
    if (output.is_last) done.set_value();
  });
  done.get_future().get();
  if (!error.empty()) throw Failure(kExitFailure, error);
  return {.prefill_seconds = seconds_between(times[0], times[1]),
          .token_seconds = seconds_between(times[1], times.back()) / options.generate};
}

Json row(const LLM& llm, const std::vector<Run>& runs) {
  std::vector<double> prefill, decode;
  for (const Run& run : runs) {
    prefill.push_back(run.prefill_seconds);
    decode.push_back(run.token_seconds);
  }
  const LlmStats stats = llm.stats();
  return Json{{"ranks", stats.ranks},
              {"communicator", stats.communicator},
              {"prefill_ms", percentile(prefill, 0.5) * 1e3},
              {"token_ms", percentile(decode, 0.5) * 1e3},
              {"best_token_ms", std::ranges::min(decode) * 1e3}};
}

// Above 1: the ranks are faster.
Json ratios(const std::vector<Run>& one, const std::vector<Run>& several, double Run::* seconds) {
  std::vector<double> all;
  for (size_t i = 0; i < one.size(); ++i) all.push_back(one[i].*seconds / several[i].*seconds);
  std::ranges::sort(all);
  // Between which pairs the median of endlessly many would lie, 19 times of 20: how many of the
  // pairs are below it has the binomial distribution, here by its normal approximation.
  const auto pairs = static_cast<double>(all.size());
  const double outside = std::max(0.0, std::floor(pairs / 2 - 0.98 * std::sqrt(pairs)));
  const auto low = std::min(static_cast<size_t>(outside), all.size() / 2);
  return Json{{"median", percentile(all, 0.5)},
              {"low", all[low]},
              {"high", all[all.size() - 1 - low]},
              {"min", std::ranges::min(all)},
              {"max", std::ranges::max(all)}};
}

}  // namespace

void add_bench_ranks_options(CLI::App& command, BenchRanksOptions& options) {
  command.add_option("MODEL", options.path, "Folder or GGUF file; none: the default model");
  const char* group = "What to run";
  command
      .add_option("--random-weights", options.random_weights,
                  "Draw the weights at random instead of reading a MODEL, as in bench model")
      ->type_name("CONFIG")
      ->excludes("MODEL")
      ->group(group);
  command.add_option("--pairs", options.pairs, "Runs of each, in turn [31]")
      ->check(whole_number(1, 1000))
      ->group(group);
  command.add_option("--prompt", options.prompt, "Tokens of the prompt [16]")
      ->check(whole_number(1, INT_MAX))
      ->group(group);
  command.add_option("--generate", options.generate, "Tokens of a decode run [8]")
      ->check(whole_number(1, INT_MAX))
      ->group(group);
  add_model_options(command, options.model);
  add_rank_options(command, options.model);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nLoads the model twice, on one rank and on --tp (default 2) or --hosts, with the same\n"
      "threads on this machine, and runs them in turn. The ratios are those of each pair, above 1\n"
      "where the ranks are faster: what disturbs the machine disturbs both of a short pair. "
      "Between\n"
      "low and high the median of more pairs would lie (95 %).\n"
      "\nExamples:\n"
      "  lanner bench ranks model.gguf\n"
      "  lanner bench ranks --random-weights llama-1b --dtype int8 --tp 2\n");
}

int bench_ranks_command(const BenchRanksOptions& options, Context& context) {
  LlmConfig config = to_config(options.model, context);
  refuse_adapters(config);
  config.random_weights = options.random_weights.has_value();
  config.prefix_cache = false;
  config.ngram_speculation = false;
  config.draft_model.clear();
  const int needed = options.prompt + options.generate + 1;
  config.max_context = std::max(config.max_context, needed);
  const std::string path =
      options.random_weights ? *options.random_weights : resolve_model(options.path, context);
  if (config.hosts.empty() && config.tensor_parallel == 0) config.tensor_parallel = 2;
  const auto several = load_model(context, path, config);
  config.hosts.clear();
  config.rendezvous.clear();
  config.tensor_parallel = 1;
  const auto one = load_model(context, path, config);

  measure(*one, options);  // to warm up
  measure(*several, options);
  std::vector<Run> of_one, of_several;
  for (int pair = 0; pair < options.pairs; ++pair) {
    say(context, fmt::format("pair {} of {} …", pair + 1, options.pairs));
    // Each is first in half of the pairs.
    if (pair % 2 == 0) of_one.push_back(measure(*one, options));
    of_several.push_back(measure(*several, options));
    if (pair % 2 == 1) of_one.push_back(measure(*one, options));
  }
  say(context, "");
  const Json report{{"model", {{"name", path}, {"dtype", options.model.dtype}}},
                    {"runs", {row(*one, of_one), row(*several, of_several)}},
                    {"decode", ratios(of_one, of_several, &Run::token_seconds)},
                    {"prefill", ratios(of_one, of_several, &Run::prefill_seconds)}};
  print_report(report, options.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
