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
#include "lanner/error.h"
#include "layers/split.h"
#include "models/model.h"
#include "sampling/split_logits.h"
#include "scheduler/scheduler.h"
#include "weights/model_files.h"

namespace lanner {

// The same of a draft model, which has as many blocks as the large one.
struct DraftPlan {
  ModelInfo info;
  std::vector<KvLayout> kv_layouts;  // [num_layers]
  std::optional<DType> weight_dtype;
  int64_t weight_bytes = 0;
  int max_context = 0;
};

// Everything about a model that is decided before its weights are read.
struct ModelPlan {
  ModelInfo info;
  MemoryPlan memory;
  std::vector<KvLayout> kv_layouts;  // [num_layers]
  int reusable_length = 0;           // SchedulerConfig::reusable_length
  std::optional<DType> weight_dtype;

  // From where on attention is by flash; nothing: measured when the weights are there.
  std::optional<AttentionRule> attention_rule;

  std::optional<DraftPlan> draft;  // memory holds its weights and its KV cache too

  // One of kKvDtypes: the type of the KV cache as users write it.
  std::string kv_dtype() const;
};

// The model that LLM::load means by a path: LlmConfig::random_weights decides what it names. With
// its adapters (LlmConfig::lora), or merged with them. Throws Error(kInvalidArgument) for their
// names.
ModelFiles open_model(const std::string& path, const LlmConfig& config);

// Type and scheme of a KV cache by the name that users write; the sizes are the model's. Throws
// Error(kInvalidArgument) naming the known ones.
KvLayout kv_type(const std::string& name);

// Which rank of how many this is.
struct RankPlace {
  int rank = 0;
  int size = 1;
  int here = 1;  // of them on this machine, whose memory they share equally
};

// What a rank plans for itself: its own layout of the cache, and blocks for all ranks alike. Throws
// Error naming the option or key that is wrong, or kResourceExhausted when it cannot fit.
ModelPlan plan_model(const ModelFiles& files, const LlmConfig& config, const Topology& topology,
                     const RankPlace& place = {}, const ModelFiles* draft = nullptr);

// LlmConfig::draft_model, opened; nothing if there is none.
std::optional<ModelFiles> open_draft_model(const LlmConfig& config);

// Tokens that one step may have at most: a prompt's prefix is never cut (find_prefix).
int most_tokens_per_step(const ModelPlan& plan, const LlmConfig& config);

// A hash of the config and of the tensors, their names, types and shapes: ranks compare it before
// they start.
uint64_t fingerprint(const ModelFiles& files);

// A hash of what the files' tensors and adapters hold (hash_contents): likewise.
uint64_t content_hash(const ModelFiles& files);

// Tokens of a KV cache block.
inline constexpr int kBlockSize = 32;

// The threads a configuration asks for (LlmConfig::threads, else LANNER_THREADS, else by itself).
ThreadPlan plan_compute_threads(const Topology& topology, const LlmConfig& config);

// What a rank of several gets from whoever started it.
struct RankResources {
  std::unique_ptr<Communicator> communicator;
  ThreadPlan threads;
  int ranks_here = 1;  // on this machine
};

class MessageReader;  // rank_message.h
class MessageWriter;
enum class RankCommand : uint32_t;

// A rank's part of the engine: owns the model, its KV cache and all that a forward pass needs.
// Turns a SchedulerOutput into a ForwardBatch and runs it. Used by one thread at a time.
//
// With several ranks the engine talks to rank 0's alone: each of its calls is told to the others,
// which follow() and do the same with their shares (rank_message.h). What one of them throws ends
// all of them: Error(kIo) naming the rank, from this call and every later one.
class ModelRunner {
 public:
  // Loads the weights. The calling thread becomes thread 0 of the pool.
  ModelRunner(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress,
              const ModelFiles* draft = nullptr);
  // The same as one rank of several, all of which do so at the same time with the same files
  // (prepare_rank).
  ModelRunner(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress,
              RankResources resources);
  // Rank 0 lets the others go.
  ~ModelRunner();
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  // Every rank but 0: does what rank 0 says until it lets go. Throws Error when it cannot go on.
  void follow();

  // Runs a step. The rows of the result are those of its sequences (ScheduledSequence::num_logits
  // and num_hidden), in the order of the output; they stay valid until the next call.
  //   logits  [rows, this rank's part of the vocabulary]
  ForwardOutput step(const SchedulerOutput& output);

