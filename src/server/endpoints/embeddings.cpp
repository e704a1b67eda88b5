// SPDX-License-Identifier: Apache-2.0
// POST /v1/embeddings
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "lanner/embedding.h"
#include "server/endpoints.h"
#include "server/endpoints/answers.h"
#include "server/endpoints/prompts.h"
#include "server/generation.h"
#include "server/schema.h"
#include "server/status.h"

namespace lanner::server {
namespace {

// One per text; the engine's thread fills them in, then tells the formatter.
using Embeddings = std::shared_ptr<std::vector<TextEmbedding>>;

std::string base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    const size_t count = std::min<size_t>(bytes.size() - i, 3);
    for (size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) text += j <= count ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

// Little-endian fp32, as OpenAI's clients expect it.
std::string float_bytes(const std::vector<float>& values) {
  std::string bytes;
  bytes.reserve(values.size() * sizeof(float));
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(bits >> shift & 0xff);
  }
  return bytes;
}

// With the digits that tell one float from another, and not those of a double.
Json short_number(float value) {
  std::array<char, 32> digits{};
  std::to_chars(digits.data(), digits.data() + digits.size() - 1, value);
  return std::strtod(digits.data(), nullptr);
}

struct EmbeddingOptions {
  size_t dimensions = 0;
  bool normalized = true;
  bool base64 = false;
};

class EmbeddingsFormatter final : public Formatter {
 public:
  EmbeddingsFormatter(std::string model, EmbeddingOptions options, Embeddings embeddings)
      : model_(std::move(model)), options_(options), embeddings_(std::move(embeddings)) {}

  bool has_tokens() const override { return false; }
  std::string on_news(int, const News&) override { return {}; }
  std::string end(const Usage&) override { return {}; }

  Json result(const Usage& usage) override {
    Json data = Json::array();
    for (TextEmbedding& embedding : *embeddings_) {
      Json entry = {{"object", "embedding"}, {"index", data.size()}};
      entry["embedding"] = to_json(shortened(std::move(embedding.values)));
      if (embedding.truncated_tokens > 0) entry["truncated_tokens"] = embedding.truncated_tokens;
      data.push_back(std::move(entry));
    }
    return Json{
        {"object", "list"},
        {"data", std::move(data)},
        {"model", model_},
        {"usage", {{"prompt_tokens", usage.prompt_tokens}, {"total_tokens", usage.prompt_tokens}}}};
  }

 private:
  std::vector<float> shortened(std::vector<float> values) const {
    if (options_.dimensions == 0 || options_.dimensions >= values.size()) return values;
    values.resize(options_.dimensions);
    if (!options_.normalized) return values;
    double squares = 0;
    for (const float value : values) squares += double{value} * value;
    if (squares == 0) return values;
    for (float& value : values) value = static_cast<float>(value / std::sqrt(squares));
    return values;
  }

  Json to_json(const std::vector<float>& values) const {
    if (options_.base64) return base64(float_bytes(values));
    Json list = Json::array();
    for (const float value : values) list.push_back(short_number(value));
    return list;
  }

  std::string model_;
  EmbeddingOptions options_;
  Embeddings embeddings_;
};

// The value of a member that may be absent or null.
template <typename T>
T value_of(const Json& body, const char* name, T otherwise) {
  const auto found = body.find(name);
  return found == body.end() || found->is_null() ? otherwise : found->get<T>();
}

Pooling pooling_of(const Json& body) {
  const auto name = value_of<std::string>(body, "pooling", pooling_name(Pooling::kMean));
  for (const Pooling pooling : kPoolings) {
    if (name == pooling_name(pooling)) return pooling;
  }
  throw HttpError(400, fmt::format("'pooling' '{}' is unknown", name), "pooling");
}

News news_of(const EmbeddingOutput& output) {
  News news;
  news.step.id = output.id;
  news.step.finish_reason = output.finish_reason;
  news.step.is_last = true;
  news.step.error = output.error;
  news.step.prompt_tokens = output.embedding.prompt_tokens;
  news.step.truncated_tokens = output.embedding.truncated_tokens;
  news.step.cached_tokens = output.embedding.cached_tokens;
  return news;
}

}  // namespace

