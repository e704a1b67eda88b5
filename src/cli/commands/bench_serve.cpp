// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <mutex>
#include <ostream>
#include <random>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"
#include "base/http_client.h"
#include "base/json.h"
#include "cli/bench_page.h"
#include "cli/failure.h"
#include "cli/report_table.h"
#include "cli/serve.h"

namespace lanner::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// One request as its client saw it; times in seconds.
struct Measured {
  std::string error;  // empty: it was answered whole
  double sent = 0;    // since the load began
  double ttft = 0;
  double e2e = 0;
  std::vector<double> gaps;  // between two events
  int prompt_tokens = 0;
  int output_tokens = 0;
  double tpot() const { return output_tokens > 1 ? (e2e - ttft) / (output_tokens - 1) : 0; }
};

// Ids that every vocabulary of today has, besides the special ones at either end.
constexpr int kLowestToken = 300;
constexpr int kHighestToken = 30000;

Json make_prompt(const BenchServeOptions& options, std::mt19937_64& random) {
  static constexpr const char* kWords[] = {"river", "stone", "because", "light", "seven", "garden",
                                           "moves", "under", "paper",   "and",   "quiet", "ship"};
  if (!options.text) {
    std::uniform_int_distribution<int> token(kLowestToken, kHighestToken);
    Json ids = Json::array();
    for (int i = 0; i < options.prompt; ++i) ids.push_back(token(random));
    return ids;
  }
  std::uniform_int_distribution<size_t> word(0, std::size(kWords) - 1);
  std::string text;
  for (int i = 0; i < options.prompt; ++i)
    text += std::string(i > 0 ? " " : "") + kWords[word(random)];
  return text;
}

class Client {
 public:
  Client(const BenchServeOptions& options, std::string key)
      : options_(options), url_(parse_url(options.url)) {
    check_argument(url_.target == "/", "'{}' is no URL like http://127.0.0.1:8080", options.url);
    url_.target = "/v1/completions";
    headers_ = {{"Content-Type", "application/json"}};
    if (!key.empty()) headers_.emplace_back("Authorization", "Bearer " + key);
  }

  Measured run(const Json& prompt, Clock::time_point load_begin = Clock::now()) const {
    Json body = {{"prompt", prompt},   {"max_tokens", options_.generate},
                 {"ignore_eos", true}, {"temperature", 0},
                 {"stream", true},     {"stream_options", {{"include_usage", true}}}};
    if (!options_.model.empty()) body["model"] = options_.model;
    Measured measured;
    const auto begin = Clock::now();
    measured.sent = seconds_between(load_begin, begin);
    auto last = begin;
    int events = 0;
    std::string text;
    std::string problem;
    try {
      const HttpRequest request{
          .method = "POST", .url = url_, .headers = headers_, .body = body.dump()};
      const HttpHead head = http_request(
          request, {.timeout = std::chrono::milliseconds(0)}, {}, [&](std::string_view piece) {
            text += piece;
            for (size_t end = 0; (end = text.find("\n\n")) != std::string::npos;) {
              const std::string event = text.substr(0, end);
              text.erase(0, end + 2);
              if (!event.starts_with("data: ") || event == "data: [DONE]") continue;
              const Json json = parse_json(std::string_view(event).substr(6), "an event");
              if (json.contains("error")) problem = json["error"].value("message", "an error");
              if (const Json usage = json.value("usage", Json()); usage.is_object()) {
                measured.prompt_tokens = usage.value("prompt_tokens", 0);
                measured.output_tokens = usage.value("completion_tokens", 0);
              }
              const Json choices = json.value("choices", Json::array());
              if (choices.empty() || choices[0].value("text", "").empty()) continue;
              const auto now = Clock::now();
              if (events++ == 0) {
                measured.ttft = seconds_between(begin, now);
              } else {
                measured.gaps.push_back(seconds_between(last, now));
              }
              last = now;
            }
          });
      if (head.status != 200) {
        problem = fmt::format("status {}: {}", head.status, text.substr(0, 200));
      }
    } catch (const Error& error) {
      problem = error.what();
    }
    measured.e2e = seconds_between(begin, last);
    if (measured.output_tokens == 0) measured.output_tokens = events;
    if (problem.empty() && events == 0) problem = "the answer has no text";
    measured.error = problem;
    return measured;
  }

 private:
  const BenchServeOptions& options_;
  Url url_;
  std::vector<std::pair<std::string, std::string>> headers_;
};

