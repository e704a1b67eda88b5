// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cli/context.h"

namespace lanner::cli {

// What a FakeLlm does and what happened to it; shared, so that a test sees it after the command has
// thrown the model away.
struct FakeScript {
  std::vector<std::string> pieces = {"Hello", ", ", "world"};  // an answer, a token each
  std::chrono::milliseconds delay{0};                          // before each piece
  std::string error;                                           // not empty: the answer ends with it
  size_t longest_prompt = 100000;  // bytes; above it submit throws kInvalidArgument
  bool chat_template = true;
  SamplingParams defaults;

  std::mutex mutex;
  std::vector<Request> requests;
  std::vector<std::string> loaded;        // paths
  std::vector<std::string> texts_loaded;  // paths, without the weights
  LlmConfig config;
  WorkerOptions worker;
  ModelBenchmark benchmark;
  int aborts = 0;
  std::vector<int32_t> logits_tokens;
  std::string logits_path;
  std::string lora;  // of the last logits
};

// A backend that streams canned text from a thread of its own, as the engine does. Its tokens are
// bytes plus 10; 1 is the special token that tokenize adds; a conversation renders as
// "<role>content\n", then "<assistant>".
Backend make_fake_backend(const std::shared_ptr<FakeScript>& script);

}  // namespace lanner::cli
