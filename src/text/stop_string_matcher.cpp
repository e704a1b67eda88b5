// SPDX-License-Identifier: Apache-2.0
#include "text/stop_string_matcher.h"

#include <algorithm>

#include "base/error.h"

namespace lanner {

StopStringMatcher::StopStringMatcher(const std::vector<std::string>& stop_strings) : nodes_(1) {
  for (const std::string& stop : stop_strings) {
    check_argument(!stop.empty(), "a stop string is empty");
    int32_t node = 0;
    for (const char symbol : stop) {
      int32_t next = child(node, symbol);
      if (next < 0) {
        next = static_cast<int32_t>(nodes_.size());
        nodes_[node].edges.push_back({symbol, next});
        nodes_.push_back({.length = nodes_[node].length + 1});
      }
      node = next;
    }
    nodes_[node].match = nodes_[node].length;
  }
  // Breadth first: a fallback is shorter than its node, so it is complete before it is used.
  std::vector<int32_t> queue = {0};
  for (size_t at = 0; at < queue.size(); ++at) {
    const int32_t node = queue[at];
    for (const Edge edge : nodes_[node].edges) {
      int32_t fallback = node;
      int32_t target = -1;
      while (fallback != 0 && target < 0) {
        fallback = nodes_[fallback].fallback;
        target = child(fallback, edge.symbol);
      }
      Node& next = nodes_[edge.node];
      next.fallback = std::max(target, 0);
      next.match = std::max(next.match, nodes_[next.fallback].match);
      queue.push_back(edge.node);
    }
  }
}

int32_t StopStringMatcher::child(int32_t node, char symbol) const {
  for (const Edge& edge : nodes_[node].edges) {
    if (edge.symbol == symbol) return edge.node;
  }
  return -1;
}

StopStringMatcher::Result StopStringMatcher::push(std::string_view text) {
  if (stopped_) return {.stopped = true};
  held_ += text;
  size_t at = held_.size() - text.size();
  for (; at < held_.size() && !stopped_; ++at) {
    int32_t next = child(state_, held_[at]);
    while (next < 0 && state_ != 0) {
      state_ = nodes_[state_].fallback;
      next = child(state_, held_[at]);
    }
    state_ = std::max(next, 0);
    stopped_ = nodes_[state_].match > 0;
  }
  const int32_t kept = stopped_ ? nodes_[state_].match : nodes_[state_].length;
  Result result{.text = held_.substr(0, at - static_cast<size_t>(kept)), .stopped = stopped_};
  if (stopped_) result.stop = held_.substr(result.text.size(), static_cast<size_t>(kept));
  held_.erase(0, result.text.size());
  return result;
}

std::string StopStringMatcher::flush() {
  std::string text = stopped_ ? std::string() : std::move(held_);
  held_.clear();
  state_ = 0;
  stopped_ = false;
  return text;
}

}  // namespace lanner
