// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lanner {

// Finds the first stop string in a text that comes in pieces, in linear time, and holds back text
// that may still become one. For one sequence and one thread at a time.
class StopStringMatcher {
 public:
  struct Result {
    std::string text = {};  // may go out: never a part of a stop string
    bool stopped = false;   // a stop string is complete; nothing will come after `text`
    std::string stop = {};  // this one
  };

  // Throws Error(kInvalidArgument) if a stop string is empty.
  explicit StopStringMatcher(const std::vector<std::string>& stop_strings);

  // Of stop strings that end at the same place the longest counts. After a stop: nothing.
  Result push(std::string_view text);
  // The end of the sequence: what was held back. Starts a new one.
  std::string flush();

 private:
  struct Edge {
    char symbol;
    int32_t node;
  };
  // A node of the Aho-Corasick automaton stands for a prefix of a stop string.
  struct Node {
    std::vector<Edge> edges = {};
    int32_t fallback = 0;  // the longest proper suffix that is a node as well
    int32_t length = 0;    // of the prefix
    int32_t match = 0;     // of the longest stop string this prefix ends with; 0: none
  };

  int32_t child(int32_t node, char symbol) const;  // -1: none

  std::vector<Node> nodes_;  // the first one is the empty prefix
  int32_t state_ = 0;
  std::string held_;  // the prefix that state_ stands for
  bool stopped_ = false;
};

}  // namespace lanner
