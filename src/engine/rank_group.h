// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/topology.h"
#include "distributed/rendezvous.h"
#include "engine/model_runner.h"
#include "engine/rank_processes.h"
#include "lanner/config.h"

namespace lanner {

// The port of rank 0 where LlmConfig::rendezvous does not name one.
inline constexpr int kRendezvousPort = 29500;

// What a configuration says about ranks.
struct RanksPlan {
  int size = 1;               // of the job
  int started_here = 0;       // ranks 1, 2, … that rank 0 starts on its machine
  bool is_one_host = true;    // LlmConfig::tensor_parallel: all of them
  std::string address;        // "HOST:PORT" where rank 0 listens; port 0: any free one
  std::vector<int> per_host;  // ranks of each machine; empty: as they come
  std::string reason;         // for the size, as people read it
};

// LlmConfig::tensor_parallel, hosts and rendezvous on a machine. can_start: whether there is a
// program to start others from, which only what was asked for insists on. Throws
// Error(kInvalidArgument) for what makes no sense.
RanksPlan plan_ranks(const Topology& topology, const LlmConfig& config, bool can_start);

// What rank 0 tells the others to load.
struct RankJob {
  std::string path;
  LlmConfig config;
};

// Rank 0's job, on every rank.
RankJob share_job(Rendezvous& rendezvous, const RankJob& mine);

// What all ranks do between their meeting and their ModelRunners: they compare the model, its types
// and the CPUs' instructions, share out the CPUs of each machine, and connect. Throws Error(kIo) on
// every rank where something is not the same.
RankResources prepare_rank(const std::shared_ptr<Rendezvous>& rendezvous, const ModelFiles& files,
                           const LlmConfig& config);

// The ranks of a model as rank 0 has them: starts those of its machine, waits for all, tells them
// what to load, and says when one is lost. Made and used on one thread.
class RankGroup {
 public:
  // progress is called while ranks are waited for ("ranks", 0, 0); what it throws ends that.
  // on_failure is called once, from any thread, when a rank is lost; it must not wait. Throws
  // Error: kNotFound for a program that cannot be started, kIo for ranks that do not come or
  // differ.
  RankGroup(const ModelFiles& files, const LlmConfig& config, const RanksPlan& plan,
            const ProgressCallback& progress, std::function<void(const std::string&)> on_failure);
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  // For rank 0's ModelRunner; the others know what to load by then.
  RankResources take_resources();
  // Throws Error(kIo) naming a rank that has failed, died or ended.
  void check();

 private:
  void check_hosts(const RanksPlan& plan) const;

  RankProcesses processes_;  // waited for when the ranks have been let go
  std::shared_ptr<Rendezvous> rendezvous_;
  RankResources resources_;
};

}  // namespace lanner
