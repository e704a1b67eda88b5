// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lanner/config.h"
#include "lanner/llm.h"
#include "server/limits.h"

namespace lanner::server {

struct ModelSource {
  std::string name;  // what clients ask for
  std::string path;
};

struct ServerConfig {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: any free one
  std::vector<ModelSource> models;
  LlmConfig llm;
  std::string tls_certificate;
  std::string tls_key;
  std::string api_key_file;
  std::string api_keys;                    // from the environment, with commas
  std::vector<std::string> cors_origins;   // "*": any
  std::vector<std::string> allowed_hosts;  // besides the loopback names
  Limits limits;
  int grace_seconds = 30;       // for requests under way after drain()
  int keep_alive_seconds = 15;  // between two comments in a silent stream
  std::string version;
  // A line without its end per answered request; unset: none are written.
  std::function<void(std::string_view)> access_log;
  bool log_prompts = false;        // bodies of requests, into the access log
  std::function<void()> on_ready;  // all models are loaded
  std::function<void()> on_drain;  // no new requests from now on
  std::function<void()> on_alive;  // once a second from the I/O thread, for a watchdog
};

using LoadFunction = std::function<std::unique_ptr<LLM>(
    const std::string& path, const LlmConfig& config, const ProgressCallback& progress)>;

}  // namespace lanner::server
