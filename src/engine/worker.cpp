// SPDX-License-Identifier: Apache-2.0
#include "lanner/worker.h"

#include "base/error.h"
#include "engine/model_runner.h"
#include "engine/rank_group.h"
#include "engine/rendezvous_options.h"

namespace lanner {

void run_worker(const WorkerOptions& options) {
  RendezvousOptions meeting = to_options(options.rendezvous);
  meeting.on_failure = options.on_lost;
  const auto rendezvous = std::make_shared<Rendezvous>(meeting);
  try {
    RankJob job = share_job(*rendezvous, {});
    if (!options.path.empty()) job.path = options.path;
    const ModelFiles files = open_model(job.path, job.config);
    ModelRunner runner(files, job.config, {}, prepare_rank(rendezvous, files, job.config));
    runner.follow();
  } catch (const std::exception& error) {
    rendezvous->fail(error.what());
    throw;
  }
}

}  // namespace lanner
