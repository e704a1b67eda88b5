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

// Called from the engine's thread; may submit and abort. False ends the request (its text has
// reached a stop string): no further call follows. A call that throws ends the request too: it is
// called once more, with kError and what was thrown.
using TokenCallback = std::function<bool(const TokenOutput&)>;

// Times and counts of the steps run so far.
struct EngineStats {
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  int64_t decode_tokens = 0;
  double decode_seconds = 0;
};

// The loop on token ids: owns the thread that loads the model and then runs its steps, the
// scheduler and the model runner. Requests come in through a queue; all methods may be called from
// any thread. Destruction, from any thread but the engine's own, ends running requests with
// kAborted.
class Engine {
 public:
  // Loads the model on the engine's own thread (the one whose memory the weights should be near)
  // and waits for it. Throws what loading throws.
  Engine(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Under an id that is not in use. Throws Error(kInvalidArgument) for bad parameters, token ids
  // outside the vocabulary, an empty prompt, or one that leaves no room in the context (with both
  // counts); Error(kCancelled) while the engine is being destroyed.
  void submit(RequestId id, std::vector<int32_t> prompt, const SamplingParams& sampling,
              int priority, TokenCallback on_output);
  // Ends a request within one step; its last output says kAborted. Unknown ids are ignored.
  void abort(RequestId id);

  // Runs `task` on the engine's thread between two steps and waits; what it throws is thrown here.
  // From a callback it runs at once. Throws Error(kCancelled) while the engine is being destroyed.
  void call(const std::function<void(ModelRunner&)>& task);

  // The caller is one of the callbacks: it must not wait for a request.
  bool is_engine_thread() const;
  // Immutable after loading.
  const ModelRunner& runner() const;
  EngineStats stats() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace lanner
