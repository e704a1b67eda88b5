// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/model_runner.h"
#include "lanner/config.h"
#include "lanner/request.h"

namespace lanner {

// One step's news of a request, on token ids.
struct TokenOutput {
  std::vector<int32_t> token_ids;  // new tokens
  FinishReason finish_reason = FinishReason::kNone;
  std::string error;
  int output_tokens = 0;  // generated so far
};

// Called from the engine's thread. False ends the request (its text has reached a stop string): no
// further call follows.
using TokenCallback = std::function<bool(const TokenOutput&)>;

// Times and counts of the steps run so far.
struct EngineStats {
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  int64_t decode_tokens = 0;
  double decode_seconds = 0;
};

// The loop on token ids: owns the thread that loads the model and then runs its steps, the scheduler
// and the model runner. Requests come in through a queue; all methods may be called from any thread.
// Destruction ends running requests with kAborted.
class Engine {
 public:
  // Loads the model on the engine's own thread (the one whose memory the weights should be near) and
  // waits for it. Throws what loading throws.
  Engine(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws Error(kInvalidArgument) for bad parameters, token ids outside the vocabulary, an empty
  // prompt, or one that leaves no room in the context (with both counts).
  void submit(RequestId id, std::vector<int32_t> prompt, const SamplingParams& sampling,
              TokenCallback on_output);
  // Ends a request within one step; its last output says kAborted. Unknown ids are ignored.
  void abort(RequestId id);

  // Runs `task` on the engine's thread between two steps and waits; what it throws is thrown here.
  void call(const std::function<void(ModelRunner&)>& task);

  // Immutable after loading.
  const ModelRunner& runner() const;
  EngineStats stats() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace lanner
