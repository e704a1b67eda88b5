// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lanner/chat.h"
#include "lanner/config.h"
#include "lanner/embedding.h"
#include "lanner/error.h"
#include "lanner/request.h"
#include "lanner/sampling_params.h"

namespace lanner {

// Logits [rows.size() / vocab_size, vocab_size] of the positions from `first` on; on the engine's
// thread, and valid during the call.
using LogitsCallback = std::function<void(int64_t first, std::span<const float> rows)>;

// What a model did since it was loaded; times in seconds.
struct LlmStats {
  double load_seconds = 0;
  int64_t peak_memory_bytes = 0;  // of the process
  int64_t weight_bytes = 0;       // packed
  int64_t kv_cache_bytes = 0;
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  int64_t decode_tokens = 0;
  double decode_seconds = 0;
  int64_t steps = 0;
  double step_seconds = 0;           // all of the engine's work: scheduling, sampling, callbacks, …
  double forward_seconds = 0;        // of it, in the model
  int64_t draft_tokens = 0;          // speculation: proposed
  int64_t accepted_tokens = 0;       // and found right
  double draft_seconds = 0;          // of step_seconds, in the draft model
  int64_t preemptions = 0;           // sequences that were thrown out and computed again
  int64_t prompt_lookup_tokens = 0;  // of prompts, looked for in the prefix cache
  int64_t prompt_hit_tokens = 0;     // and found there
  int64_t cache_evictions = 0;       // blocks that the prefix cache had to give up
  int running_sequences = 0;         // now
  int waiting_sequences = 0;
  int64_t used_kv_blocks = 0;  // now, by sequences
  int64_t kv_blocks = 0;

  // Tensor parallel: memory and what follows are of rank 0, whose share is as large as any.
  int ranks = 1;
  std::string communicator = "single";  // how ranks talk to each other
  int rank_restarts = 0;                // LlmConfig::restart_ranks
  int64_t computed_tokens = 0;          // that went through the model
  int64_t reduced_bytes = 0;            // of partial sums, handed to other ranks
  int64_t copied_bytes = 0;             // of them, that had to be copied first
  int64_t gathered_bytes = 0;           // of sampling, handed to other ranks
  int64_t broadcast_bytes = 0;          // of steps, told to the other ranks
};

// The text side of a model: its tokenizer and its chat template. All methods may be called from any
// thread.
class ModelText {
 public:
  // Reads it alone, in the time a tokenizer takes: of a folder only the tokenizer files
  // (config.json and weights need not be there), of a GGUF file only the metadata. Throws Error:
  // kNotFound (nothing there, or nothing to tokenize with), kCorruptFile, kUnsupported, naming the
  // file or key.
  static std::unique_ptr<ModelText> load(const std::string& path);
  virtual ~ModelText() = default;

  // Text to token ids; with_special adds what the tokenizer adds by default (e.g. <s>).
  virtual std::vector<int32_t> tokenize(const std::string& text,
                                        bool with_special = true) const = 0;
  virtual std::string detokenize(const std::vector<int32_t>& ids,
                                 bool skip_special = true) const = 0;
  // The prompt text the model's chat template makes of a conversation and its tools. Throws Error:
  // kInvalidArgument with the template's own words when it refuses the messages, when a role, tool
  // or template argument is malformed; kUnsupported when the model has no template, or one that
  // does not render the tools.
  virtual std::string render(const ChatRequest& chat) const = 0;
  virtual bool has_chat_template() const = 0;
};

// A loaded model with its tokenizer and its engine: the public face of Lanner. Several may live in
// one process. All methods may be called from any thread. The methods of ModelText throw
// Error(kNotFound) where the model has no tokenizer: it works on token ids then.
class LLM : public ModelText {
 public:
  // Loads a model folder (config.json, *.safetensors, tokenizer files) or a GGUF file.
  // Throws Error: kNotFound, kCorruptFile, kUnsupported (naming the key, tensor or type),
  // kResourceExhausted when the plan does not fit the memory.
  static std::unique_ptr<LLM> load(const std::string& path, const LlmConfig& config = {},
                                   const ProgressCallback& progress = {});

  // Queues a request; on_output is called from the engine's thread until an output is_last.
  // Throws Error(kInvalidArgument) for bad parameters, an unknown adapter or a prompt that does not
  // fit the context (with both counts), Error(kUnsupported) for parameters that this model or build
  // cannot honour.
  virtual RequestId submit(const Request& request, OutputCallback on_output) = 0;
  // Ends a request within one step; its last output says kAborted. Unknown or finished ids are
  // ignored: a request may always end first.
  virtual void abort(RequestId id) = 0;

  // Runs the requests together and waits: the answers of each request, index after index, request
  // after request. Throws Error when one of them fails.
  virtual std::vector<Completion> generate(const std::vector<Request>& requests) = 0;

  // Renders the conversation and queues it as a request; splits the answer into content, reasoning
  // and tool calls in the model's own format. Throws what render() and submit() throw;
  // Error(kUnsupported) for tool_choice kRequired or kNamed where the model's format of tool calls
  // is not known.
  virtual RequestId submit_chat(const ChatRequest& chat, ChatCallback on_output) = 0;
  // The same, and waits: the n answers. Throws Error when the request fails.
  virtual std::vector<ChatCompletion> chat(const ChatRequest& chat) = 0;

