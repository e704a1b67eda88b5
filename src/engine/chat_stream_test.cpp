// SPDX-License-Identifier: Apache-2.0
#include "engine/chat_stream.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/tool_calls/formats.h"

namespace lanner {
namespace {

ChatPlan plan_for(std::string_view format_name) {
  ChatPlan plan;
  plan.tool_names = {"f"};
  for (const ToolCallFormat& format : tool_call_formats()) {
    if (format.name == format_name) plan.tool_calls = &format;
  }
  return plan;
}

RequestOutput step(const std::string& text, FinishReason reason = FinishReason::kNone,
                   int index = 0) {
  RequestOutput output;
  output.index = index;
  output.text = text;
  output.token_ids = {1};
  output.finish_reason = reason;
  return output;
}

class ChatStreamTest : public testing::Test {
 protected:
  ChatCompletion run(const ChatPlan& plan, const std::vector<RequestOutput>& steps) {
    std::vector<ChatCompletion> answers(static_cast<size_t>(plan.request.sampling.n));
    ChatStream stream(plan, [&](const ChatOutput& output) {
      append(output, answers[static_cast<size_t>(output.step.index)]);
    });
    for (const RequestOutput& output : steps) stream.push(output);
    all_ = answers;
    return answers.front();
  }

  std::vector<ChatCompletion> all_;
};

TEST_F(ChatStreamTest, PassesTextThroughWhereThereIsNothingToLookFor) {
  const ChatCompletion answer =
      run({}, {step("<think>a</think> "), step("<tool_call>", FinishReason::kStop)});
  EXPECT_EQ(answer.message.content, "<think>a</think> <tool_call>");
  EXPECT_EQ(answer.completion.text, answer.message.content);
  EXPECT_EQ(answer.completion.finish_reason, FinishReason::kStop);
  EXPECT_EQ(answer.completion.token_ids.size(), 2u);
}

TEST_F(ChatStreamTest, SplitsReasoningContentAndCalls) {
  ChatPlan plan = plan_for("hermes");
  plan.splits_reasoning = true;
  plan.begins_in_reasoning = true;
  const ChatCompletion answer =
      run(plan, {step("I wonder.\n</thi"), step("nk>\n\nLook:\n<tool"),
                 step("_call>{\"name\": \"f\", \"argu"), step("ments\": {\"x\": 1}}</tool_call>"),
                 step("<tool_call>{\"name\": \"f\", \"arguments\": {}}", FinishReason::kStop)});
  EXPECT_EQ(answer.message.reasoning_content, "I wonder.");
  EXPECT_EQ(answer.message.content, "Look:");
  ASSERT_EQ(answer.message.tool_calls.size(), 2u);
  EXPECT_EQ(answer.message.tool_calls[0].name, "f");
  EXPECT_EQ(answer.message.tool_calls[0].arguments, "{\"x\": 1}");
  EXPECT_EQ(answer.message.tool_calls[1].arguments, "{}");
  EXPECT_EQ(answer.completion.finish_reason, FinishReason::kToolCalls);
  const std::set<std::string> ids = {answer.message.tool_calls[0].id,
                                     answer.message.tool_calls[1].id};
  EXPECT_EQ(ids.size(), 2u);
  for (const std::string& id : ids) {
    EXPECT_THAT(id, testing::StartsWith("call_"));
    EXPECT_EQ(id.size(), 29u);
  }
}

TEST_F(ChatStreamTest, GivesMistralTheIdsItsTemplatesWant) {
  const ChatCompletion answer =
      run(plan_for("mistral"),
          {step("[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}]", FinishReason::kStop)});
  ASSERT_EQ(answer.message.tool_calls.size(), 1u);
  EXPECT_THAT(answer.message.tool_calls[0].id, testing::MatchesRegex("[0-9A-Za-z]{9}"));
}

TEST_F(ChatStreamTest, KeepsOtherEndsAndTheAnswersApart) {
  ChatPlan plan = plan_for("hermes");
  plan.request.sampling.n = 2;
  run(plan, {step("<tool_call>{\"name\": \"f\", ", FinishReason::kNone, 0),
             step("plain ", FinishReason::kNone, 1),
             step("\"arguments\": {\"x", FinishReason::kLength, 0),
             step("text", FinishReason::kStop, 1)});
  EXPECT_EQ(all_[0].message.tool_calls.at(0).arguments, "{\"x");
  EXPECT_EQ(all_[0].completion.finish_reason, FinishReason::kLength);
  EXPECT_EQ(all_[1].message.content, "plain text");
  EXPECT_EQ(all_[1].completion.finish_reason, FinishReason::kStop);
}

}  // namespace
}  // namespace lanner
