// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <ostream>

#include <fmt/format.h>

#include "base/json.h"
#include "base/utf8.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/interrupt.h"
#include "cli/load_progress.h"
#include "cli/model_choice.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

Request make_request(const RunOptions& options, const LLM& llm, std::string prompt) {
  Request request;
  request.sampling = to_sampling(options.sampling, llm.default_sampling_params());
  add_answers(options.answers, request.sampling);
  request.sampling.structured = to_structured(options.form);
  request.truncate_prompt = options.truncate;
  request.lora = only_adapter(llm);
  if (options.tokens) {
    request.prompt = parse_token_ids(*options.tokens, "--tokens");
  } else if (!options.raw && llm.has_chat_template()) {
    std::vector<ChatMessage> messages;
    if (options.system) messages.push_back({"system", *options.system});
    messages.push_back({"user", std::move(prompt)});
    request.prompt = llm.render({.messages = std::move(messages)});
    request.prompt_has_special_tokens = true;
  } else {
    if (options.system) {
      throw Failure(exit_code(ErrorCode::kUnsupported),
                    "--system needs a chat template, and this model has none");
    }
    request.prompt = std::move(prompt);
  }
  return request;
}

Json to_json(const TokenLogprob& token) {
  return Json{
      {"id", token.id}, {"token", utf8_or_escapes(token.bytes)}, {"logprob", token.logprob}};
}

Json to_json(const std::vector<PositionLogprobs>& logprobs) {
  Json list = Json::array();
  for (const PositionLogprobs& position : logprobs) {
    Json entry = to_json(position.token);
    entry["top"] = Json::array();
    for (const TokenLogprob& top : position.top) entry["top"].push_back(to_json(top));
    list.push_back(std::move(entry));
  }
  return list;
}

// The answers after the first.
Json further_answers(const Context& context, const Answer& answer) {
  Json list = Json::array();
  for (const Completion& further : answer.further) {
    Json entry{{"text", further.text},
               {"token_ids", further.token_ids},
               {"finish_reason", context.backend.finish_reason_name(further.finish_reason)}};
    if (!further.logprobs.empty()) entry["logprobs"] = to_json(further.logprobs);
    list.push_back(std::move(entry));
  }
  return list;
}

void print_json(const Context& context, const Answer& answer, const LlmStats& stats) {
  Json json;
  json["text"] = answer.text;
  json["token_ids"] = answer.token_ids;
  json["finish_reason"] = context.backend.finish_reason_name(answer.finish_reason);
  if (!answer.error.empty()) json["error"] = answer.error;
  if (!answer.logprobs.empty()) json["logprobs"] = to_json(answer.logprobs);
  if (!answer.further.empty()) json["further"] = further_answers(context, answer);
  json["prompt_tokens"] = answer.prompt_tokens;
  json["cached_tokens"] = answer.cached_tokens;
  if (answer.truncated_tokens > 0) json["truncated_tokens"] = answer.truncated_tokens;
  json["output_tokens"] = answer.output_tokens;
  json["stats"] = {{"load_seconds", stats.load_seconds},
                   {"ttft_seconds", answer.ttft_seconds},
                   {"tpot_seconds", answer.tpot_seconds},
                   {"prefill_tokens", stats.prefill_tokens},
                   {"prefill_seconds", stats.prefill_seconds},
                   {"decode_tokens", stats.decode_tokens},
                   {"decode_seconds", stats.decode_seconds},
                   {"weight_bytes", stats.weight_bytes},
                   {"kv_cache_bytes", stats.kv_cache_bytes},
                   {"peak_memory_bytes", stats.peak_memory_bytes},
                   {"ranks", stats.ranks},
                   {"communicator", stats.communicator},
                   {"computed_tokens", stats.computed_tokens},
                   {"reduced_bytes", stats.reduced_bytes},
                   {"copied_bytes", stats.copied_bytes},
                   {"gathered_bytes", stats.gathered_bytes},
                   {"broadcast_bytes", stats.broadcast_bytes}};
  context.out << json.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

// Ends the first answer's line, and prints the others.
void print_further(Context& context, const Answer& answer) {
  if (!answer.text.ends_with('\n')) context.out << '\n';
  for (size_t i = 0; i < answer.further.size(); ++i) {
    const std::string& text = answer.further[i].text;
    context.out << fmt::format("\n--- answer {} ---\n", i + 2);
    context.out << (context.out_is_terminal ? terminal_text(text) : text);
    if (!text.ends_with('\n')) context.out << '\n';
  }
}

// Loads, writes the logits of the given tokens, generates nothing.
int write_logits(const RunOptions& options, const std::string& path, Context& context) {
  const std::vector<int32_t> tokens = parse_token_ids(*options.tokens, "--tokens");
  const auto llm = load_model(context, path, to_config(options.model, context));
  llm->write_logits(tokens, *options.logits_out, only_adapter(*llm));
  return kExitOk;
}

}  // namespace

int run_command(const RunOptions& options, Context& context) {
  const ModelAndText chosen = tell_model_from_text(options.given);
  if (options.tokens && chosen.text) {
    throw usage_failure("--tokens stands instead of a prompt; both were given ('" + *chosen.text +
                        "')");
  }
  // Everything that can be refused is refused before the model is loaded.
  if (options.tokens) parse_token_ids(*options.tokens, "--tokens");
  to_structured(options.form);
  const std::string path = resolve_model(chosen.model, context);
  if (options.logits_out) return write_logits(options, path, context);
  std::string prompt;
  if (!options.tokens) {
    prompt = resolve_text(chosen.text, context, "prompt");
    if (!options.raw) prompt = without_final_newline(std::move(prompt));
    if (prompt.empty()) throw usage_failure("the prompt is empty");
  }

  LlmConfig config = to_config(options.model, context);
  const AnswersOptions& answers = options.answers;
  config.max_sequences =
      std::max({answers.n.value_or(1), answers.best_of.value_or(1), answers.beams.value_or(1)});
  const auto llm = load_model(context, path, config);
  const Request request = make_request(options, *llm, std::move(prompt));
  InterruptGuard interrupts;
  const Answer answer = stream_answer(*llm, request, interrupts, [&](std::string_view text) {
    if (options.json) return;
    context.out << (context.out_is_terminal ? terminal_text(text) : text);
    flush_output(context);
  });
  if (options.json) {
    print_json(context, answer, llm->stats());
  } else {
    print_further(context, answer);
  }
  flush_output(context);
  if (options.stats) print_stats(context.err, answer, llm->stats());
  if (answer.finish_reason == FinishReason::kError) throw Failure(kExitFailure, answer.error);
  return answer.interrupted ? kExitInterrupted : kExitOk;
}

}  // namespace lanner::cli
