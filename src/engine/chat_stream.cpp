// SPDX-License-Identifier: Apache-2.0
#include "engine/chat_stream.h"

#include <utility>

#include "text/tool_calls/formats.h"

namespace lanner {
namespace {

template <typename T>
void append_all(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

ChatStream::ChatStream(const ChatPlan& plan, ChatCallback on_output)
    : splits_reasoning_(plan.splits_reasoning),
      // Mistral's templates refuse ids of any other form.
      id_length_(plan.tool_calls != nullptr && plan.tool_calls->name.starts_with("mistral") ? 9
                                                                                            : 24),
      id_prefix_(id_length_ == 9 ? "" : "call_"),
      random_(std::random_device()()),
      on_output_(std::move(on_output)) {
  for (int i = 0; i < plan.request.sampling.n; ++i) {
    answers_.push_back({.reasoning = ReasoningSplitter(plan.begins_in_reasoning), .parser = {}});
    if (plan.tool_calls != nullptr) {
      answers_.back().parser = plan.tool_calls->make_parser(plan.tool_names);
    }
  }
}

void ChatStream::push(const RequestOutput& step) {
  ChatOutput output{.step = step};
  Answer& answer = answers_.at(static_cast<size_t>(step.index));
  std::string text = step.text;
  if (splits_reasoning_) {
    text.clear();
    answer.reasoning.push(step.text, output.reasoning, text);
    if (step.finished()) answer.reasoning.finish(output.reasoning, text);
  }
  if (answer.parser == nullptr) {
    output.content = std::move(text);
    on_output_(output);
    return;
  }
  ChatDelta news;
  answer.parser->push(text, news);
  if (step.finished()) answer.parser->finish(news);
  output.content = std::move(news.content);
  output.tool_calls = std::move(news.tool_calls);
  for (ToolCallDelta& call : output.tool_calls) {
    if (!call.name.empty() && call.id.empty()) call.id = make_id();
  }
  if (answer.parser->num_calls() > 0 && step.finish_reason == FinishReason::kStop) {
    output.step.finish_reason = FinishReason::kToolCalls;
  }
  on_output_(output);
}

std::string ChatStream::make_id() {
  constexpr std::string_view kAlphabet =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::uniform_int_distribution<size_t> place(0, kAlphabet.size() - 1);
  std::string id = id_prefix_;
  for (size_t i = 0; i < id_length_; ++i) id += kAlphabet[place(random_)];
  return id;
}

void append(const ChatOutput& output, ChatCompletion& completion) {
  completion.message.content += output.content;
  completion.message.reasoning_content += output.reasoning;
  for (const ToolCallDelta& delta : output.tool_calls) {
    std::vector<ToolCall>& calls = completion.message.tool_calls;
    if (calls.size() <= static_cast<size_t>(delta.index)) {
      calls.resize(static_cast<size_t>(delta.index) + 1);
    }
    ToolCall& call = calls[static_cast<size_t>(delta.index)];
    call.id += delta.id;
    call.name += delta.name;
    call.arguments += delta.arguments;
  }
  Completion& all = completion.completion;
  all.text += output.step.text;
  append_all(all.token_ids, output.step.token_ids);
  append_all(all.logprobs, output.step.logprobs);
  append_all(all.prompt_logprobs, output.step.prompt_logprobs);
  all.prompt_tokens = output.step.prompt_tokens;
  all.truncated_tokens = output.step.truncated_tokens;
  all.cached_tokens = output.step.cached_tokens;
  all.finish_reason = output.step.finish_reason;
}

}  // namespace lanner
