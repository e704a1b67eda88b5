// SPDX-License-Identifier: Apache-2.0
#include "lanner/worker.h"

#include "base/error.h"
#include "distributed/shm_communicator.h"
#include "engine/model_runner.h"
#include "engine/rank_message.h"

namespace lanner {
namespace {

struct Job {
  std::string path;
  LlmConfig config;
  std::vector<ThreadPlan> threads;  // [ranks]
};

Job read_job(const std::vector<std::byte>& message, int size) {
  MessageReader reader(message);
  Job job;
  job.path = reader.get_text();
  job.config = read_config(reader);
  for (int rank = 0; rank < size; ++rank) {
    ThreadPlan& threads = job.threads.emplace_back();
    threads.cpus = reader.get_vector<int>();
    threads.reason = reader.get_text();
    check_argument(!threads.cpus.empty(), "[distributed] rank {} has no CPU", rank);
  }
  return job;
}

}  // namespace

void run_worker(const WorkerOptions& options) {
  std::unique_ptr<Communicator> communicator =
      make_shm_communicator(ShmSegment::map(options.memory),
                            {.rank = options.rank, .has_cpu_for_each = options.has_cpu_for_each});
  const int size = communicator->size();
  const auto rank = static_cast<size_t>(communicator->rank());
  Job job;
  std::optional<ModelFiles> files;
  try {
    job = read_job(communicator->broadcast({}), size);
    files.emplace(open_model(job.path, job.config));
  } catch (const std::exception& e) {
    communicator->fail(e.what());
    throw;
  }
  ModelRunner runner(*files, job.config, {},
                     {.communicator = std::move(communicator),
                      .threads = std::move(job.threads[rank]),
                      .ranks_here = size});
  runner.follow();
}

}  // namespace lanner
