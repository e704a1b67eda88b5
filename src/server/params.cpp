// SPDX-License-Identifier: Apache-2.0
#include "server/params.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include <fmt/format.h>

#include "server/schema.h"
#include "server/sse.h"
#include "server/status.h"

namespace lanner::server {
namespace {

using P = GenerationParams;
using L = Limits;

void set_stop(const Json& value, P& params, const L&) {
  std::vector<std::string> stop;
  if (value.is_string()) {
    stop.push_back(value.get<std::string>());
  } else {
    for (const Json& text : value) stop.push_back(text.get<std::string>());
  }
  params.sampling.stop.insert(params.sampling.stop.end(), stop.begin(), stop.end());
}

void set_logit_bias(const Json& value, P& params, const L&) {
  for (const auto& [id, bias] : value.items()) {
    int32_t token = -1;
    const auto [end, failure] = std::from_chars(id.data(), id.data() + id.size(), token);
    if (failure != std::errc() || end != id.data() + id.size() || token < 0) {
      throw HttpError(400, fmt::format("'logit_bias': '{}' is no token id", id), "logit_bias");
    }
    check_schema(bias, number(-100, 100), "logit_bias." + id);
    params.sampling.logit_bias.push_back({token, bias.get<double>()});
  }
}

void set_structured(StructuredOutput::Kind kind, std::string source, const char* name, P& params,
                    const L& limits) {
  if (params.sampling.structured.enabled()) {
    throw HttpError(400, fmt::format("'{}': the form of the answer is set by another member", name),
                    name);
  }
  if (static_cast<int64_t>(source.size()) > limits.schema_bytes) {
    throw HttpError::limit(400, "schema_bytes",
                           fmt::format("'{}' has {} bytes, at most {} are allowed", name,
                                       source.size(), limits.schema_bytes),
                           name);
  }
  params.sampling.structured.kind = kind;
  params.sampling.structured.source = std::move(source);
}

// `format` has the type, `holder` the schema.
void set_form(const Json& format, const Json& holder, const char* name, P& params,
              const L& limits) {
  const std::string type = format.at("type").get<std::string>();
  if (type == "json_object") {
    set_structured(StructuredOutput::Kind::kJsonObject, "", name, params, limits);
  } else if (type == "json_schema") {
    set_structured(StructuredOutput::Kind::kJsonSchema, json_text(holder.at("schema")), name,
                   params, limits);
  }
}

void set_response_format(const Json& value, P& params, const L& limits) {
  set_form(value, value.value("json_schema", Json::object()), "response_format", params, limits);
}

void set_max_tokens(const Json& value, P& params, const L&) {
  params.sampling.max_tokens = to_int(value);
}

const ParamRow kRows[] = {
    {"temperature", kEveryGeneration, [](const L&) { return number(0, 100); },
     "Randomness: 0 is greedy, 1 the model's own distribution",
     [](const Json& v, P& p, const L&) { p.sampling.temperature = v.get<double>(); }},
    {"top_p", kEveryGeneration, [](const L&) { return number_above(0, 1); },
     "Sample from the smallest set of tokens with this probability together",
     [](const Json& v, P& p, const L&) { p.sampling.top_p = v.get<double>(); }},
    {"top_k", kEveryGeneration, [](const L&) { return integer(0, INT32_MAX); },
     "Sample from the k likeliest tokens; 0: from all",
     [](const Json& v, P& p, const L&) { p.sampling.top_k = to_int(v); }},
    {"min_p", kEveryGeneration, [](const L&) { return number(0, 1); },
     "Sample from tokens with at least this part of the best one's probability",
     [](const Json& v, P& p, const L&) { p.sampling.min_p = v.get<double>(); }},
    {"repetition_penalty", kEveryGeneration, [](const L&) { return number_above(0, 100); },
     "Above 1: avoid tokens of the prompt and the answer",
     [](const Json& v, P& p, const L&) { p.sampling.repetition_penalty = v.get<double>(); }},
    {"frequency_penalty", kEveryGeneration, [](const L&) { return number(-2, 2); },
     "Subtracted from a logit for each time its token is in the answer",
     [](const Json& v, P& p, const L&) { p.sampling.frequency_penalty = v.get<double>(); }},
    {"presence_penalty", kEveryGeneration, [](const L&) { return number(-2, 2); },
     "Subtracted from a logit if its token is in the answer",
     [](const Json& v, P& p, const L&) { p.sampling.presence_penalty = v.get<double>(); }},
    {"seed", kEveryGeneration, [](const L&) { return integer(0, INT64_MAX); },
     "The same seed gives the same text",
     [](const Json& v, P& p, const L&) { p.sampling.seed = static_cast<uint64_t>(to_int64(v)); }},
    {"max_tokens", kCompletions | kChat, [](const L& l) { return integer(1, l.max_tokens); },
     "Tokens to generate at most; the answer also ends where the context is full", set_max_tokens,
     "max_tokens"},
    {"max_completion_tokens", kChat, [](const L& l) { return integer(1, l.max_tokens); },
     "The newer name of max_tokens", set_max_tokens, "max_tokens"},
    {"max_output_tokens", kResponses, [](const L& l) { return integer(1, l.max_tokens); },
     "Tokens to generate at most", set_max_tokens, "max_tokens"},
    {"stop", kEveryGeneration, [](const L& l) { return strings_or_one(l.stop_strings); },
     "Text that ends the answer and is not part of it", set_stop, "stop_strings"},
    {"ignore_eos", kEveryGeneration, [](const L&) { return boolean(); },
     "Go on after the model's end tokens",
     [](const Json& v, P& p, const L&) { p.sampling.ignore_eos = v.get<bool>(); }},
    {"stream", kEveryGeneration, [](const L&) { return boolean(); },
     "Answer with events as tokens come",
     [](const Json& v, P& p, const L&) { p.stream = v.get<bool>(); }},
    {"stream_options", kCompletions | kChat,
     [](const L&) { return object({{"include_usage", boolean()}}, {}); },
     "include_usage: a last event with the token counts; only with stream",
     [](const Json& v, P& p, const L&) { p.include_usage = v.value("include_usage", false); }},
    {"n", kCompletions | kChat, [](const L& l) { return integer(1, l.n); },
     "Answers to each prompt", [](const Json& v, P& p, const L&) { p.sampling.n = to_int(v); },
     "n"},
    {"best_of", kCompletions, [](const L& l) { return integer(1, l.n); },
     "Answers generated, of which the n best are given",
     [](const Json& v, P& p, const L&) { p.sampling.best_of = to_int(v); }, "n"},
    {"use_beam_search", kCompletions | kChat, [](const L&) { return boolean(); },
     "Beam search with best_of (else n, at least 2) beams; needs temperature 0",
     [](const Json& v, P& p, const L&) { p.beam_search = v.get<bool>(); }},
    {"length_penalty", kCompletions | kChat, [](const L&) { return number(-10, 10); },
     "Beam search: above 0 favours long answers",
     [](const Json& v, P& p, const L&) { p.sampling.length_penalty = v.get<double>(); }},
    {"typical_p", kEveryGeneration, [](const L&) { return number_above(0, 1); },
     "Sample from the tokens whose surprise is nearest to the expected one",
     [](const Json& v, P& p, const L&) { p.sampling.typical_p = v.get<double>(); }},
    {"min_tokens", kEveryGeneration, [](const L& l) { return integer(0, l.max_tokens); },
     "Nothing ends the answer before so many tokens",
     [](const Json& v, P& p, const L&) { p.sampling.min_tokens = to_int(v); }, "max_tokens"},
    {"include_stop_str_in_output", kEveryGeneration, [](const L&) { return boolean(); },
     "Keep the stop text in the answer",
     [](const Json& v, P& p, const L&) { p.sampling.include_stop = v.get<bool>(); }},
    {"stop_token_ids", kEveryGeneration,
     [](const L&) { return list(integer(0, INT32_MAX), 0, 64); }, "Token ids that end the answer",
     [](const Json& v, P& p, const L&) {
       for (const Json& id : v) p.sampling.stop_token_ids.push_back(to_int(id));
     }},
    {"logit_bias", kCompletions | kChat, [](const L&) { return any_object(); },
     "Token id to a number in [-100, 100] that is added to its logit", set_logit_bias,
     "logit_bias"},
    {"logprobs", kChat, [](const L&) { return boolean(); },
     "Give the log-probability of each token of the answer",
     [](const Json& v, P& p, const L&) { p.logprobs = v.get<bool>(); }},
    {"top_logprobs", kChat, [](const L& l) { return integer(0, l.top_logprobs); },
     "And of so many of the likeliest ones at its place; needs logprobs",
     [](const Json& v, P& p, const L&) { p.top_logprobs = to_int(v); }, "top_logprobs"},
    {"logprobs", kCompletions, [](const L& l) { return integer(0, l.top_logprobs); },
     "Give the log-probability of each token, and of so many of the likeliest ones at its place",
     [](const Json& v, P& p, const L&) { p.sampling.logprobs = to_int(v); }, "top_logprobs"},
    {"response_format", kChat | kCompletions,
     [](const L&) {
       const Json json_schema = object({{"name", text(1, 64)},
                                        {"description", nullable(text())},
                                        {"schema", any_object()},
                                        {"strict", nullable(boolean())}},
                                       {"name", "schema"});
       return any_of({object({{"type", one_of({"text", "json_object"})}}, {"type"}),
                      object({{"type", one_of({"json_schema"})}, {"json_schema", json_schema}},
                             {"type", "json_schema"})});
     },
     "The form of the answer: text, any JSON object, or JSON that is valid against a schema",
     set_response_format},
    {"text", kResponses,
     [](const L&) {
       const Json json_schema = object({{"type", one_of({"json_schema"})},
                                        {"name", text(1, 64)},
                                        {"description", nullable(text())},
                                        {"schema", any_object()},
                                        {"strict", nullable(boolean())}},
                                       {"type", "name", "schema"});
       return object(
           {{"format",
             any_of({object({{"type", one_of({"text", "json_object"})}}, {"type"}), json_schema})}},
           {});
     },
     "format: the form of the answer",
     [](const Json& v, P& p, const L& l) {
       if (v.contains("format")) set_form(v.at("format"), v.at("format"), "text", p, l);
     }},
    {"guided_regex", kChat | kCompletions, [](const L&) { return text(1); },
     "A regular expression that the whole answer matches",
     [](const Json& v, P& p, const L& l) {
       set_structured(StructuredOutput::Kind::kRegex, v.get<std::string>(), "guided_regex", p, l);
     }},
    {"guided_choice", kChat | kCompletions, [](const L&) { return list(text(1), 1, 1000); },
     "The answer is one of these",
     [](const Json& v, P& p, const L& l) {
       set_structured(StructuredOutput::Kind::kChoice, "", "guided_choice", p, l);
       p.sampling.structured.choices = v.get<std::vector<std::string>>();
     }},
    {"guided_grammar", kChat | kCompletions, [](const L&) { return text(1); },
     "A Lark grammar that derives the whole answer from its rule `start`",
     [](const Json& v, P& p, const L& l) {
       set_structured(StructuredOutput::Kind::kLark, v.get<std::string>(), "guided_grammar", p, l);
     }},
    {"echo", kCompletions, [](const L&) { return boolean(); }, "Put the prompt before the answer",
     [](const Json& v, P& p, const L&) { p.echo = v.get<bool>(); }},
    {"user", kEveryGeneration, [](const L&) { return text(0, 256); },
     "Your name for the person behind the request; goes into the access log",
     [](const Json& v, P& p, const L&) { p.user = v.get<std::string>(); }},
};

// Throws where the value, or the number of its entries, is beyond the row's limit. Other values
// that do not fit are the schema's.
void check_limit(const std::string& name, const Json& value, const ParamRow& row,
                 const Limits& limits) {
  for (const LimitRow& limit : server::limits()) {
    if (std::string_view(limit.name) != row.limit) continue;
    const int64_t most = limits.*limit.field;
    const bool many = value.is_structured() && static_cast<int64_t>(value.size()) > most;
    const bool large = value.is_number() && value.get<double>() > static_cast<double>(most);
    if (!many && !large) return;
    const std::string what =
        many ? fmt::format("has {} entries", value.size()) : fmt::format("is {}", json_text(value));
    throw HttpError::limit(400, limit.name,
                           fmt::format("'{}' {}, at most {} is allowed", name, what, most), name);
  }
}

}  // namespace

std::span<const ParamRow> params() { return kRows; }

void read_params(const Json& body, Endpoint endpoint, const std::vector<std::string>& own,
                 const Limits& limits, GenerationParams& params) {
  for (const auto& [name, value] : body.items()) {
    if (std::find(own.begin(), own.end(), name) != own.end()) continue;
    const auto row =
        std::find_if(std::begin(kRows), std::end(kRows), [&](const ParamRow& candidate) {
          return name == candidate.name && (candidate.endpoints & endpoint) != 0;
        });
    if (row == std::end(kRows)) {
      throw HttpError(400, fmt::format("'{}' is no parameter of this endpoint", name), name,
                      "unknown_parameter");
    }
    if (value.is_null()) continue;
    if (row->limit != nullptr) check_limit(name, value, *row, limits);
    check_schema(value, row->schema(limits), name);
    row->apply(value, params, limits);
  }
  if (params.include_usage && !params.stream) {
    throw HttpError(400, "'stream_options' needs 'stream': true", "stream_options");
  }
  if (params.top_logprobs > 0 && !params.logprobs) {
    throw HttpError(400, "'top_logprobs' needs 'logprobs': true", "top_logprobs");
  }
  SamplingParams& sampling = params.sampling;
  if (params.logprobs) sampling.logprobs = params.top_logprobs;
  if (params.beam_search) {
    sampling.beam_width = std::max(2, sampling.best_of.value_or(sampling.n));
    sampling.best_of.reset();
  }
}

Json body_schema(Endpoint endpoint, const Limits& limits, Json own_members, const Json& required) {
  for (const ParamRow& row : kRows) {
    if ((row.endpoints & endpoint) == 0) continue;
    Json schema = nullable(row.schema(limits));
    schema["description"] = row.meaning;
    own_members[row.name] = std::move(schema);
  }
  return Json{{"type", "object"},
              {"properties", std::move(own_members)},
              {"required", required},
              {"additionalProperties", false}};
}

}  // namespace lanner::server