  // Several ranks: Sampler::sample and score on the rows of the last step, of which each rank has a
  // part. Rank 0 calls them.
  std::vector<RowChoice> select(const std::vector<RowSelection>& rows);
  std::vector<PositionScores> score(int64_t first_row, std::span<const int32_t> tokens,
                                    int num_top);

  // Feeds the tokens through a KV cache of their own and hands over the logits of every position,
  // in order, a chunk of rows at a time: [chunk, vocab_size] fp32. Sequences in the engine's cache
  // are not touched. chunk_tokens = 0: as many as a step may have, within 64 MiB of logits. Throws
  // Error(kInvalidArgument) for no tokens, or more than the context. adapter: of ModelFiles::lora.
  void logits(std::span<const int32_t> tokens, int chunk_tokens,
              const std::function<void(const Tensor& rows)>& on_rows, int adapter = -1);

  // For benchmarks: from now on prompts are not computed, their K and V are random numbers (see
  // SyntheticPrefill), and the token after a prompt is any.
  void use_synthetic_prefill(bool on);
  // Rows of logits that one sequence may want in a step, beyond the one for sampling: 64 MiB.
  int max_logits_rows() const;
  // Time spent in the model's forward so far.
  double forward_seconds() const { return forward_seconds_; }

  // What another model computes on.
  ExecutionContext execution();
  // The rule for such a model: the one that was asked for, else the one measured as the best.
  AttentionRule rule_for(const KvLayout& layout, int num_heads, int max_context);

  const ModelInfo& info() const { return plan_.info; }
  const ModelPlan& plan() const { return plan_; }
  const Model& model() const { return *model_; }
  const Topology& topology() const { return topology_; }
  const ThreadPlan& thread_plan() const { return thread_plan_; }
  const AttentionRule& attention_rule() const { return attention_rule_; }
  ThreadPool& threads() { return *threads_; }
  int num_threads() const { return threads_->size(); }  // of this rank
  int num_ranks() const { return communicator_->size(); }
  const Communicator& communicator() const { return *communicator_; }
  // Why there is no going on, with several ranks; empty: there is.
  const std::string& failure() const { return failure_; }
  // This rank's part of the vocabulary.
  const Share& vocab() const { return vocab_; }
  int64_t computed_tokens() const { return computed_tokens_; }

 private:
  void load(const ModelFiles& files, const ProgressCallback& progress);
  void agree();
  // Tells the others what comes next; does nothing without any.
  void tell(RankCommand command, const std::function<void(MessageWriter&)>& write = {});
  // Runs what has been told. With several ranks there is no going on after an error.
  template <typename Task>
  auto guarded(const Task& task);
  void obey(MessageReader& message, bool& goes_on);
  ForwardOutput run_step(const SchedulerOutput& output);
  VocabSlice vocab_slice() const;
  // Tokens [begin, end) of a sequence of `count`, in a cache of its own.
  Tensor run_chunk(std::span<const int32_t> tokens, int begin, int end, int adapter);
  // [num_rows, vocab_size] on rank 0, nothing elsewhere, of all ranks' parts.
  Tensor gather_rows(const Tensor& part, int64_t num_rows);
  int own_heads() const;
  int check_length(std::span<const int32_t> tokens) const;
  ForwardOutput run(const ForwardBatch& batch, KvCache& cache);
  // Memory for so many rows, overwritten by the next step.
  Tensor logits_tensor(int64_t rows);
  Tensor hidden_tensor(int64_t rows);

  Topology topology_;
  RankPlace place_;
  ModelPlan plan_;
  Share vocab_;
  int max_tokens_per_step_;
  ThreadPlan thread_plan_;
  std::unique_ptr<ThreadPool> threads_;
  std::unique_ptr<Communicator> communicator_;
  std::string failure_;
  AttentionRule attention_rule_;
  Workspace workspace_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<KvCache> chunk_cache_;  // of logits()
  double forward_seconds_ = 0;
  int64_t computed_tokens_ = 0;
  Tensor step_logits_;
  Buffer logits_;  // both grow to the largest step
  Buffer hidden_;
  Buffer whole_;  // rows of all ranks' logits, likewise
  std::unique_ptr<SyntheticPrefill> synthetic_prefill_;
};

template <typename Task>
auto ModelRunner::guarded(const Task& task) {
  if (!failure_.empty()) throw Error(ErrorCode::kIo, failure_);
  try {
    return task();
  } catch (const std::exception& e) {
    if (place_.size > 1) {
      failure_ = e.what();
      communicator_->fail(failure_);
    }
    throw;
  }
}

}  // namespace lanner