  // Queues a text whose embedding is wanted, among the other requests; abort() ends it. Throws
  // Error(kInvalidArgument) for no tokens, token ids outside the vocabulary, or a text that is
  // longer than the context (with both counts).
  virtual RequestId submit_embedding(const EmbeddingRequest& request,
                                     EmbeddingCallback on_output) = 0;
  // The same for several texts together, and waits: one embedding each. Throws Error when one of
  // them fails.
  virtual std::vector<TextEmbedding> embed(const std::vector<EmbeddingRequest>& requests) = 0;

  // Writes the fp32 logits of every position, [num_tokens, vocab_size], as the one tensor `logits`
  // of a safetensors file. Generates nothing and needs no tokenizer. lora: as Request::lora.
  virtual void write_logits(const std::vector<int32_t>& tokens, const std::string& path,
                            const std::string& lora) = 0;
  // Hands over the fp32 logits of every position, in order and some positions at a time; waits.
  // Requests that run are not disturbed but for the time it takes. What on_rows throws ends it and
  // is thrown here. Throws Error(kInvalidArgument) for no tokens, or more than the context (with
  // both counts). lora: as Request::lora.
  virtual void logits(const std::vector<int32_t>& tokens, const LogitsCallback& on_rows,
                      const std::string& lora) = 0;
  void write_logits(const std::vector<int32_t>& tokens, const std::string& path) {
    write_logits(tokens, path, {});
  }
  void logits(const std::vector<int32_t>& tokens, const LogitsCallback& on_rows) {
    logits(tokens, on_rows, {});
  }

  // Names that Request::lora may have: those of LlmConfig::lora unless they are merged.
  virtual std::vector<std::string> lora_adapters() const = 0;

  // From generation_config.json where the model has one.
  virtual SamplingParams default_sampling_params() const = 0;
  virtual int max_context() const = 0;
  // Numbers in an embedding: the model's hidden size.
  virtual int embedding_size() const = 0;
  virtual LlmStats stats() const = 0;
  // Machine, kernels chosen, configuration and memory plan as one JSON object.
  virtual std::string report() const = 0;
};

// The machine as Lanner sees it (CPU, ISA, topology, threads and why) as one JSON object.
std::string machine_report(const LlmConfig& config = {});
// The same with a model's configuration, kernels and memory plan, read without loading weights.
std::string model_report(const std::string& path, const LlmConfig& config = {});

// The model families that Lanner runs, as one JSON object: "families", each with its "model_type",
// the "models" of that type, its "features" and the reference checkpoints it reproduces ("golden").
std::string families_report();

// What the machine can do at best, measured for some seconds with the threads that a model would
// have, as one JSON object:
//   {"machine": {"cpu", "isa", "threads", "read_gbps", "read_gbps_by_threads", "l3_read_gbps",
//                "peak_gops": {"fp32", "bf16", "int8"}, "empty_region_us"}}
// Bandwidths in 10^9 bytes per second, peaks in 10^9 operations per second (a multiply-add is two);
// null where the CPU has no instruction for the type, or there is no L3.
std::string benchmark_machine(const LlmConfig& config = {});

// What benchmark_model runs. Lengths in tokens.
struct ModelBenchmark {
  std::vector<int> prompts = {512};  // of the prefills
  int generate = 128;                // of each decode run
  std::vector<int> depths = {0};     // in the KV cache before a decode run
  std::vector<int> batches = {1};    // sequences decoded together
  int repeat = 5;                    // runs of each; medians are given
};

// Loads a model and measures it, then the machine. Prompts are random token ids; what lies in the
// cache at a depth is random numbers, not prefilled. LlmConfig::max_context and max_sequences are
// set to what the benchmark needs where they are smaller; requests take turns at LlmConfig::lora.
// `progress` is told of each part ("weights", "prefill of 512 tokens"), with total 0 where there is
// no count. One JSON object:
//   {"machine": as benchmark_machine,
//    "model": {"name", "dtype", "kv_dtype", "parameters", "weight_bytes", …},
//    "prefill": [{"tokens", "tokens_per_s", "share_of_peak", "ttft_ms": {"p50", "p90", "p99"}}],
//    "decode": [{"depth", "batch", "tokens_per_s", "share_of_bandwidth", "roofline_tokens_per_s",
//                "times_roofline", "tpot_ms": {"p50", "p90", "p99"}}],
//    "load_s", "peak_rss_bytes"}
// Throws as LLM::load, and Error(kInvalidArgument) for lengths that the model does not have.
std::string benchmark_model(const std::string& path, const LlmConfig& config,
                            const ModelBenchmark& benchmark, const ProgressCallback& progress = {});

// What benchmark_attention measures.
struct AttentionBenchmark {
  std::vector<int> tokens = {128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
  std::vector<int> head_dims = {64, 128};
  std::vector<int> depths = {1024, 4096, 16384};  // of decode
  std::string kv_dtype = "fp16";                  // of the prefill: one of kKvDtypes
  int threads = 0;                                // as in LlmConfig
  int repeat = 3;
};

// Attention of one layer of 32 heads, with 32 KV heads and with 8, as one JSON object: of a whole
// prompt by both methods ("attention"), and of one token after so many others with an fp16 and an
// int8 cache ("decode"), as shares of what the machine can do ("machine", as benchmark_machine).
// on_step is told what comes next; what it throws ends the benchmark and is thrown here.
std::string benchmark_attention(const AttentionBenchmark& options,
                                const std::function<void(const std::string&)>& on_step = {});

// Version of the library, "MAJOR.MINOR.PATCH".
const char* version();

}  // namespace lanner