void handle_embeddings(const CallPtr& call) {
  App& app = call->app;
  const Json& body = call->body;
  // First, so that a list that is too long is told of as a limit.
  const std::vector<Prompt> inputs = read_prompts(body, "input", "inputs", app.limits().inputs);
  const ServedModel model = app.model_of(body);
  check_schema(body, embeddings_request_schema(app), "");
  EmbeddingOptions options;
  options.normalized = value_of(body, "normalize", true);
  options.base64 = value_of<std::string>(body, "encoding_format", "float") == "base64";
  if (const auto found = body.find("dimensions"); found != body.end() && !found->is_null()) {
    options.dimensions = static_cast<size_t>(to_int(*found));
    const int size = model.model.llm->embedding_size();
    if (to_int(*found) > size) {
      throw HttpError(400,
                      fmt::format("'dimensions' is {}, the vectors of '{}' have {}",
                                  options.dimensions, model.name, size),
                      "dimensions");
    }
  }
  GenerationParams params;
  params.user = value_of<std::string>(body, "user", "");
  note_request(*call, model, params);

  GenerationPlan plan;
  plan.model = &model.model;
  plan.may_wait = true;
  const auto embeddings = std::make_shared<std::vector<TextEmbedding>>(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    EmbeddingRequest request{.input = inputs[i],
                             .pooling = pooling_of(body),
                             .normalized = options.normalized,
                             .truncate = value_of(body, "truncate", false),
                             .lora = model.lora};
    plan.prompts.emplace_back(
        [request = std::move(request), embeddings, i](LLM& llm, NewsCallback on_news) {
          return llm.submit_embedding(
              request, [embeddings, i, on_news = std::move(on_news)](const EmbeddingOutput& done) {
                (*embeddings)[i] = done.embedding;
                on_news(news_of(done));
              });
        });
  }
  plan.formatter = std::make_unique<EmbeddingsFormatter>(model.name, options, embeddings);
  Generation::start(call, std::move(plan));
}

Json embeddings_request_schema(const App& app) {
  std::vector<std::string> poolings;
  for (const Pooling pooling : kPoolings) poolings.emplace_back(pooling_name(pooling));
  return object(
      {{"model", model_schema(app)},
       {"input",
        described(prompts_schema(app.limits().inputs), "Text or token ids; a list: several texts")},
       {"encoding_format", described(nullable(one_of({"float", "base64"})),
                                     "Numbers, or base64 of little-endian 32-bit floats")},
       {"dimensions",
        described(nullable(integer(1, INT32_MAX)),
                  "Only so many of the first numbers, for models that are trained for it")},
       {"pooling", described(nullable(one_of(poolings)),
                             "Which tokens' hidden states make the vector: the mean of all (the "
                             "default), the last one's or the first one's")},
       {"normalize", described(nullable(boolean()), "To a length of 1, which is the default")},
       {"truncate", described(nullable(boolean()),
                              "Leave out the end of a text that is too long instead of refusing "
                              "it; the entry then has truncated_tokens")},
       {"user", described(nullable(text(0, 256)),
                          "Your name for the person behind the request; goes into the access "
                          "log")}},
      {"input"});
}

Json embeddings_response_schema(const App&) {
  const Json entry = {{"type", "object"},
                      {"properties",
                       {{"object", one_of({"embedding"})},
                        {"index", integer(0, INT32_MAX)},
                        {"embedding", any_of({list({{"type", "number"}}, 1), text(1)})},
                        {"truncated_tokens", integer(1, INT32_MAX)}}},
                      {"required", {"object", "index", "embedding"}}};
  return Json{
      {"type", "object"},
      {"properties",
       {{"object", one_of({"list"})},
        {"data", list(entry, 1)},
        {"model", text(1)},
        {"usage",
         {{"type", "object"},
          {"properties",
           {{"prompt_tokens", integer(0, INT32_MAX)}, {"total_tokens", integer(0, INT32_MAX)}}},
          {"required", {"prompt_tokens", "total_tokens"}}}}}},
      {"required", {"object", "data", "model", "usage"}}};
}

}  // namespace lanner::server
