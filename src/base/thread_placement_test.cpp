// SPDX-License-Identifier: Apache-2.0
#include "base/thread_placement.h"

#include <set>

#include <gmock/gmock.h>

#include "base/testing/recorded_machine.h"

namespace lanner {
namespace {

using testing::ElementsAre;

// Every CPU of the recorded machine.
Topology recorded(const std::string& name) {
  const RecordedMachine machine(std::string(LANNER_RECORDED_MACHINES) + "/" + name + ".txt");
  std::vector<int> all(64);
  for (int cpu = 0; cpu < 64; ++cpu) all[static_cast<size_t>(cpu)] = cpu;
  return read_topology({.root = machine.root(), .affinity = all});
}

constexpr const char* kMachines[] = {"hybrid",   "no_sibling_lists",  "one_socket",
                                     "quota_v2", "sub_numa_clusters", "two_sockets_interleaved"};

TEST(ThreadsByNode, AreSideBySideOnEveryMachine) {
  for (const char* name : kMachines) {
    const Topology topology = recorded(name);
    for (int threads = 1; threads <= static_cast<int>(topology.cpus.size()); ++threads) {
      const ThreadPlan plan = plan_threads(topology, threads);
      std::set<int> seen;
      int next = 0;
      for (const NodeThreads& node : threads_by_node(topology, plan)) {
        EXPECT_TRUE(seen.insert(node.numa_node).second)
            << name << ": node " << node.numa_node << " has two shards, " << threads << " threads";
        EXPECT_EQ(node.first, next);
        next += node.count;
      }
      EXPECT_EQ(next, threads);
    }
  }
}

TEST(ThreadsByNode, SiblingsStayInTheShardOfTheirNode) {
  const Topology topology = recorded("two_sockets_interleaved");
  const ThreadPlan plan = plan_threads(topology, 16);
  EXPECT_THAT(plan.cpus, ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
  EXPECT_EQ(threads_by_node(topology, plan).size(), 2u);
}

TEST(ThreadsByNode, UnpinnedThreadsAreOneGroup) {
  const Topology topology;
  const ThreadPlan plan{.cpus = {-1, -1, -1}, .reason = ""};
  const auto nodes = threads_by_node(topology, plan);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].count, 3);
}

}  // namespace
}  // namespace lanner
