// SPDX-License-Identifier: Apache-2.0
#include "requests.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <variant>

#include "fields.h"

namespace lanner::python {
namespace {

// A word of a fixed list as the enumerator beside it. Throws ValueError with the list.
template <typename T, size_t N>
T word_as(nb::handle value, const char* name,
          const std::array<std::pair<std::string_view, T>, N>& words) {
  const auto word = cast_field<std::string>(value, name, "a str");
  std::string known;
  for (const auto& [text, result] : words) {
    if (word == text) return result;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  throw nb::value_error((std::string(name) + ": '" + word + "' is none of " + known).c_str());
}

constexpr std::array kEarlyStopping = {
    std::pair{std::string_view("heuristic"), EarlyStopping::kHeuristic},
    std::pair{std::string_view("always"), EarlyStopping::kAlways},
    std::pair{std::string_view("never"), EarlyStopping::kNever}};
constexpr std::array kFormKinds = {
    std::pair{std::string_view("json_object"), StructuredOutput::Kind::kJsonObject},
    std::pair{std::string_view("json_schema"), StructuredOutput::Kind::kJsonSchema},
    std::pair{std::string_view("regex"), StructuredOutput::Kind::kRegex},
    std::pair{std::string_view("choice"), StructuredOutput::Kind::kChoice},
    std::pair{std::string_view("lark"), StructuredOutput::Kind::kLark}};
constexpr std::array kToolChoices = {
    std::pair{std::string_view("auto"), ToolChoice::Kind::kAuto},
    std::pair{std::string_view("none"), ToolChoice::Kind::kNone},
    std::pair{std::string_view("required"), ToolChoice::Kind::kRequired},
    std::pair{std::string_view("named"), ToolChoice::Kind::kNamed}};

// {name: folder}
void set_lora(LlmConfig& config, nb::handle value, const char* name) {
  for (const auto& [adapter, path] : cast_field<nb::dict>(value, name, "a dict of folders")) {
    config.lora.push_back({cast_field<std::string>(adapter, name, "names as keys"),
                           cast_field<std::string>(path, name, "folders as values")});
  }
}

constexpr Field<LlmConfig> kConfigFields[] = {
    member<&LlmConfig::dtype>("dtype"),
    member<&LlmConfig::random_weights>("random_weights"),
    member<&LlmConfig::kv_dtype>("kv_dtype"),
    member<&LlmConfig::attention>("attention"),
    member<&LlmConfig::threads>("threads"),
    member<&LlmConfig::tensor_parallel>("tensor_parallel"),
    member<&LlmConfig::worker_program>("worker_program"),
    member<&LlmConfig::hosts>("hosts"),
    member<&LlmConfig::rendezvous>("rendezvous"),
    member<&LlmConfig::job_secret>("job_secret"),
    member<&LlmConfig::rendezvous_timeout>("rendezvous_timeout"),
    member<&LlmConfig::communicator>("communicator"),
    member<&LlmConfig::wire>("wire"),
    member<&LlmConfig::restart_ranks>("restart_ranks"),
    member<&LlmConfig::max_context>("max_context"),
    member<&LlmConfig::kv_cache_bytes>("kv_cache_bytes"),
    member<&LlmConfig::max_tokens_per_step>("max_tokens_per_step"),
    member<&LlmConfig::max_sequences>("max_sequences"),
    member<&LlmConfig::prefix_cache>("prefix_cache"),
    member<&LlmConfig::ngram_speculation>("ngram_speculation"),
    member<&LlmConfig::draft_model>("draft_model"),
    member<&LlmConfig::draft_dtype>("draft_dtype"),
    member<&LlmConfig::draft_tokens>("draft_tokens"),
    {"lora", set_lora},
    member<&LlmConfig::lora_merge>("lora_merge"),
};

void set_logit_bias(SamplingParams& sampling, nb::handle value, const char* name) {
  for (const auto& [token, bias] : cast_field<nb::dict>(value, name, "a dict of token ids")) {
    sampling.logit_bias.push_back({cast_field<int32_t>(token, name, "token ids as keys"),
                                   cast_field<double>(bias, name, "floats as values")});
  }
}

void set_early_stopping(SamplingParams& sampling, nb::handle value, const char* name) {
  sampling.early_stopping = word_as(value, name, kEarlyStopping);
}

constexpr Field<StructuredOutput> kFormFields[] = {
    {"kind", [](StructuredOutput& form, nb::handle value,
                const char* name) { form.kind = word_as(value, name, kFormKinds); }},
    member<&StructuredOutput::source>("source"),
    member<&StructuredOutput::choices>("choices"),
};

template <typename Struct, const auto& Fields>
Struct from_dict(nb::handle value, const char* name) {
  Struct result;
  set_fields(result, cast_field<nb::dict>(value, name, "a dict"),
             std::span<const Field<Struct>>(Fields));
  return result;
}

template <typename Struct, const auto& Fields>
std::vector<Struct> from_dicts(nb::handle value, const char* name) {
  std::vector<Struct> results;
  for (nb::handle item : cast_field<nb::list>(value, name, "a list")) {
    results.push_back(from_dict<Struct, Fields>(item, name));
  }
  return results;
}

constexpr Field<SamplingParams> kSamplingFields[] = {
    member<&SamplingParams::temperature>("temperature"),
    member<&SamplingParams::top_k>("top_k"),
    member<&SamplingParams::top_p>("top_p"),
    member<&SamplingParams::min_p>("min_p"),
    member<&SamplingParams::typical_p>("typical_p"),
    member<&SamplingParams::repetition_penalty>("repetition_penalty"),
    member<&SamplingParams::frequency_penalty>("frequency_penalty"),
    member<&SamplingParams::presence_penalty>("presence_penalty"),
    {"logit_bias", set_logit_bias},
    member<&SamplingParams::bad_words>("bad_words"),
    member<&SamplingParams::bad_word_ids>("bad_word_ids"),
    member<&SamplingParams::seed>("seed"),
    member<&SamplingParams::n>("n"),
    member<&SamplingParams::best_of>("best_of"),
    member<&SamplingParams::beam_width>("beam_width"),
    member<&SamplingParams::length_penalty>("length_penalty"),
    {"early_stopping", set_early_stopping},
    member<&SamplingParams::logprobs>("logprobs"),
    member<&SamplingParams::prompt_logprobs>("prompt_logprobs"),
    member<&SamplingParams::max_tokens>("max_tokens"),
    member<&SamplingParams::min_tokens>("min_tokens"),
    member<&SamplingParams::stop>("stop"),
    member<&SamplingParams::include_stop>("include_stop"),
    member<&SamplingParams::stop_token_ids>("stop_token_ids"),
    member<&SamplingParams::ignore_eos>("ignore_eos"),
    {"structured",
     [](SamplingParams& sampling, nb::handle value, const char* name) {
       sampling.structured = from_dict<StructuredOutput, kFormFields>(value, name);
     }},
};

// Text or token ids.
std::variant<std::string, std::vector<int32_t>> to_prompt(nb::handle value, const char* name) {
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  return cast_field<std::vector<int32_t>>(value, name, "a str or a list of token ids");
}

template <typename Struct>
void set_sampling(Struct& request, nb::handle value, const char* name) {
  request.sampling = from_dict<SamplingParams, kSamplingFields>(value, name);
}

constexpr Field<Request> kRequestFields[] = {
    {"prompt", [](Request& request, nb::handle value,
                  const char* name) { request.prompt = to_prompt(value, name); }},
    {"sampling", set_sampling<Request>},
    member<&Request::prompt_has_special_tokens>("prompt_has_special_tokens"),
    member<&Request::truncate_prompt>("truncate_prompt"),
    member<&Request::priority>("priority"),
    member<&Request::cache_salt>("cache_salt"),
    member<&Request::lora>("lora"),
};

constexpr Field<ToolCall> kToolCallFields[] = {
    member<&ToolCall::id>("id"),
    member<&ToolCall::name>("name"),
    member<&ToolCall::arguments>("arguments"),
};

constexpr Field<ChatMessage> kMessageFields[] = {
    member<&ChatMessage::role>("role"),
    member<&ChatMessage::content>("content"),
    member<&ChatMessage::content_parts>("content_parts"),
    member<&ChatMessage::reasoning_content>("reasoning_content"),
    {"tool_calls",
     [](ChatMessage& message, nb::handle value, const char* name) {
       message.tool_calls = from_dicts<ToolCall, kToolCallFields>(value, name);
     }},
    member<&ChatMessage::tool_call_id>("tool_call_id"),
    member<&ChatMessage::name>("name"),
};

constexpr Field<Tool> kToolFields[] = {
    member<&Tool::name>("name"),
    member<&Tool::description>("description"),
    member<&Tool::parameters>("parameters"),
};

constexpr Field<ToolChoice> kToolChoiceFields[] = {
    {"kind", [](ToolChoice& choice, nb::handle value,
                const char* name) { choice.kind = word_as(value, name, kToolChoices); }},
    member<&ToolChoice::name>("name"),
};

constexpr Field<ChatRequest> kChatFields[] = {
    {"messages",
     [](ChatRequest& chat, nb::handle value, const char* name) {
       chat.messages = from_dicts<ChatMessage, kMessageFields>(value, name);
     }},
    {"tools", [](ChatRequest& chat, nb::handle value,
                 const char* name) { chat.tools = from_dicts<Tool, kToolFields>(value, name); }},
    {"tool_choice",
     [](ChatRequest& chat, nb::handle value, const char* name) {
       chat.tool_choice = from_dict<ToolChoice, kToolChoiceFields>(value, name);
     }},
    member<&ChatRequest::parallel_tool_calls>("parallel_tool_calls"),
    member<&ChatRequest::template_arguments>("template_arguments"),
    member<&ChatRequest::add_generation_prompt>("add_generation_prompt"),
    member<&ChatRequest::split_reasoning>("split_reasoning"),
    {"sampling", set_sampling<ChatRequest>},
    member<&ChatRequest::truncate_prompt>("truncate_prompt"),
    member<&ChatRequest::priority>("priority"),
    member<&ChatRequest::cache_salt>("cache_salt"),
    member<&ChatRequest::lora>("lora"),
};

constexpr std::array kPoolingWords = {
    std::pair{std::string_view(pooling_name(Pooling::kMean)), Pooling::kMean},
    std::pair{std::string_view(pooling_name(Pooling::kLast)), Pooling::kLast},
    std::pair{std::string_view(pooling_name(Pooling::kFirst)), Pooling::kFirst}};

constexpr Field<EmbeddingRequest> kEmbeddingFields[] = {
    {"input", [](EmbeddingRequest& request, nb::handle value,
                 const char* name) { request.input = to_prompt(value, name); }},
    {"pooling", [](EmbeddingRequest& request, nb::handle value,
                   const char* name) { request.pooling = word_as(value, name, kPoolingWords); }},
    member<&EmbeddingRequest::normalized>("normalized"),
    member<&EmbeddingRequest::truncate>("truncate"),
    member<&EmbeddingRequest::priority>("priority"),
    member<&EmbeddingRequest::cache_salt>("cache_salt"),
    member<&EmbeddingRequest::lora>("lora"),
};

constexpr Field<QuantizeOptions> kQuantizeFields[] = {
    member<&QuantizeOptions::dtype>("dtype"),
    member<&QuantizeOptions::embedding_dtype>("embedding_dtype"),
    member<&QuantizeOptions::lora>("lora"),
    member<&QuantizeOptions::overwrite>("overwrite"),
    member<&QuantizeOptions::threads>("threads"),
};

constexpr Field<HubOptions> kHubFields[] = {
    member<&HubOptions::revision>("revision"),
    member<&HubOptions::include>("include"),
    member<&HubOptions::url>("url"),
    member<&HubOptions::cache_dir>("cache_dir"),
    member<&HubOptions::token>("token"),
    member<&HubOptions::offline>("offline"),
    member<&HubOptions::connections>("connections"),
};

constexpr Field<DistributedPlan> kPlanFields[] = {
    member<&DistributedPlan::ranks>("ranks"),
    member<&DistributedPlan::latency_us>("latency_us"),
    member<&DistributedPlan::bandwidth_gbps>("bandwidth_gbps"),
    member<&DistributedPlan::communication>("communication"),
    member<&DistributedPlan::read_gbps>("read_gbps"),
    member<&DistributedPlan::sums_per_layer>("sums_per_layer"),
    member<&DistributedPlan::batch>("batch"),
    member<&DistributedPlan::depth>("depth"),
};

template <typename Struct>
nb::list names_of(std::span<const Field<Struct>> fields) {
  nb::list names;
  for (const Field<Struct>& field : fields) names.append(field.name);
  return names;
}

}  // namespace

LlmConfig to_config(const nb::dict& fields) {
  return from_dict<LlmConfig, kConfigFields>(fields, "config");
}

SamplingParams to_sampling_params(const nb::dict& fields) {
  return from_dict<SamplingParams, kSamplingFields>(fields, "sampling_params");
}

Request to_request(const nb::dict& fields) {
  return from_dict<Request, kRequestFields>(fields, "request");
}

ChatRequest to_chat_request(const nb::dict& fields) {
  return from_dict<ChatRequest, kChatFields>(fields, "chat");
}

EmbeddingRequest to_embedding_request(const nb::dict& fields) {
  return from_dict<EmbeddingRequest, kEmbeddingFields>(fields, "request");
}

QuantizeOptions to_quantize_options(const nb::dict& fields) {
  return from_dict<QuantizeOptions, kQuantizeFields>(fields, "options");
}

HubOptions to_hub_options(const nb::dict& fields) {
  return from_dict<HubOptions, kHubFields>(fields, "options");
}

DistributedPlan to_distributed_plan(const nb::dict& fields) {
  return from_dict<DistributedPlan, kPlanFields>(fields, "plan");
}

Fields from_sampling_params(const SamplingParams& sampling) {
  nb::dict fields;
  for (const Field<SamplingParams>& field : kSamplingFields) {
    if (field.get != nullptr) fields[field.name] = field.get(sampling);
  }
  return fields;
}

nb::typed<nb::dict, nb::str, nb::typed<nb::list, nb::str>> field_names() {
  nb::dict names;
  names["LlmConfig"] = names_of<LlmConfig>(kConfigFields);
  names["SamplingParams"] = names_of<SamplingParams>(kSamplingFields);
  names["StructuredOutput"] = names_of<StructuredOutput>(kFormFields);
  names["Request"] = names_of<Request>(kRequestFields);
  names["ChatRequest"] = names_of<ChatRequest>(kChatFields);
  names["EmbeddingRequest"] = names_of<EmbeddingRequest>(kEmbeddingFields);
  names["ChatMessage"] = names_of<ChatMessage>(kMessageFields);
  names["Tool"] = names_of<Tool>(kToolFields);
  names["QuantizeOptions"] = names_of<QuantizeOptions>(kQuantizeFields);
  names["HubOptions"] = names_of<HubOptions>(kHubFields);
  names["DistributedPlan"] = names_of<DistributedPlan>(kPlanFields);
  names["ToolChoice"] = names_of<ToolChoice>(kToolChoiceFields);
  return names;
}

}  // namespace lanner::python
