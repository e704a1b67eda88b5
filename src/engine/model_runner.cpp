// SPDX-License-Identifier: Apache-2.0
#include "engine/model_runner.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>

#include "base/checked.h"
#include "base/env.h"
#include "base/error.h"
#include "base/isa.h"
#include "base/log.h"
#include "engine/rank_message.h"
#include "kernels/attention/synthetic.h"
#include "kernels/gemm/gemm.h"
#include "layers/lora.h"
#include "models/registry.h"
#include "weights/mxfp4.h"
#include "weights/quantized_checkpoint.h"

namespace lanner {
namespace {

// The type that an option names; nothing for "auto".
std::optional<DType> parse_choice(const char* option, const std::string& name,
                                  std::span<const char* const> names) {
  if (name == "auto") return std::nullopt;
  if (std::ranges::find(names, name) != names.end()) return parse_dtype(name);
  throw_error(ErrorCode::kInvalidArgument, "{} '{}' is unknown; known: auto, {}", option, name,
              fmt::join(names, ", "));
}

// The type of a tensor by the name its file has for it; nothing if Lanner has no such type.
std::optional<DType> stored_dtype(std::string name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return parse_dtype(name);
}

// What a matrix takes, or the matrices of all experts in one tensor; nothing for other tensors.
std::optional<int64_t> packed_bytes(const std::string& name, const TensorInfo& info,
                                    std::optional<DType> dtype) {
  const auto& shape = info.shape;
  if (name.ends_with("_blocks") && shape.size() == 4) {  // MXFP4, kept as q8_0
    return packed_weight_bytes(checked_mul(shape[0], shape[1], "rows"), shape[2] * kMxfp4Elements,
                               DType::kQ8_0, dtype);
  }
  const std::optional<DType> stored = stored_dtype(info.dtype);
  if (!stored || shape.size() < 2 || shape.size() > 3) return std::nullopt;
  const int64_t experts = shape.size() == 3 ? shape[0] : 1;
  return packed_weight_bytes(checked_mul(experts, shape[shape.size() - 2], "rows"), shape.back(),
                             *stored, dtype);
}

// What the weights will take once the matrices among them are packed.
int64_t estimate_weight_bytes(const Checkpoint& checkpoint, const ModelInfo& model,
                              std::optional<DType> dtype) {
  int64_t bytes = 0;
  for (const std::string& name : checkpoint.names()) {
    if (std::ranges::find(model.unpacked_weights, name) != model.unpacked_weights.end()) continue;
    const TensorInfo info = checkpoint.info(name);
    bytes += packed_bytes(name, info, dtype).value_or(info.bytes);
  }
  return bytes;
}

ForwardBatch make_batch(const SchedulerOutput& output) {
  ForwardBatch batch;
  batch.token_ids = output.tokens;
  batch.slots = output.slots;
  batch.positions.reserve(output.tokens.size());
  for (const ScheduledSequence& scheduled : output.sequences) {
    for (int32_t i = 0; i < scheduled.num_tokens; ++i) {
      batch.positions.push_back(scheduled.start_position + i);
    }
    const auto blocks = output.blocks_of(scheduled);
    batch.sequences.push_back({.token_begin = scheduled.token_begin,
                               .token_count = scheduled.num_tokens,
                               .past_length = scheduled.start_position,
                               .rope_length = scheduled.sequence_length,
                               .prompt_length = scheduled.prompt_length,
                               .prefix_length = scheduled.prefix_length,
                               .prefix_position = scheduled.prefix_position,
                               .adapter = scheduled.adapter,
                               .block_table = {blocks.begin(), blocks.end()}});
    const int32_t end = scheduled.token_begin + scheduled.num_tokens;
    for (int32_t row = end - scheduled.num_logits; row < end; ++row) {
      batch.logits_rows.push_back(row);
    }
    for (int32_t i = 0; i < scheduled.num_hidden; ++i) {
      batch.hidden_rows.push_back(scheduled.token_begin + scheduled.hidden_begin + i);
    }
  }
  return batch;
}

// Tokens [begin, end) of one sequence that has the whole cache, block i being its i-th.
ForwardBatch make_chunk(std::span<const int32_t> tokens, int begin, int end,
                        const PromptPrefix& prefix, int adapter) {
  ForwardBatch batch;
  ForwardBatch::Sequence sequence{.token_begin = 0,
                                  .token_count = end - begin,
                                  .past_length = begin,
                                  .rope_length = static_cast<int>(tokens.size()),
                                  .prompt_length = static_cast<int>(tokens.size()),
                                  .prefix_length = prefix.length,
                                  .prefix_position = prefix.position,
                                  .adapter = adapter,
                                  .block_table = {}};
  for (int block = 0; block * kBlockSize < end; ++block) sequence.block_table.push_back(block);
  for (int position = begin; position < end; ++position) {
    batch.token_ids.push_back(tokens[static_cast<size_t>(position)]);
    batch.positions.push_back(position);
    batch.slots.push_back(position);
    batch.logits_rows.push_back(position - begin);
  }
  batch.sequences.push_back(std::move(sequence));
  return batch;
}

}  // namespace

namespace {

ModelFiles open_without_adapters(const std::string& path, const LlmConfig& config) {
  return config.random_weights ? open_random_model(path) : open_model(path);
}

// What the adapters' products are packed to.
int64_t estimate_lora_bytes(const std::vector<LoraAdapter>& adapters) {
  int64_t bytes = 0;
  for (const LoraAdapter& adapter : adapters) {
    for (const auto& [name, module] : adapter.modules) {
      for (const Tensor& x : {module.a.view, module.b.view}) {
        bytes += packed_weight_bytes(x.size(0), x.size(1), x.dtype(), std::nullopt);
      }
    }
  }
  return bytes;
}

}  // namespace

ModelFiles open_model(const std::string& path, const LlmConfig& config) {
  ModelFiles files = open_without_adapters(path, config);
  for (const LoraSource& source : config.lora) {
    check_argument(!source.name.empty(), "lora: the adapter {} has no name", source.path);
    const auto same = std::ranges::count(config.lora, source.name, &LoraSource::name);
    check_argument(same == 1, "lora: {} adapters have the name '{}'", same, source.name);
    LoraAdapter adapter = fit_lora(read_lora_adapter(source.path), *files.checkpoint);
    adapter.name = source.name;
    if (config.lora_merge) {
      files.checkpoint = merge_lora(std::move(files.checkpoint), std::move(adapter));
    } else {
      files.lora.push_back(std::move(adapter));
    }
  }
  return files;
}

namespace {

std::optional<AttentionRule> attention_rule(const std::string& method) {
  if (method == "auto") return std::nullopt;
  if (method == "slim") return AttentionRule{AttentionRule::kNever};
  if (method == "flash") return AttentionRule{0};
  throw_error(ErrorCode::kInvalidArgument, "attention '{}' is unknown; known: auto, {}", method,
              fmt::join(kAttentionMethods, ", "));
}

}  // namespace

ThreadPlan plan_compute_threads(const Topology& topology, const LlmConfig& config) {
  check_argument(config.threads >= 0, "threads must be 0 (automatic) or more, not {}",
                 config.threads);
  const int from_environment = read_environment().threads.value_or(0);
  return plan_threads(topology, config.threads > 0 ? config.threads : from_environment);
}

std::optional<ModelFiles> open_draft_model(const LlmConfig& config) {
  if (config.draft_model.empty()) return std::nullopt;
  return open_without_adapters(config.draft_model, config);
}

namespace {

std::vector<KvLayout> kv_layouts_of(const ModelInfo& info, const std::string& kv_dtype) {
  KvLayout layout = kv_type(kv_dtype);
  layout.block_size = kBlockSize;
  layout.kv_heads = info.num_kv_heads;
  layout.head_dim = info.head_dim;
  layout.v_head_dim = info.v_head_dim;
  return std::vector<KvLayout>(static_cast<size_t>(info.num_layers), layout);
}

DraftPlan plan_draft(const ModelFiles& files, const LlmConfig& config) {
  DraftPlan plan;
  plan.info = read_model_info(files.config);
  if (plan.info.prefix) {
    throw_error(ErrorCode::kUnsupported,
                "{}: a model that reads its prompt in both directions cannot propose tokens",
                files.path);
  }
  plan.weight_dtype = parse_choice("draft_dtype", config.draft_dtype, kWeightDtypes);
  plan.kv_layouts = kv_layouts_of(plan.info, config.kv_dtype);
  plan.weight_bytes = estimate_weight_bytes(*files.checkpoint, plan.info, plan.weight_dtype);
  // Where K and V would have to be computed again, it proposes nothing more.
  plan.max_context = std::min(plan.info.max_position, read_reusable_length(files.config));
  if (plan.info.recompute_length > 0) {
    plan.max_context = std::min(plan.max_context, plan.info.recompute_length);
  }
  return plan;
}

}  // namespace

ModelPlan plan_model(const ModelFiles& files, const LlmConfig& config, const Topology& topology,
                     const RankPlace& place, const ModelFiles* draft) {
  check_argument(config.max_context >= 0, "max_context must be 0 (automatic) or more, not {}",
                 config.max_context);
  check_argument(config.kv_cache_bytes >= 0, "kv_cache_bytes must be 0 (automatic) or more, not {}",
                 config.kv_cache_bytes);
  check_argument(config.max_tokens_per_step >= 1, "max_tokens_per_step must be at least 1, not {}",
                 config.max_tokens_per_step);
  check_argument(config.draft_tokens >= 0 && config.draft_tokens <= 16,
                 "draft_tokens must be 0 (automatic) to 16, not {}", config.draft_tokens);
  check_argument(config.max_sequences >= 1, "max_sequences must be at least 1, not {}",
                 config.max_sequences);
  ModelPlan plan;
  plan.info = read_model_info(files.config);
  plan.reusable_length = read_reusable_length(files.config);
  plan.attention_rule = attention_rule(config.attention);
  plan.weight_dtype = parse_choice("dtype", config.dtype, kWeightDtypes);
  if (!plan.weight_dtype) {
    // A folder that was quantised is loaded as what it was quantised to.
    if (const auto format = QuantizedFormat::read(files.config)) plan.weight_dtype = format->dtype;
  }
  KvLayout layout = kv_layouts_of(plan.info, config.kv_dtype).front();
  layout.kv_heads = most_kv_heads(plan.info.num_kv_heads, place.size);
  const auto num_layers = static_cast<size_t>(plan.info.num_layers);
  // Block numbers mean the same on all ranks: the one with the most heads says how many there are.
  const std::vector<KvLayout> largest(num_layers, layout);
  const HeadShare heads =
      share_of_heads(plan.info.num_heads, plan.info.num_kv_heads, place.rank, place.size);
  layout.kv_heads = std::max(heads.num_kv_heads, 1);
  plan.kv_layouts.assign(num_layers, layout);
  // Matrices are split evenly; what is not is small.
  int64_t weight_bytes = (estimate_weight_bytes(*files.checkpoint, plan.info, plan.weight_dtype) +
                          estimate_lora_bytes(files.lora)) /
                         place.size;
  int64_t bytes_per_block = plan_kv_cache(largest).bytes_per_block;
  if (draft != nullptr) {
    plan.draft = plan_draft(*draft, config);
    weight_bytes += plan.draft->weight_bytes;
    bytes_per_block += plan_kv_cache(plan.draft->kv_layouts).bytes_per_block;
  }
  plan.memory = plan_memory({.available_bytes = topology.available_bytes / place.here,
                             .weight_bytes = weight_bytes,
                             .kv_bytes_per_block = bytes_per_block,
                             .block_size = kBlockSize,
                             .model_max_context = plan.info.max_position,
                             .max_sequences = config.max_sequences,
                             .requested_context = config.max_context,
                             .requested_kv_bytes = config.kv_cache_bytes / place.size});
  if (plan.draft) {
    plan.draft->max_context = std::min(plan.draft->max_context, plan.memory.max_context);
  }
  return plan;
}

int most_tokens_per_step(const ModelPlan& plan, const LlmConfig& config) {
  return plan.info.prefix ? std::max(config.max_tokens_per_step, plan.memory.max_context)
                          : config.max_tokens_per_step;
}

KvLayout kv_type(const std::string& name) {
  if (name == "int8-plain") return {.dtype = DType::kI8};
  parse_choice("kv_dtype", name, kKvDtypes);
  const DType dtype = parse_dtype(name).value_or(DType::kF16);
  return {.dtype = dtype, .rotated = dtype == DType::kI8};
}

std::string ModelPlan::kv_dtype() const {
  const KvLayout& layout = kv_layouts.front();
  return layout.is_int8() && !layout.rotated ? "int8-plain" : dtype_name(layout.dtype);
}

ModelRunner::ModelRunner(const ModelFiles& files, const LlmConfig& config,
                         const ProgressCallback& progress, const ModelFiles* draft)
    : topology_(read_topology()),
      plan_(plan_model(files, config, topology_, {}, draft)),
      vocab_(share_of_vocab(plan_.info.vocab_size, 0, 1)),
      max_tokens_per_step_(config.max_tokens_per_step),
      thread_plan_(plan_compute_threads(topology_, config)),
      communicator_(make_single_communicator()) {
  load(files, progress);
}

ModelRunner::ModelRunner(const ModelFiles& files, const LlmConfig& config,
                         const ProgressCallback& progress, RankResources resources)
    : topology_(read_topology()),
      place_{.rank = resources.communicator->rank(),
             .size = resources.communicator->size(),
             .here = resources.ranks_here},
      max_tokens_per_step_(config.max_tokens_per_step),
      thread_plan_(std::move(resources.threads)),
      communicator_(std::move(resources.communicator)) {
  guarded([&] {
    plan_ = plan_model(files, config, topology_, place_);
    vocab_ = share_of_vocab(plan_.info.vocab_size, place_.rank, place_.size);
    agree();
    load(files, progress);
    // All have their weights, or one has said why not.
    communicator_->barrier();
  });
}

ModelRunner::~ModelRunner() {
  if (place_.size == 1 || place_.rank != 0 || !failure_.empty()) return;
  try {
    tell(RankCommand::kStop);
  } catch (const std::exception&) {
    // They have gone already.
  }
}

void ModelRunner::load(const ModelFiles& files, const ProgressCallback& progress) {
  log_info("threads: {} ({}); ISA: {}", thread_plan_.cpus.size(), thread_plan_.reason,
           cpu_isa().to_string());
  log_info("context: {} of the model's {} tokens, KV cache {} MiB", plan_.memory.max_context,
           plan_.info.max_position, plan_.memory.kv_bytes >> 20);
  pin_this_thread(thread_plan_.cpus.front());
  threads_ = std::make_unique<ThreadPool>(thread_plan_.cpus);

  int64_t total = 0;
  for (const std::string& name : files.checkpoint->names()) {
    total += files.checkpoint->info(name).bytes;
  }
  int64_t done = 0;
  const auto report = [&](int64_t bytes) {
    done += bytes * place_.size;  // the others read theirs meanwhile
    // Random weights are not counted before they are drawn.
    if (progress) progress("weights", total > 0 ? std::min(done, total) : done, total);
  };
  ExecutionContext execution = this->execution();
  LoraClaims lora(files.lora);
  LoadContext load{.execution = execution,
                   .weight_dtype = plan_.weight_dtype,
                   .max_context = plan_.memory.max_context,
                   .on_weight = report,
                   .lora = files.lora.empty() ? nullptr : &lora};
  model_ = load_model(files.config, *files.checkpoint, load);
  if (total > 0 && progress)
    progress("weights", total, total);  // and norms, biases, what is unused
  attention_rule_ = rule_for(plan_.kv_layouts.front(), own_heads(), plan_.memory.max_context);
  cache_ =
      std::make_unique<KvCache>(plan_.kv_layouts, static_cast<int32_t>(plan_.memory.num_blocks));
}

// As the cache has KV heads: with more ranks than heads some have none to measure.
int ModelRunner::own_heads() const {
  const HeadShare heads =
      share_of_heads(plan_.info.num_heads, plan_.info.num_kv_heads, place_.rank, place_.size);
  return std::max(heads.num_heads, 1);
}

AttentionRule ModelRunner::rule_for(const KvLayout& layout, int num_heads, int max_context) {
  if (plan_.attention_rule) return *plan_.attention_rule;
  return measure_attention_rule(layout, num_heads, max_context, *threads_);
}

ExecutionContext ModelRunner::execution() {
  return {.threads = *threads_,
          .workspace = workspace_,
          .topology = topology_,
          .communicator = *communicator_,
          .attention_rule = attention_rule_};
}

ForwardOutput ModelRunner::run(const ForwardBatch& batch, KvCache& cache) {
  const ForwardOutput output{.logits = logits_tensor(std::ssize(batch.logits_rows)),
                             .hidden = hidden_tensor(std::ssize(batch.hidden_rows))};
  ExecutionContext execution = this->execution();
  const auto start = std::chrono::steady_clock::now();
  model_->forward(batch, cache, output, execution);
  forward_seconds_ +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  computed_tokens_ += batch.num_tokens();
  return output;
}

namespace {

// The beginning of a buffer that grows with what it has to hold.
Tensor tensor_in(Buffer& buffer, int64_t rows, int64_t columns) {
  const size_t bytes = static_cast<size_t>(rows * columns) * sizeof(float);
  if (buffer.size() < bytes) {
    buffer = Buffer();  // both at once may be too much
    buffer = Buffer(bytes);
  }
  return Tensor(buffer.data(), DType::kF32, Shape{rows, columns});
}

}  // namespace

Tensor ModelRunner::logits_tensor(int64_t rows) { return tensor_in(logits_, rows, vocab_.size()); }

Tensor ModelRunner::hidden_tensor(int64_t rows) {
  return tensor_in(hidden_, rows, info().hidden_size);
}

ForwardOutput ModelRunner::step(const SchedulerOutput& output) {
  return guarded([&] {
    tell(RankCommand::kStep, [&](MessageWriter& writer) { write_step(output, writer); });
    return run_step(output);
  });
}

void ModelRunner::use_synthetic_prefill(bool on) {
  guarded([&] {
    tell(RankCommand::kSyntheticPrefill, [&](MessageWriter& w) { w.put<uint8_t>(on ? 1 : 0); });
    synthetic_prefill_.reset(on ? new SyntheticPrefill : nullptr);
  });
}

ForwardOutput ModelRunner::run_step(const SchedulerOutput& output) {
  for (const BlockCopy& copy : output.copies) cache_->copy_block(copy.from, copy.to);
  if (!synthetic_prefill_ || !SyntheticPrefill::applies_to(output)) {
    const ForwardOutput result = run(make_batch(output), *cache_);
    step_logits_ = result.logits;
    return result;
  }
  synthetic_prefill_->run(output, *cache_, *threads_);
  int64_t num_rows = 0;
  for (const ScheduledSequence& scheduled : output.sequences) {
    LANNER_CHECK(scheduled.num_hidden == 0);
    num_rows += scheduled.num_logits;
  }
  const Tensor logits = logits_tensor(num_rows);
  std::memset(logits.raw(), 0, static_cast<size_t>(logits.bytes()));
  step_logits_ = logits;
  return {.logits = logits, .hidden = {}};
}

int ModelRunner::max_logits_rows() const {
  constexpr int64_t kMaxLogits = (int64_t{64} << 20) / sizeof(float);
  return static_cast<int>(
      std::clamp<int64_t>(kMaxLogits / info().vocab_size, 1, max_tokens_per_step_));
}

int ModelRunner::check_length(std::span<const int32_t> tokens) const {
  const int count = checked_cast<int>(tokens.size(), "number of tokens");
  check_argument(count > 0, "there are no tokens to compute");
  check_argument(count <= plan_.memory.max_context,
                 "{} tokens are more than the context of {} tokens", count,
                 plan_.memory.max_context);
  return count;
}

void ModelRunner::logits(std::span<const int32_t> tokens, int chunk_tokens,
                         const std::function<void(const Tensor&)>& on_rows, int adapter) {
  const int count = check_length(tokens);
  const int chunk = chunk_tokens > 0 ? chunk_tokens : max_logits_rows();
  const int64_t vocab_size = info().vocab_size;
  for (const int32_t token : tokens) {
    check_argument(token >= 0 && token < vocab_size,
                   "token id {} is outside the vocabulary of {} tokens", token, vocab_size);
  }
  const PromptPrefix prefix = find_prefix(info(), tokens);
  for (int begin = 0, end = 0; begin < count; begin = end) {
    end = std::min(std::max(begin + chunk, prefix.length), count);
    const Tensor rows = guarded([&] {
      tell(RankCommand::kChunk, [&](MessageWriter& writer) {
        writer.put<int32_t>(begin);
        writer.put<int32_t>(end);
        writer.put<int32_t>(adapter);
        writer.put_vector(std::vector<int32_t>(tokens.begin(), tokens.end()));
      });
      return gather_rows(run_chunk(tokens, begin, end, adapter), end - begin);
    });
    on_rows(rows);
  }
}

Tensor ModelRunner::run_chunk(std::span<const int32_t> tokens, int begin, int end, int adapter) {
  const auto count = static_cast<int>(tokens.size());
  if (begin == 0) {
    chunk_cache_.reset();
    chunk_cache_ = std::make_unique<KvCache>(plan_.kv_layouts,
                                             static_cast<int32_t>(ceil_div(count, kBlockSize)));
  }
  LANNER_CHECK(chunk_cache_ != nullptr);
  const Tensor rows =
      run(make_chunk(tokens, begin, end, find_prefix(info(), tokens), adapter), *chunk_cache_)
          .logits;
  if (end == count) chunk_cache_.reset();
  return rows;
}

}  // namespace lanner
