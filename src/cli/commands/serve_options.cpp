// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/options.h"
#include "cli/rank_options.h"
#include "cli/serve.h"
#include "server/limits.h"

namespace lanner::cli {
namespace {

std::string limits_help() {
  const server::Limits defaults;
  std::string text = "\nLimits (--limit NAME=VALUE) and their defaults:\n";
  for (const server::LimitRow& row : server::limits()) {
    text += fmt::format("  {:<20}{:>10}  {}\n", row.name, defaults.*row.field, row.meaning);
  }
  return text;
}

}  // namespace

void add_serve_options(CLI::App& command, ServeOptions& options) {
  command.add_option("MODEL", options.path, "Folder or GGUF file; none: the default model")
      ->type_name("");
  const char* serving = "What to serve, and where";
  command
      .add_option("--model", options.models,
                  "A model under a name of its own; may be given several times")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NAME=PATH")
      ->group(serving);
  command
      .add_option("--host", options.host, "Address to listen on; 0.0.0.0 is every one [127.0.0.1]")
      ->type_name("ADDRESS")
      ->group(serving);
  command.add_option("--port", options.port, "Port to listen on; 0: any free one [8080]")
      ->check(whole_number(0, 65535))
      ->group(serving);
  command
      .add_option("--max-sequences", options.max_sequences,
                  "Answers that a model works on together; more requests wait [64]")
      ->check(whole_number(1, 4096))
      ->group(serving);
  const char* access = "Who may ask";
  command
      .add_option("--api-key-file", options.api_key_file,
                  "One API key per line; also LANNER_API_KEYS=KEY,KEY. Without any, everybody may")
      ->type_name("FILE")
      ->group(access);
  command.add_option("--tls-cert", options.tls_certificate, "Certificate chain (PEM): serve HTTPS")
      ->type_name("FILE")
      ->group(access);
  command.add_option("--tls-key", options.tls_key, "Its private key (PEM)")
      ->type_name("FILE")
      ->group(access);
  command
      .add_option("--cors-origin", options.cors_origins,
                  "Web pages of this origin may ask, e.g. https://app.example.com; '*': all")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("ORIGIN")
      ->group(access);
  command
      .add_option("--allowed-host", options.allowed_hosts,
                  "A name clients reach this server by, besides localhost; others are refused")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NAME")
      ->group(access);
  const char* running = "Running it";
  command.add_option("--limit", options.limits, "Change a limit; they are listed below")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NAME=VALUE")
      ->group(running);
  command
      .add_option("--grace", options.grace,
                  "Seconds that requests get to finish after SIGTERM or Ctrl-C [30]")
      ->check(whole_number(0, 86400))
      ->group(running);
  command
      .add_option("--keep-alive", options.keep_alive,
                  "Seconds between two comments in a stream that has no news [15]")
      ->check(whole_number(1, 3600))
      ->group(running);
  command
      .add_option("--access-log", options.access_log,
                  "Where a line of JSON per request goes: stderr, stdout, off, or a file [stderr]")
      ->type_name("WHERE")
      ->group(running);
  command
      .add_flag("--log-prompts", options.log_prompts,
                "Put the bodies of requests into the access log")
      ->group(running);
  command
      .add_option("--restart-ranks", options.restart_ranks,
                  "How often in a row a model on several ranks is loaded again when one of them is "
                  "lost; meanwhile requests get a 503 [3]")
      ->check(whole_number(0, 1000000))
      ->group(running);
  add_model_options(command, options.model);
  add_rank_options(command, options.model);
  command.footer(
      limits_help() +
      "\nThe chat page is at /, the API at /v1 (OpenAI's), its description at\n"
      "/openapi.json, metrics for Prometheus at /metrics. SIGTERM lets the requests under\n"
      "way finish; a second one ends at once.\n"
      "\nExamples:\n"
      "  lanner serve\n"
      "  lanner serve ~/models/Llama-3.2-1B-Instruct --port 8000\n"
      "  lanner serve --model small=a.gguf --model large=b.gguf --host 0.0.0.0 \\\n"
      "      --api-key-file keys.txt --tls-cert cert.pem --tls-key key.pem\n");
}

}  // namespace lanner::cli
