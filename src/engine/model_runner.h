// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "base/topology.h"
#include "base/workspace.h"
#include "distributed/communicator.h"
#include "engine/memory_plan.h"
#include "engine/synthetic_prefill.h"
#include "kernels/attention/attention.h"
#include "kvcache/kv_cache.h"
#include "lanner/config.h"
#include "models/model.h"
#include "scheduler/scheduler.h"
#include "weights/model_files.h"

namespace lanner {

// Everything about a model that is decided before its weights are read.
struct ModelPlan {
  ModelInfo info;
  MemoryPlan memory;
  std::vector<KvLayout> kv_layouts;  // [num_layers]
  int reusable_length = 0;           // SchedulerConfig::reusable_length
  std::optional<DType> weight_dtype;

  // From where on attention is by flash; nothing: measured when the weights are there.
  std::optional<AttentionRule> attention_rule;

  // One of kKvDtypes: the type of the KV cache as users write it.
  std::string kv_dtype() const;
};

// The model that LLM::load means by a path: LlmConfig::random_weights decides what it names.
ModelFiles open_model(const std::string& path, const LlmConfig& config);

// Type and scheme of a KV cache by the name that users write; the sizes are the model's. Throws
// Error(kInvalidArgument) naming the known ones.
KvLayout kv_type(const std::string& name);

// Throws Error naming the option or key that is wrong, or kResourceExhausted when it cannot fit.
ModelPlan plan_model(const ModelFiles& files, const LlmConfig& config, const Topology& topology);

// Tokens of a KV cache block.
inline constexpr int kBlockSize = 32;

// The threads a configuration asks for (LlmConfig::threads, else LANNER_THREADS, else by itself).
ThreadPlan plan_compute_threads(const Topology& topology, const LlmConfig& config);

// A rank's part of the engine: owns the model, its KV cache and all that a forward pass needs.
// Turns a SchedulerOutput into a ForwardBatch and runs it. Used by one thread at a time.
class ModelRunner {
 public:
  // Loads the weights. The calling thread becomes thread 0 of the pool.
  ModelRunner(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress);

  // Runs a step. The rows of the result are those of its sequences (ScheduledSequence::num_logits
  // and num_hidden), in the order of the output; they stay valid until the next call.
  ForwardOutput step(const SchedulerOutput& output);

  // Feeds the tokens through a KV cache of their own and hands over the logits of every position,
  // in order, a chunk of rows at a time: [chunk, vocab_size] fp32. Sequences in the engine's cache
  // are not touched. chunk_tokens = 0: as many as a step may have, within 64 MiB of logits. Throws
  // Error(kInvalidArgument) for no tokens, or more than the context.
  void logits(std::span<const int32_t> tokens, int chunk_tokens,
              const std::function<void(const Tensor& rows)>& on_rows);

  // For benchmarks: from now on prompts are not computed, their K and V are random numbers (see
  // SyntheticPrefill), and the token after a prompt is any.
  void use_synthetic_prefill(bool on) {
    synthetic_prefill_.reset(on ? new SyntheticPrefill : nullptr);
  }
  // Rows of logits that one sequence may want in a step, beyond the one for sampling: 64 MiB.
  int max_logits_rows() const;
  // Time spent in the model's forward so far.
  double forward_seconds() const { return forward_seconds_; }

  const ModelInfo& info() const { return plan_.info; }
  const ModelPlan& plan() const { return plan_; }
  const Model& model() const { return *model_; }
  const Topology& topology() const { return topology_; }
  const ThreadPlan& thread_plan() const { return thread_plan_; }
  const AttentionRule& attention_rule() const { return attention_rule_; }
  ThreadPool& threads() { return *threads_; }
  int num_threads() const { return threads_->size(); }

 private:
  ExecutionContext context();
  int check_length(std::span<const int32_t> tokens) const;
  ForwardOutput run(const ForwardBatch& batch, KvCache& cache);
  // Memory for so many rows, overwritten by the next step.
  Tensor logits_tensor(int64_t rows);
  Tensor hidden_tensor(int64_t rows);

  Topology topology_;
  ModelPlan plan_;
  int max_tokens_per_step_;
  ThreadPlan thread_plan_;
  std::unique_ptr<ThreadPool> threads_;
  std::unique_ptr<Communicator> communicator_;
  AttentionRule attention_rule_;
  Workspace workspace_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvCache> cache_;
  double forward_seconds_ = 0;
  Buffer logits_;  // both grow to the largest step
  Buffer hidden_;
  std::unique_ptr<SyntheticPrefill> synthetic_prefill_;
};

}  // namespace lanner
