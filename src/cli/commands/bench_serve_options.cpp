// SPDX-License-Identifier: Apache-2.0
#include <climits>

#include <CLI/CLI.hpp>

#include "cli/options.h"
#include "cli/serve.h"

namespace lanner::cli {

void add_bench_serve_options(CLI::App& command, BenchServeOptions& options) {
  const char* server = "The server";
  command.add_option("URL", options.url, "Its address [http://127.0.0.1:8080]")->type_name("");
  command.add_option("--model", options.model, "Model to ask for; none: its first one")
      ->type_name("NAME")
      ->group(server);
  command.add_option("--api-key-file", options.api_key_file, "File whose first line is an API key")
      ->type_name("FILE")
      ->group(server);
  const char* load = "The load";
  command.add_option("--requests", options.requests, "Requests to send in all [64]")
      ->check(whole_number(1, 1000000))
      ->group(load);
  CLI::Option* concurrency = command.add_option(
      "--concurrency", options.concurrency, "Requests under way at any time (closed loop) [16]");
  concurrency->check(whole_number(1, 4096))->group(load);
  command
      .add_option("--rate", options.rate,
                  "Requests per second on average, at random times (Poisson), instead of a fixed "
                  "concurrency")
      ->check(CLI::PositiveNumber)
      ->excludes(concurrency)
      ->type_name("R")
      ->group(load);
  command.add_option("--prompt", options.prompt, "Tokens of a prompt [512]")
      ->check(whole_number(1, INT_MAX))
      ->group(load);
  command
      .add_option("--generate", options.generate, "Tokens of an answer; its end is ignored [128]")
      ->check(whole_number(1, INT_MAX))
      ->group(load);
  command
      .add_flag("--text", options.text,
                "Prompts of so many words instead of token ids, for servers that take text only")
      ->group(load);
  command.add_option("--warmup", options.warmup, "Requests before the measurement [2]")
      ->check(whole_number(0, 1000))
      ->group(load);
  command.add_option("--seed", options.seed, "The same seed sends the same load [1]")
      ->check(whole_number<uint64_t>(0, UINT64_MAX))
      ->group(load);
  const char* limits = "What counts as good (goodput)";
  command.add_option("--ttft-limit", options.ttft_limit, "Seconds to the first token at most")
      ->check(CLI::PositiveNumber)
      ->type_name("S")
      ->group(limits);
  command.add_option("--tpot-limit", options.tpot_limit, "Seconds per further token at most")
      ->check(CLI::PositiveNumber)
      ->type_name("S")
      ->group(limits);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.add_option("--html", options.html, "Write a page with plots to this file")
      ->type_name("FILE")
      ->group("Output");
  command.footer(
      "\nSends streaming requests to /v1/completions of any server of that API. TTFT: from sending "
      "a\n"
      "request to its first token. TPOT: the mean time of the tokens after it. ITL: each time\n"
      "between two events. E2E: to the end. Goodput: requests per second that kept the limits.\n"
      "\nExamples:\n"
      "  lanner bench serve --concurrency 16 --prompt 512 --generate 128\n"
      "  lanner bench serve http://10.0.0.5:8080 --rate 2 --requests 200 --ttft-limit 2 --json\n");
}

}  // namespace lanner::cli
