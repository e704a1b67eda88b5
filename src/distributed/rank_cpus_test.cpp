// SPDX-License-Identifier: Apache-2.0
#include "distributed/rank_cpus.h"

#include <gtest/gtest.h>

namespace lanner {
namespace {

using Cpus = std::vector<int>;

TEST(RankCpus, AreSharedOutOrKept) {
  const HostName a{.name = "a", .boot = "1"}, b{.name = "b", .boot = "2"};
  const Cpus four = {0, 1, 2, 3};
  struct Case {
    const char* what;
    std::vector<HostName> hosts;
    std::vector<Cpus> masks;
    int rank;
    Cpus expected;
    bool are_own;
  };
  const Case cases[] = {
      {"alone", {a}, {four}, 0, four, true},
      {"a host each", {a, b}, {four, four}, 1, four, true},
      {"first half", {a, a}, {four, four}, 0, {0, 1}, true},
      {"second half", {a, a}, {four, four}, 1, {2, 3}, true},
      {"of two hosts", {a, b, a}, {four, four, four}, 2, {2, 3}, true},
      {"a remainder", {a, a, a}, {four, four, four}, 2, {2, 3}, true},
      {"bound by a launcher", {a, a}, {{0, 1}, {2, 3}}, 1, {2, 3}, true},
      {"more ranks than CPUs", {a, a, a}, {{5}, {5}, {5}}, 1, {5}, false},
      {"masks that overlap", {a, a}, {{0, 1}, {1, 2}}, 1, {2}, false},
  };
  for (const Case& c : cases) {
    const RankCpus found = choose_rank_cpus(c.rank, c.hosts, c.masks);
    EXPECT_EQ(found.cpus, c.expected) << c.what;
    EXPECT_EQ(found.are_own, c.are_own) << c.what;
  }
}

}  // namespace
}  // namespace lanner
