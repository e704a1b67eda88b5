// SPDX-License-Identifier: Apache-2.0
#include "base/thread_placement.h"

#include <algorithm>

namespace lanner {
namespace {

int node_of(const Topology& topology, int cpu) {
  const auto found = std::ranges::find(topology.cpus, cpu, &Cpu::id);
  return found == topology.cpus.end() ? -1 : found->numa_node;
}

}  // namespace

std::vector<NodeThreads> threads_by_node(const Topology& topology, const ThreadPlan& plan) {
  std::vector<NodeThreads> nodes;
  for (size_t thread = 0; thread < plan.cpus.size(); ++thread) {
    const int node = node_of(topology, plan.cpus[thread]);
    if (nodes.empty() || nodes.back().numa_node != node) {
      nodes.push_back({.numa_node = node, .first = static_cast<int>(thread), .count = 0});
    }
    ++nodes.back().count;
  }
  return nodes;
}

}  // namespace lanner
