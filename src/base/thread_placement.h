// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/topology.h"

namespace lanner {

// The threads of one NUMA node. A weight is cut into as many equal pieces as there are threads, in
// their order, and each thread touches its piece first: the pieces of a node's threads lie side by
// side in its memory, its shard.
struct NodeThreads {
  int numa_node = 0;
  int first = 0;  // thread
  int count = 0;
};

// The plan's threads by node, in their order; one entry for threads that are not pinned.
std::vector<NodeThreads> threads_by_node(const Topology& topology, const ThreadPlan& plan);

}  // namespace lanner
