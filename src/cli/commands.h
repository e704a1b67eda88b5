// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/form_options.h"
#include "cli/model_choice.h"

namespace lanner::cli {

// The options of each command as parsed and range-checked, and the commands themselves. A command
// returns an exit status; what goes wrong is thrown (Failure, lanner::Error).

// Ranks on several machines (rank_options.h).
struct RankOptions {
  std::string hosts;
  std::optional<std::string> rendezvous;
  double timeout = LlmConfig{}.rendezvous_timeout;
  std::string communicator = "auto";
  std::string wire = "fp32";
};

// --dtype, --kv-dtype, --attention, --threads, --tp, --max-context, --no-prefix-cache,
// --no-speculation, --draft and --lora with what belongs to them.
struct ModelOptions {
  std::string dtype = "auto";
  std::string kv_dtype = "auto";
  std::string attention = "auto";
  int threads = 0;
  int tensor_parallel = 0;
  int max_context = 0;
  bool no_prefix_cache = false;
  bool no_speculation = false;
  std::string draft_model;
  std::string draft_dtype = "auto";
  int draft_tokens = 0;
  std::vector<std::string> lora;  // NAME=FOLDER or FOLDER
  bool lora_merge = false;
  RankOptions ranks;  // of commands that take them
};

// --n, --beams and what belongs to them: for commands with more than one answer.
struct AnswersOptions {
  std::optional<int> n;
  std::optional<int> best_of;
  std::optional<int> beams;
  std::optional<double> length_penalty;
  std::string early_stopping = "heuristic";
  std::optional<int> logprobs;
};

// What was given on the command line; the rest comes from LLM::default_sampling_params().
struct SamplingOptions {
  std::optional<double> temperature;
  std::optional<int> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> typical_p;
  std::optional<double> repetition_penalty;
  std::optional<double> frequency_penalty;
  std::optional<double> presence_penalty;
  std::optional<uint64_t> seed;
  std::optional<int> max_tokens;
  std::optional<int> min_tokens;
  std::vector<std::string> stop;
  bool include_stop = false;
  std::vector<std::string> bad_words;
  std::vector<std::string> logit_bias;  // "ID:BIAS"
  bool ignore_eos = false;
  bool greedy = false;
};

struct RunOptions {
  ModelAndText given;
  ModelOptions model;
  SamplingOptions sampling;
  AnswersOptions answers;
  FormOptions form;
  bool truncate = false;
  std::optional<std::string> system;
  bool raw = false;
  std::optional<std::string> tokens;
  std::optional<std::string> logits_out;
  bool stats = false;
  bool json = false;
};

struct ChatOptions {
  std::optional<std::string> path;
  ModelOptions model;
  SamplingOptions sampling;
  std::optional<std::string> system;
  bool stats = false;
};

struct InfoOptions {
  std::optional<std::string> path;
  ModelOptions model;
  bool families = false;
  bool json = false;
};

struct TokenizeOptions {
  ModelAndText given;
  bool ids_only = false;
  bool no_special = false;
  std::optional<std::string> decode;
};

struct RenderOptions {
  ModelAndText given;
  std::optional<std::string> messages;
  std::optional<std::string> system;
  bool no_generation_prompt = false;
};

struct BenchMachineOptions {
  int threads = 0;
  bool json = false;
};

struct BenchModelOptions {
  std::optional<std::string> path;
  std::optional<std::string> random_weights;  // a preset or a config's path, instead of `path`
  ModelOptions model;
  ModelBenchmark benchmark;
  std::optional<std::string> html;  // file to write a page with plots to
  bool json = false;
};

struct BenchOpOptions {
  std::optional<std::string> name;    // none: all
  std::optional<std::string> filter;  // regular expression on the benchmarks' names
  int repeat = 1;
  bool list = false;
  bool json = false;
};

struct BenchAttentionOptions {
  std::vector<int> tokens = AttentionBenchmark{}.tokens;
  std::vector<int> head_dims = AttentionBenchmark{}.head_dims;
  std::vector<int> depths = AttentionBenchmark{}.depths;
  std::string kv_dtype = "auto";
  int threads = 0;
  int repeat = AttentionBenchmark{}.repeat;
  bool json = false;
};

struct BenchCommOptions {
  CommunicationBenchmark benchmark;
  int ranks = 2;
  std::optional<std::string> rendezvous;
  int rank = -1;
  double timeout = RendezvousConfig{}.timeout;
  bool json = false;
};

struct BenchRanksOptions {
  std::optional<std::string> path;
  std::optional<std::string> random_weights;  // as in BenchModelOptions
  ModelOptions model;
  int pairs = 31;
  int prompt = 16;
  int generate = 8;
  bool json = false;
};

struct PlanOptions {
  std::string path;
  ModelOptions model;
  DistributedPlan plan;
  std::optional<std::string> communication;  // file with a report of `bench comm`
  bool json = false;
};

// Of `eval perplexity`, and what `eval kl` shares with it.
struct EvalOptions {
  std::optional<std::string> path;
  ModelOptions model;
  std::string text;  // a file, or "-"
  int window = 0;    // tokens; 0: the context, at most 2048
  int stride = 0;    // tokens; 0: half a window
  bool json = false;
};

struct EvalKlOptions {
  EvalOptions eval;
  std::optional<std::string> against_dtype;
  std::optional<std::string> against_kv_dtype;
  std::optional<std::string> save_logits;  // files
  std::optional<std::string> against;
};

struct WorkerCommandOptions {
  std::optional<std::string> path;
  std::string rendezvous;
  int rank = -1;
  int ranks = 0;  // 0: as rank 0 says
  double timeout = RendezvousConfig{}.timeout;
  int parent = 0;  // 0: none
};

struct BenchServeOfflineOptions {
  std::optional<std::string> path;
  ModelOptions model;
  std::vector<int> concurrency = {1, 4, 16, 64};
  double scale = 0.25;          // of the recorded lengths
  std::optional<int> prompt;    // tokens of every prompt
  std::optional<int> generate;  // and of every answer, instead of them
  int requests = 0;             // 0: enough for the full width to last
  bool json = false;
};

struct BenchReuseOptions {
  std::optional<std::string> path;
  ModelOptions model;
  int tokens = 4000;  // of the first turn
  int repeat = 3;
  bool json = false;
};

struct BenchSpeculateOptions {
  std::optional<std::string> path;
  std::optional<std::string> random_weights;
  ModelOptions model;
  std::vector<std::string> texts = {"copying", "random"};
  std::vector<int> batches = {1};
  int generate = 96;
  int repeat = 9;
  bool json = false;
};

int run_command(const RunOptions& options, Context& context);
int chat_command(const ChatOptions& options, Context& context);
int info_command(const InfoOptions& options, Context& context);
int tokenize_command(const TokenizeOptions& options, Context& context);
int render_command(const RenderOptions& options, Context& context);
int eval_perplexity_command(const EvalOptions& options, Context& context);
int bench_attention_command(const BenchAttentionOptions& options, Context& context);
int bench_comm_command(const BenchCommOptions& options, Context& context);
int bench_ranks_command(const BenchRanksOptions& options, Context& context);
int plan_command(const PlanOptions& options, Context& context);
int eval_kl_command(const EvalKlOptions& options, Context& context);
int bench_machine_command(const BenchMachineOptions& options, Context& context);
int bench_model_command(const BenchModelOptions& options, Context& context);
int bench_op_command(const BenchOpOptions& options, Context& context);
int bench_serve_offline_command(const BenchServeOfflineOptions& options, Context& context);
int worker_command(const WorkerCommandOptions& options, Context& context);
int bench_reuse_command(const BenchReuseOptions& options, Context& context);
int bench_speculate_command(const BenchSpeculateOptions& options, Context& context);

// Shared by them.
LlmConfig to_config(const ModelOptions& options, const Context& context);
// The adapter that a command with one question computes it with: the one it was given; "" without.
// Throws Failure for several of them.
std::string only_adapter(const LLM& llm);
// For commands that measure a model alone. Throws Failure where there are adapters beside it.
void refuse_adapters(const LlmConfig& config);
SamplingParams to_sampling(const SamplingOptions& options, const SamplingParams& defaults);
void add_answers(const AnswersOptions& options, SamplingParams& sampling);
// The path of the given model, or of the default one.
std::string resolve_model(const std::optional<std::string>& model, const Context& context);
// The given text, or standard input if there is none or it is "-". Throws Failure if nobody would
// type it (`what` names it), and if it is not valid UTF-8.
std::string resolve_text(const std::optional<std::string>& text, const Context& context,
                         const char* what);
// Without the line end that echo and editors leave.
std::string without_final_newline(std::string text);

}  // namespace lanner::cli
