// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions
#include <ctime>
#include <utility>
#include <variant>
#include <vector>

#include "server/endpoints.h"
#include "server/endpoints/answers.h"
#include "server/endpoints/prompts.h"
#include "server/generation.h"
#include "server/params.h"
#include "server/schema.h"
#include "server/sse.h"
#include "server/status.h"

namespace lanner::server {
namespace {

class CompletionFormatter final : public Formatter {
 public:
  // echo: the text of each prompt, to be put before its answers; empty without.
  CompletionFormatter(const ServedModel& model, const GenerationParams& params,
                      const std::string& id, size_t prompts, std::vector<std::string> echo)
      : answers_(prompts * static_cast<size_t>(params.sampling.n)),
        n_(static_cast<size_t>(params.sampling.n)),
        echo_(std::move(echo)),
        include_usage_(params.include_usage) {
    head_ = Json{{"id", "cmpl-" + id},
                 {"object", "text_completion"},
                 {"created", std::time(nullptr)},
                 {"model", model.name}};
  }

  std::string on_news(int answer, const News& news) override {
    const auto index = static_cast<size_t>(answer);
    Answer& to = answers_[index];
    std::string text;
    if (!std::exchange(to.begun, true) && !echo_.empty()) text = echo_[index / n_];
    text += news.content;
    to.text += text;
    Json logprobs = completion_logprobs(news.step.prompt_logprobs, true, to.text_offset);
    append_completion_logprobs(logprobs,
                               completion_logprobs(news.step.logprobs, false, to.text_offset));
    append_completion_logprobs(to.logprobs, logprobs);
    to.finish_reason = news.step.finish_reason;
    if (text.empty() && !news.step.finished() && logprobs.is_null()) return {};
    Json json = head_;
    json["choices"] = Json::array({choice(
        index, std::move(text), std::move(logprobs),
        news.step.finished() ? Json(finish_reason_text(news.step.finish_reason)) : Json(nullptr))});
    if (include_usage_) json["usage"] = nullptr;
    return sse_data(json_text(json));
  }

  std::string end(const Usage& usage) override {
    std::string events;
    if (include_usage_) {
      Json json = head_;
      json["choices"] = Json::array();
      json["usage"] = usage_json(usage);
      events = sse_data(json_text(json));
    }
    return events + kSseDone;
  }

  Json result(const Usage& usage) override {
    Json json = head_;
    json["choices"] = Json::array();
    for (size_t i = 0; i < answers_.size(); ++i) {
      json["choices"].push_back(choice(i, answers_[i].text, answers_[i].logprobs,
                                       finish_reason_text(answers_[i].finish_reason)));
    }
    json["usage"] = usage_json(usage);
    return json;
  }

 private:
  struct Answer {
    bool begun = false;
    std::string text;
    Json logprobs;
    int64_t text_offset = 0;
    FinishReason finish_reason = FinishReason::kNone;
  };

  static Json choice(size_t index, std::string text, Json logprobs, Json finish_reason) {
    return Json{{"index", index},
                {"text", std::move(text)},
                {"logprobs", std::move(logprobs)},
                {"finish_reason", std::move(finish_reason)}};
  }

  Json head_;
  std::vector<Answer> answers_;
  size_t n_;
  std::vector<std::string> echo_;
  bool include_usage_;
};

}  // namespace

void handle_completions(const CallPtr& call) {
  App& app = call->app;
  const ServedModel model = app.model_of(call->body);
  GenerationParams params;
  params.sampling = model.model.llm->default_sampling_params();
  read_params(call->body, kCompletions, {"model", "prompt"}, app.limits(), params);
  // An echoed prompt comes with what was asked of the tokens after it.
  if (params.echo) params.sampling.prompt_logprobs = params.sampling.logprobs;
  const std::vector<Prompt> prompts =
      read_prompts(call->body, "prompt", "prompts", app.limits().prompts);
  note_request(*call, model, params);

  GenerationPlan plan = plan_for(model.model, params);
  std::vector<std::string> echo;
  for (const Prompt& prompt : prompts) {
    if (params.echo) {
      const auto* ids = std::get_if<std::vector<int32_t>>(&prompt);
      echo.push_back(ids != nullptr ? model.model.llm->detokenize(*ids, /*skip_special=*/false)
                                    : std::get<std::string>(prompt));
    }
    Request request{.prompt = prompt, .sampling = params.sampling, .lora = model.lora};
    plan.prompts.emplace_back([request = std::move(request)](LLM& llm, NewsCallback on_news) {
      return llm.submit(request, [on_news = std::move(on_news)](const RequestOutput& step) {
        on_news(news_of(step));
      });
    });
  }
  plan.formatter = std::make_unique<CompletionFormatter>(model, params, call->exchange->id,
                                                         prompts.size(), std::move(echo));
  Generation::start(call, std::move(plan));
}

Json completions_request_schema(const App& app) {
  Json members = {
      {"model", model_schema(app)},
      {"prompt", described(prompts_schema(app.limits().prompts),
                           "Text or token ids to go on from; a list: several prompts")}};
  return body_schema(kCompletions, app.limits(), std::move(members), Json::array({"prompt"}));
}

Json completions_response_schema(const App&) {
  return answer_schema("text_completion", {{"text", text()}});
}

}  // namespace lanner::server
