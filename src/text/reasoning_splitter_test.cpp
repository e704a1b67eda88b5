// SPDX-License-Identifier: Apache-2.0
#include "text/reasoning_splitter.h"

#include <gtest/gtest.h>

namespace lanner {
namespace {

struct Case {
  bool begun;
  std::string_view text;
  std::string_view reasoning;
  std::string_view content;
};

TEST(ReasoningSplitter, SplitsWhereverTheStreamIsCut) {
  const Case cases[] = {
      {false, "<think>\nHm, so.\n\nYes\n</think>\n\nAnswer\n", "Hm, so.\n\nYes", "Answer\n"},
      {false, " \n<think></think>x", "", "x"},
      {false, "<think>\n\n</think>\n\n", "", ""},
      {false, "Answer <think>no</think>", "", "Answer <think>no</think>"},
      {false, "  Answer", "", "  Answer"},
      {false, "<thin", "", "<thin"},
      {false, "<think>cut off </th", "cut off </th", ""},
      {false, "", "", ""},
      {true, "at once\n</think>\nx </think>", "at once", "x </think>"},
      {true, "é", "é", ""},
  };
  for (const Case& c : cases) {
    for (size_t cut = 0; cut <= c.text.size(); ++cut) {
      ReasoningSplitter splitter(c.begun);
      std::string reasoning, content;
      splitter.push(c.text.substr(0, cut), reasoning, content);
      splitter.push(c.text.substr(cut), reasoning, content);
      splitter.finish(reasoning, content);
      EXPECT_EQ(reasoning, c.reasoning) << c.text << " cut at " << cut;
      EXPECT_EQ(content, c.content) << c.text << " cut at " << cut;
    }
    ReasoningSplitter splitter(c.begun);
    std::string reasoning, content;
    for (char byte : c.text) splitter.push({&byte, 1}, reasoning, content);
    splitter.finish(reasoning, content);
    EXPECT_EQ(reasoning, c.reasoning) << c.text;
    EXPECT_EQ(content, c.content) << c.text;
  }
}

TEST(ReasoningSplitter, KnowsWhetherAPromptHasBegunToThink) {
  EXPECT_TRUE(ends_in_reasoning("<|assistant|><think>\n"));
  EXPECT_TRUE(ends_in_reasoning("<think>a</think>b<think>"));
  EXPECT_FALSE(ends_in_reasoning("<think>\n\n</think>\n\n"));
  EXPECT_FALSE(ends_in_reasoning("say <think> please<|assistant|>"));
  EXPECT_FALSE(ends_in_reasoning(""));
}

}  // namespace
}  // namespace lanner
