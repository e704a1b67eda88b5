// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <filesystem>

#include <fmt/format.h>

#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/input.h"
#include "cli/model_choice.h"
#include "cli/rank_options.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

LogitBias parse_logit_bias(const std::string& text) {
  LogitBias entry;
  const char* end = text.data() + text.size();
  const auto id = std::from_chars(text.data(), end, entry.token_id);
  if (id.ec == std::errc() && id.ptr != end && *id.ptr == ':') {
    const auto bias = std::from_chars(id.ptr + 1, end, entry.bias);
    if (bias.ec == std::errc() && bias.ptr == end) return entry;
  }
  throw usage_failure(fmt::format("--logit-bias '{}' is not ID:BIAS, e.g. 42:-5", text));
}

// NAME=FOLDER, or a folder, whose name is its own.
LoraSource parse_lora(const std::string& text) {
  const size_t equals = text.find('=');
  std::error_code failure;
  if (equals != std::string::npos && !std::filesystem::exists(text, failure)) {
    if (equals == 0 || equals + 1 == text.size()) {
      throw usage_failure(fmt::format("--lora '{}' is not NAME=FOLDER", text));
    }
    return {.name = text.substr(0, equals), .path = text.substr(equals + 1)};
  }
  std::filesystem::path folder(text);
  if (folder.filename().empty()) folder = folder.parent_path();
  return {.name = folder.filename().string(), .path = text};
}

}  // namespace

LlmConfig to_config(const ModelOptions& options, const Context& context) {
  LlmConfig config;
  config.dtype = options.dtype;
  config.kv_dtype = options.kv_dtype;
  config.attention = options.attention;
  config.threads = options.threads > 0 ? options.threads : context.threads;
  config.tensor_parallel = options.tensor_parallel;
  config.max_context = options.max_context;
  config.max_sequences = 1;  // a command asks one question at a time
  config.prefix_cache = !options.no_prefix_cache;
  config.ngram_speculation = !options.no_speculation;
  config.draft_model = options.no_speculation ? std::string() : options.draft_model;
  config.draft_dtype = options.draft_dtype;
  config.draft_tokens = options.draft_tokens;
  for (const std::string& text : options.lora) config.lora.push_back(parse_lora(text));
  config.lora_merge = options.lora_merge;
  set_ranks(options, context, config);
  return config;
}

std::string only_adapter(const LLM& llm) {
  const std::vector<std::string> names = llm.lora_adapters();
  if (names.size() > 1) {
    throw usage_failure(
        fmt::format("--lora: {} adapters were given, but one question is computed with one of "
                    "them, or with all "
                    "of them merged (--lora-merge)",
                    names.size()));
  }
  return names.empty() ? std::string() : names.front();
}

void refuse_adapters(const LlmConfig& config) {
  if (config.lora.empty() || config.lora_merge) return;
  throw usage_failure("this measures a model alone: --lora needs --lora-merge here");
}

SamplingParams to_sampling(const SamplingOptions& options, const SamplingParams& defaults) {
  SamplingParams sampling = defaults;
  if (options.greedy) sampling.temperature = 0;
  if (options.temperature) sampling.temperature = *options.temperature;
  if (options.top_k) sampling.top_k = *options.top_k;
  if (options.top_p) sampling.top_p = *options.top_p;
  if (options.min_p) sampling.min_p = *options.min_p;
  if (options.typical_p) sampling.typical_p = *options.typical_p;
  if (options.repetition_penalty) sampling.repetition_penalty = *options.repetition_penalty;
  if (options.frequency_penalty) sampling.frequency_penalty = *options.frequency_penalty;
  if (options.presence_penalty) sampling.presence_penalty = *options.presence_penalty;
  if (options.seed) sampling.seed = options.seed;
  if (options.max_tokens) sampling.max_tokens = options.max_tokens;
  if (options.min_tokens) sampling.min_tokens = *options.min_tokens;
  sampling.include_stop = options.include_stop;
  sampling.bad_words = options.bad_words;
  for (const std::string& entry : options.logit_bias) {
    sampling.logit_bias.push_back(parse_logit_bias(entry));
  }
  sampling.stop.insert(sampling.stop.end(), options.stop.begin(), options.stop.end());
  sampling.ignore_eos = options.ignore_eos;
  return sampling;
}

void add_answers(const AnswersOptions& options, SamplingParams& sampling) {
  if (options.n) sampling.n = *options.n;
  sampling.best_of = options.best_of;
  sampling.logprobs = options.logprobs;
  if (options.length_penalty) sampling.length_penalty = *options.length_penalty;
  if (options.early_stopping == "always") sampling.early_stopping = EarlyStopping::kAlways;
  if (options.early_stopping == "never") sampling.early_stopping = EarlyStopping::kNever;
  if (!options.beams) return;
  sampling.beam_width = *options.beams;
  sampling.temperature = 0;
}

std::string resolve_model(const std::optional<std::string>& model, const Context& context) {
  return model ? *model : default_model_path(context.cache_dir);
}

std::string resolve_text(const std::optional<std::string>& text, const Context& context,
                         const char* what) {
  if (text && *text != "-") return *text;
  if (!text && context.in_is_terminal) {
    throw usage_failure(
        fmt::format("no {}: give it as an argument, or on standard input with '-'", what));
  }
  std::string read;
  Input(context.in_fd, nullptr).read_all(read);
  if (const auto bad = find_invalid_utf8(read)) {
    throw Failure(exit_code(ErrorCode::kInvalidArgument),
                  fmt::format("standard input is not valid UTF-8 (byte {})", *bad));
  }
  return read;
}

std::string without_final_newline(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

}  // namespace lanner::cli