// `concurrency` clients, each with the next request as soon as its last one is through.
std::vector<Measured> closed_loop(const Client& client, const std::vector<Json>& prompts,
                                  int concurrency) {
  std::vector<Measured> results(prompts.size());
  const auto begin = Clock::now();
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < concurrency; ++i) {
    threads.emplace_back([&] {
      for (size_t at = next++; at < prompts.size(); at = next++)
        results[at] = client.run(prompts[at], begin);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

// Requests at random times, whatever becomes of those before.
std::vector<Measured> open_loop(const Client& client, const std::vector<Json>& prompts, double rate,
                                std::mt19937_64& random) {
  std::vector<Measured> results(prompts.size());
  std::exponential_distribution<double> pause(rate);
  std::vector<std::thread> threads;
  const auto begin = Clock::now();
  auto at = begin;
  for (size_t i = 0; i < prompts.size(); ++i) {
    at += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(pause(random)));
    std::this_thread::sleep_until(at);
    threads.emplace_back([&, i] { results[i] = client.run(prompts[i], begin); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

Json percentiles_ms(std::vector<double> seconds) {
  if (seconds.empty()) return nullptr;
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) {
    const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(seconds.size())));
    return seconds[std::clamp(rank, size_t{1}, seconds.size()) - 1] * 1e3;
  };
  double sum = 0;
  for (const double value : seconds) sum += value;
  return Json{{"mean", sum / static_cast<double>(seconds.size()) * 1e3},
              {"p50", at(0.5)},
              {"p90", at(0.9)},
              {"p99", at(0.99)},
              {"max", at(1.0)}};
}

Json report_of(const BenchServeOptions& options, const std::vector<Measured>& results,
               double seconds) {
  std::vector<double> ttft;
  std::vector<double> tpot;
  std::vector<double> itl;
  std::vector<double> e2e;
  std::map<std::string, int> errors;
  double prompt_tokens = 0;
  double output_tokens = 0;
  int good = 0;
  Json requests = Json::array();
  for (const Measured& one : results) {
    const bool whole = one.error.empty();
    requests.push_back({{"sent_s", one.sent},
                        {"ttft_ms", whole ? Json(one.ttft * 1e3) : Json(nullptr)},
                        {"tpot_ms", whole ? Json(one.tpot() * 1e3) : Json(nullptr)},
                        {"e2e_ms", whole ? Json(one.e2e * 1e3) : Json(nullptr)}});
    if (!whole) {
      ++errors[one.error];
      continue;
    }
    ttft.push_back(one.ttft);
    e2e.push_back(one.e2e);
    if (one.output_tokens > 1) tpot.push_back(one.tpot());
    itl.insert(itl.end(), one.gaps.begin(), one.gaps.end());
    prompt_tokens += one.prompt_tokens;
    output_tokens += one.output_tokens;
    const bool ttft_good = options.ttft_limit == 0 || one.ttft <= options.ttft_limit;
    const bool tpot_good = options.tpot_limit == 0 || one.tpot() <= options.tpot_limit;
    if (ttft_good && tpot_good) ++good;
  }
  Json failed = Json::array();
  for (const auto& [what, count] : errors) failed.push_back({{"error", what}, {"count", count}});
  const bool open = options.rate > 0;
  return Json{{"load",
               {{"url", options.url},
                {"requests", options.requests},
                {"concurrency", open ? Json(nullptr) : Json(options.concurrency)},
                {"rate_per_s", open ? Json(options.rate) : Json(nullptr)},
                {"prompt", options.prompt},
                {"generate", options.generate},
                {"seed", options.seed}}},
              {"throughput",
               {{"seconds", seconds},
                {"requests_per_s", static_cast<double>(e2e.size()) / seconds},
                {"output_tokens_per_s", output_tokens / seconds},
                {"total_tokens_per_s", (output_tokens + prompt_tokens) / seconds},
                {"prompt_tokens", prompt_tokens},
                {"output_tokens", output_tokens}}},
              {"latency",
               {{"ttft_ms", percentiles_ms(ttft)},
                {"tpot_ms", percentiles_ms(tpot)},
                {"itl_ms", percentiles_ms(itl)},
                {"e2e_ms", percentiles_ms(e2e)}}},
              {"goodput",
               {{"ttft_limit_s", options.ttft_limit > 0 ? Json(options.ttft_limit) : Json(nullptr)},
                {"tpot_limit_s", options.tpot_limit > 0 ? Json(options.tpot_limit) : Json(nullptr)},
                {"requests_per_s", good / seconds},
                {"share", static_cast<double>(good) / static_cast<double>(results.size())}}},
              {"failed", failed},
              {"requests", std::move(requests)}};
}

void write_page(const std::string& page, const std::string& path) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << page;
  file.close();
  if (!file) throw_error(ErrorCode::kIo, "{}: the page cannot be written", path);
}

std::string read_key(const std::string& file) {
  if (file.empty()) return {};
  std::ifstream stream(file);
  std::string key;
  if (!std::getline(stream, key) || key.empty()) {
    throw_error(ErrorCode::kNotFound, "API key file {} has no first line", file);
  }
  return key;
}

}  // namespace

int bench_serve_command(const BenchServeOptions& options, Context& context) {
  const Client client(options, read_key(options.api_key_file));
  std::mt19937_64 random(options.seed);
  for (int i = 0; i < options.warmup; ++i) {
    const Measured warm = client.run(make_prompt(options, random));
    if (!warm.error.empty()) throw Failure(kExitFailure, options.url + ": " + warm.error);
  }
  std::vector<Json> prompts;
  for (int i = 0; i < options.requests; ++i) prompts.push_back(make_prompt(options, random));
  if (context.err_is_terminal) context.err << fmt::format("{} requests …\n", options.requests);
  const auto begin = Clock::now();
  const std::vector<Measured> results = options.rate > 0
                                            ? open_loop(client, prompts, options.rate, random)
                                            : closed_loop(client, prompts, options.concurrency);
  const Json report = report_of(options, results, seconds_between(begin, Clock::now()));
  if (options.html) write_page(bench_serve_page(report.dump()), *options.html);
  Json summary = report;
  summary.erase("requests");  // a row each would be long
  context.out << (options.json ? report.dump(2) + "\n" : report_table(summary.dump()));
  flush_output(context);
  return report.at("failed").empty() ? kExitOk : kExitFailure;
}

}  // namespace lanner::cli
