// SPDX-License-Identifier: Apache-2.0
#include "base/topology.h"

#include <gmock/gmock.h>
#include <sched.h>

#include "base/error.h"
#include "base/testing/recorded_machine.h"

namespace lanner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int> first_cpus(int count) {
  std::vector<int> cpus;
  for (int cpu = 0; cpu < count; ++cpu) cpus.push_back(cpu);
  return cpus;
}

Topology read_recorded(const std::string& name, std::vector<int> affinity) {
  const RecordedMachine machine(std::string(LANNER_RECORDED_MACHINES) + "/" + name + ".txt");
  return read_topology({machine.root(), std::move(affinity)});
}

std::vector<int> cores(const Topology& topology) {
  std::vector<int> cores;
  for (const Cpu& cpu : topology.cpus) cores.push_back(cpu.core);
  return cores;
}

std::vector<int> nodes(const Topology& topology) {
  std::vector<int> nodes;
  for (const Cpu& cpu : topology.cpus) nodes.push_back(cpu.numa_node);
  return nodes;
}

TEST(Topology, ReadsOneSocketWithSmt) {
  const Topology t = read_recorded("one_socket", first_cpus(10));
  ASSERT_EQ(t.cpus.size(), 8u) << "offline CPUs 8 and 9 are left out";
  EXPECT_THAT(cores(t), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_EQ(t.num_cores(), 4);
  EXPECT_EQ(t.num_numa_nodes(), 1);
  EXPECT_EQ(t.l1d_bytes, 48 << 10) << "the data cache, not the instruction cache";
  EXPECT_EQ(t.l2_bytes, 512 << 10);
  EXPECT_EQ(t.l3_bytes, 8 << 20);
  EXPECT_EQ(t.memory_bytes, int64_t{16384000} * 1024);
  EXPECT_EQ(t.cpu_quota, 0);
  EXPECT_EQ(t.cpu_model, "Intel(R) Xeon(R) E-2314 CPU @ 2.80GHz");
}

TEST(Topology, CountsSmtSiblingsOnceAndUsesThemLast) {
  const Topology t = read_recorded("one_socket", first_cpus(8));
  const ThreadPlan plan = plan_threads(t, 0);
  EXPECT_THAT(plan.cpus, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(plan.reason, "4 physical cores");
  EXPECT_THAT(plan_threads(t, 6).cpus, ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(Topology, TellsCoresOfInterleavedSocketsApart) {
  const Topology t = read_recorded("two_sockets_interleaved", first_cpus(16));
  EXPECT_EQ(t.num_cores(), 8);
  EXPECT_EQ(t.num_numa_nodes(), 2);
  for (const Cpu& cpu : t.cpus) {
    EXPECT_EQ(cpu.socket, cpu.id % 2);
    EXPECT_EQ(cpu.numa_node, cpu.id % 2);
    EXPECT_EQ(cpu.core, cpu.id % 8);
  }
  EXPECT_THAT(plan_threads(t, 0).cpus, ElementsAre(0, 2, 4, 6, 1, 3, 5, 7))
      << "neighbouring threads share a node";
}

TEST(Topology, TellsCoresApartByIdsWhereNoSiblingsAreListed) {
  EXPECT_THAT(cores(read_recorded("no_sibling_lists", first_cpus(4))), ElementsAre(0, 1, 2, 3));
}

TEST(Topology, ReadsSubNumaClusters) {
  const Topology t = read_recorded("sub_numa_clusters", first_cpus(8));
  EXPECT_EQ(t.num_numa_nodes(), 4) << "a node with memory only has no CPUs";
  EXPECT_THAT(nodes(t), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_THAT(plan_threads(t, 0).cpus, ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
  EXPECT_EQ(t.l3_bytes, 99840 << 10);
}

TEST(Topology, PutsPerformanceCoresOfAHybridFirst) {
  const Topology t = read_recorded("hybrid", first_cpus(8));
  EXPECT_EQ(t.num_cores(), 6);
  EXPECT_EQ(t.l1d_bytes, 48 << 10) << "the performance cores' caches";
  EXPECT_EQ(t.l2_bytes, 1280 << 10);
  for (const Cpu& cpu : t.cpus) EXPECT_EQ(cpu.is_efficiency_core, cpu.id < 4);
  EXPECT_THAT(plan_threads(t, 0).cpus, ElementsAre(4, 6, 0, 1, 2, 3));
  EXPECT_THAT(plan_threads(t, 2).cpus, ElementsAre(4, 6));
  EXPECT_THAT(plan_threads(t, 8).cpus, ElementsAre(4, 6, 0, 1, 2, 3, 5, 7));
}

TEST(Topology, KeepsToTheAffinityMask) {
  const Topology t = read_recorded("two_sockets_interleaved", {1, 3, 9, 11});
  EXPECT_EQ(t.cpus.size(), 4u);
  EXPECT_EQ(t.num_cores(), 2);
  EXPECT_EQ(t.num_numa_nodes(), 1);
  EXPECT_THAT(cores(t), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(plan_threads(t, 0).cpus, ElementsAre(1, 3));
  const ThreadPlan cut = plan_threads(t, 16);
  EXPECT_THAT(cut.cpus, ElementsAre(1, 3, 9, 11));
  EXPECT_EQ(cut.reason, "16 threads asked for, cut to the 4 CPUs allowed");
}

TEST(Topology, UsesASiblingWhoseFirstThreadIsNotAllowed) {
  EXPECT_THAT(plan_threads(read_recorded("one_socket", {1, 4, 7}), 0).cpus, ElementsAre(1, 4, 7));
}

TEST(Topology, RoundsTheQuotaDown) {
  const Topology t = read_recorded("quota_v2", first_cpus(8));
  EXPECT_DOUBLE_EQ(t.cpu_quota, 7.65);
  EXPECT_EQ(t.memory_bytes, int64_t{4} << 30);
  const ThreadPlan plan = plan_threads(t, 0);
  EXPECT_EQ(plan.cpus.size(), 7u);
  EXPECT_EQ(plan.reason, "8 physical cores, cgroup quota 7.65");
  EXPECT_THAT(plan_threads(t, 8).reason, HasSubstr("more than the cgroup quota 7.65"));
}

TEST(Topology, TakesTheSmallestLimitOnTheWayUp) {
  const Topology t = read_recorded("quota_of_parent", first_cpus(8));
  EXPECT_DOUBLE_EQ(t.cpu_quota, 2.5);
  EXPECT_EQ(t.memory_bytes, int64_t{1} << 30);
  EXPECT_EQ(t.available_bytes, (int64_t{1} << 30) - 700000000 + 150000000) << "cache can go";
  EXPECT_EQ(plan_threads(t, 0).cpus.size(), 2u);
}

TEST(Topology, ReadsCgroupV1) {
  const Topology t = read_recorded("quota_v1", first_cpus(8));
  EXPECT_DOUBLE_EQ(t.cpu_quota, 3.0);
  EXPECT_EQ(t.memory_bytes, int64_t{2} << 30);
  EXPECT_EQ(t.available_bytes, 1) << "used up, which is not unknown";
  EXPECT_EQ(plan_threads(t, 0).cpus.size(), 3u);
}

TEST(Topology, KnowsTheAbsenceOfALimitInCgroupV1) {
  const Topology t = read_recorded("quota_v1_none", first_cpus(8));
  EXPECT_EQ(t.cpu_quota, 0);
  EXPECT_EQ(t.memory_bytes, int64_t{65536000} * 1024);
}

TEST(Topology, PlansOneThreadForHalfACpu) {
  EXPECT_THAT(plan_threads(read_recorded("quota_half", first_cpus(4)), 0).cpus, ElementsAre(0));
}

TEST(Topology, GuessesCarefullyWithoutSysfs) {
  const Topology t = read_topology({"/nonexistent-root", {2, 0, 2}});
  ASSERT_EQ(t.cpus.size(), 2u);
  EXPECT_EQ(t.cpus[0].id, 0);
  EXPECT_EQ(t.cpus[1].id, 2);
  EXPECT_THAT(cores(t), ElementsAre(0, 1)) << "no SMT";
  EXPECT_THAT(nodes(t), ElementsAre(0, 0));
  EXPECT_EQ(t.l1d_bytes, 32 << 10);
  EXPECT_EQ(t.l2_bytes, 1 << 20);
  EXPECT_EQ(t.l3_bytes, 0);
  EXPECT_EQ(t.memory_bytes, 0);
  EXPECT_EQ(t.available_bytes, 0);
  EXPECT_EQ(t.cpu_quota, 0);
}

TEST(Topology, PassesOverFilesThatMakeNoSense) {
  const Topology t = read_recorded("nonsense", first_cpus(4));
  EXPECT_EQ(t.cpus.size(), 2u);
  EXPECT_THAT(cores(t), ElementsAre(0, 1));
  EXPECT_EQ(t.cpus[0].socket, 0);
  EXPECT_THAT(nodes(t), ElementsAre(0, 0));
  EXPECT_EQ(t.l1d_bytes, 32 << 10);
  EXPECT_EQ(t.cpu_quota, 0);
  EXPECT_EQ(t.memory_bytes, 0);
}

TEST(Topology, ReadsThisMachine) {
  const Topology t = read_topology();
  cpu_set_t mask;
  ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  EXPECT_EQ(static_cast<int>(t.cpus.size()), CPU_COUNT(&mask));
  for (const Cpu& cpu : t.cpus) EXPECT_TRUE(CPU_ISSET(static_cast<size_t>(cpu.id), &mask));
  EXPECT_GE(t.num_cores(), 1);
  EXPECT_LE(t.num_cores(), static_cast<int>(t.cpus.size()));
  EXPECT_GT(t.memory_bytes, 0);
  EXPECT_GT(t.available_bytes, 0);
  EXPECT_GE(plan_threads(t, 0).cpus.size(), 1u);
}

TEST(Topology, RefusesANegativeNumberOfThreads) {
  EXPECT_THROW(plan_threads(read_topology(), -1), Error);
}

TEST(Topology, PlansAnUnpinnedThreadWithoutCpus) {
  EXPECT_THAT(plan_threads(Topology{}, 0).cpus, ElementsAre(-1));
}

}  // namespace
}  // namespace lanner
