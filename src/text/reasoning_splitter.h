// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace lanner {

inline constexpr std::string_view kThinkOpen = "<think>";
inline constexpr std::string_view kThinkClose = "</think>";

// Splits an answer, which comes in pieces, into what stands between <think> and </think> at its
// start and what follows. Blanks around either are left out. Linear. For one answer and one thread
// at a time.
class ReasoningSplitter {
 public:
  // begun: the prompt ends inside of <think>.
  explicit ReasoningSplitter(bool begun) : state_(begun ? State::kReasoning : State::kStart) {}

  // Appends what is certain.
  void push(std::string_view text, std::string& reasoning, std::string& content);
  // The end of the answer: what was held back.
  void finish(std::string& reasoning, std::string& content);

 private:
  enum class State { kStart, kReasoning, kBeforeContent, kContent };

  bool step(std::string& reasoning, std::string& content);
  void add_reasoning(std::string_view text, std::string& reasoning);

  State state_;
  bool has_reasoning_ = false;
  bool ended_ = false;
  std::string held_;    // may become a mark
  std::string blanks_;  // of the reasoning: more of it may follow
};

// Whether a prompt ends inside of <think>.
bool ends_in_reasoning(std::string_view prompt);

}  // namespace lanner
