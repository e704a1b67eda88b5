// SPDX-License-Identifier: Apache-2.0
#include "distributed/communication_benchmark.h"

#include <future>

#include "base/error.h"
#include "base/topology.h"
#include "distributed/oneccl_communicator.h"
#include "engine/model_runner.h"
#include "engine/rendezvous_options.h"
#include "lanner/distributed.h"

namespace lanner {

std::string backend_problem(const std::string& backend) {
  if (backend == "shm") return {};
  check_argument(backend == "oneccl", "backend '{}' is unknown; known: {}", backend,
                 fmt::join(kCommunicationBackends, ", "));
  return oneccl_problem();
}

std::string benchmark_communication(const RendezvousConfig& config,
                                    const CommunicationBenchmark& benchmark) {
  const auto rendezvous = std::make_shared<Rendezvous>(to_options(config));
  const CommunicationPlan plan{.backends = benchmark.backends,
                               .bytes = benchmark.bytes,
                               .wire = benchmark.wire,
                               .repeat = benchmark.repeat};
  const std::vector<int> cpus = plan_compute_threads(read_topology(), {}).cpus;
  // On a thread of its own, which is pinned.
  const Json report = std::async(std::launch::async, [&] {
                        try {
                          return measure_communication(rendezvous, plan, cpus);
                        } catch (const std::exception& error) {
                          rendezvous->fail(error.what());
                          throw;
                        }
                      }).get();
  return report.is_null() ? "" : report.dump(2);
}

}  // namespace lanner
