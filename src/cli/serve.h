// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace lanner::cli {

struct ServeOptions {
  std::optional<std::string> path;
  std::vector<std::string> models;  // NAME=PATH
  std::string host = "127.0.0.1";
  int port = 8080;
  ModelOptions model;
  int max_sequences = 64;
  std::string tls_certificate;
  std::string tls_key;
  std::string api_key_file;
  std::vector<std::string> cors_origins;
  std::vector<std::string> allowed_hosts;
  std::vector<std::string> limits;  // NAME=VALUE
  int grace = 30;                   // seconds
  int keep_alive = 15;              // seconds
  std::string access_log = "stderr";
  bool log_prompts = false;
  int restart_ranks = 3;
};

void add_serve_options(CLI::App& command, ServeOptions& options);
int serve_command(const ServeOptions& options, Context& context);

struct BenchServeOptions {
  std::string url = "http://127.0.0.1:8080";
  std::string model;
  std::string api_key_file;
  int requests = 64;
  int concurrency = 16;
  double rate = 0;  // requests per second, Poisson; 0: closed loop
  int prompt = 512;
  int generate = 128;
  int warmup = 2;
  uint64_t seed = 1;
  double ttft_limit = 0;  // seconds; 0: none
  double tpot_limit = 0;
  bool text = false;  // words instead of token ids
  bool json = false;
  std::optional<std::string> html;  // file to write a page with plots to
};

void add_bench_serve_options(CLI::App& command, BenchServeOptions& options);
int bench_serve_command(const BenchServeOptions& options, Context& context);

}  // namespace lanner::cli
