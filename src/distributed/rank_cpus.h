// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "distributed/rendezvous.h"

namespace lanner {

struct RankCpus {
  std::vector<int> cpus;  // of this rank, at least one
  // No other rank of the host has one of them.
  bool are_own = true;
};

// Which of the CPUs that it may use (`mine`) a rank takes: all where a launcher has bound the ranks
// of a host to different ones, else an equal share of them in the order of the ranks. All ranks
// call it together.
RankCpus choose_rank_cpus(Rendezvous& rendezvous, const std::vector<int>& mine);

// The same for rank `rank` of ranks on `hosts` that may use `masks`.
RankCpus choose_rank_cpus(int rank, const std::vector<HostName>& hosts,
                          const std::vector<std::vector<int>>& masks);

}  // namespace lanner
