// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/model_runner.h"
#include "lanner/config.h"
#include "lanner/embedding.h"
#include "lanner/request.h"
#include "sampling/sampler.h"

namespace lanner {

// What the engine has to know of a request; its texts (stop, bad_words) are the caller's business.
struct EngineRequest {
  std::vector<int32_t> prompt;
  SamplingParams sampling = {};
  int priority = 0;
  std::string cache_salt = {};
  int adapter = -1;                                  // of ModelFiles::lora; -1: none
  std::unique_ptr<TokenConstraint> constraint = {};  // none: every token may come
  std::optional<Pooling> pooling = {};               // an embedding is wanted, and no output
};

// One step's news of one sequence of a request, on token ids.
struct TokenOutput {
  int index = 0;                                     // of the best_of or beam_width sequences
  std::vector<int32_t> token_ids = {};               // new tokens
  std::vector<PositionScores> logprobs = {};         // of them, if asked for or needed for best_of
  std::vector<PositionScores> prompt_logprobs = {};  // with the first news of index 0
  FinishReason finish_reason = FinishReason::kNone;
  std::string error = {};
  int output_tokens = 0;              // generated so far
  int cached_tokens = 0;              // of the prompt
  std::vector<float> embedding = {};  // [hidden_size], with the last news of a request for one
};

// Called from the engine's thread; may submit and abort. False ends the sequence (its text has
// reached a stop string): no further call of it follows. A call that throws ends the request: it is
// called once more for every sequence, with kError and what was thrown.
using TokenCallback = std::function<bool(const TokenOutput&)>;

// Times and counts of the steps run so far; seconds.
struct EngineStats {
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  int64_t decode_tokens = 0;  // that came of steps without prompts
  double decode_seconds = 0;
  int64_t steps = 0;
  double step_seconds = 0;      // whole turns of the loop, callbacks included
  double forward_seconds = 0;   // of them, in the model
  int64_t draft_tokens = 0;     // proposed and verified
  int64_t accepted_tokens = 0;  // of them
  double draft_seconds = 0;     // of step_seconds, in the draft model
  int64_t preemptions = 0;
  int64_t prompt_lookup_tokens = 0;  // looked for in the prefix cache
  int64_t prompt_hit_tokens = 0;     // found there
  int64_t cache_evictions = 0;       // blocks
  int running_sequences = 0;
  int waiting_sequences = 0;
  int64_t used_blocks = 0;  // owned by sequences
  int64_t num_blocks = 0;
  int ranks = 1;
  int64_t computed_tokens = 0;   // that went through the model
  CommunicatorStats ranks_sent;  // by rank 0
};

// The loop on token ids: owns the thread that loads the model and then runs its steps, the
// scheduler and the model runner. Requests come in through a queue; all methods may be called from
// any thread. Destruction, from any thread but the engine's own, ends running requests with
// kAborted.
class Engine {
 public:
  // Loads the model on the engine's own thread (the one whose memory the weights should be near)
  // and waits for it, and the draft model if there is one (LlmConfig::draft_model, opened). Throws
  // what loading throws. on_lost is called once, from any thread, when ranks are lost; it must not
  // wait.
  Engine(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress,
         const ModelFiles* draft = nullptr, std::function<void()> on_lost = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Under an id that is not in use. Throws Error(kInvalidArgument) for bad parameters, token ids
  // outside the vocabulary, an empty prompt, or one that leaves no room in the context for an
  // answer where it is to have one (with both counts); Error(kCancelled) while the engine is being
  // destroyed, or after it has lost a rank.
  void submit(RequestId id, EngineRequest request, TokenCallback on_output);
  // Ends a request within one step; the last outputs of its sequences say kAborted. Unknown ids are
  // ignored.
  void abort(RequestId id);

  // Runs `task` on the engine's thread between two steps and waits; what it throws is thrown here.
  // From a callback it runs at once. Throws Error(kCancelled) while the engine is being destroyed.
  void call(const std::function<void(ModelRunner&)>& task);

  // The caller is one of the callbacks: it must not wait for a request.
  bool is_engine_thread() const;
  // Immutable after loading.
  const ModelRunner& runner() const;
  EngineStats stats() const;
  // Why no request can be computed any more: a rank is lost. Empty: they can.
  std::string failure() const;

 private:
  std::unique_ptr<class EngineLoop> loop_;
};

}  // namespace lanner
