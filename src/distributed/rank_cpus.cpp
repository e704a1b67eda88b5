// SPDX-License-Identifier: Apache-2.0
#include "distributed/rank_cpus.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"

namespace lanner {

RankCpus choose_rank_cpus(int rank, const std::vector<HostName>& hosts,
                          const std::vector<std::vector<int>>& masks) {
  const auto self = static_cast<size_t>(rank);
  const std::vector<int>& mine = masks[self];
  LANNER_CHECK(!mine.empty());
  bool are_own = true;
  size_t sharers = 0, index = 0;
  for (size_t r = 0; r < hosts.size(); ++r) {
    if (hosts[r] != hosts[self]) continue;
    const bool shares = std::ranges::any_of(
        masks[r], [&](int cpu) { return std::ranges::find(mine, cpu) != mine.end(); });
    if (!shares) continue;
    if (r != self) are_own = false;
    if (r < self) ++index;
    ++sharers;
  }
  if (are_own) return {.cpus = mine, .are_own = true};
  const size_t begin = mine.size() * index / sharers;
  const size_t end = mine.size() * (index + 1) / sharers;
  if (begin == end) return {.cpus = {mine[begin % mine.size()]}, .are_own = false};
  // Equal masks are shared out without remainder; of others a part may overlap.
  bool are_equal = true;
  for (size_t r = 0; r < hosts.size(); ++r) {
    if (hosts[r] == hosts[self]) are_equal = are_equal && masks[r] == mine;
  }
  return {.cpus = {mine.begin() + static_cast<std::ptrdiff_t>(begin),
                   mine.begin() + static_cast<std::ptrdiff_t>(end)},
          .are_own = are_equal && mine.size() >= sharers};
}

RankCpus choose_rank_cpus(Rendezvous& rendezvous, const std::vector<int>& mine) {
  std::vector<std::vector<int>> masks;
  for (const std::string& text : rendezvous.exchange(Json(mine).dump())) {
    masks.push_back(parse_json(text, "CPUs of a rank").get<std::vector<int>>());
  }
  return choose_rank_cpus(rendezvous.rank(), rendezvous.hosts(), masks);
}

}  // namespace lanner
