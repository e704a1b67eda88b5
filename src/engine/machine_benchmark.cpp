// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <future>

#include "base/json.h"
#include "base/thread_pool.h"
#include "engine/model_runner.h"
#include "engine/report.h"
#include "kernels/machine_peak/machine_peak.h"
#include "lanner/llm.h"

namespace lanner {
namespace {

// Several times any last-level cache's share of one process, so that every pass comes from DRAM.
constexpr int64_t kDramBytes = int64_t{1} << 30;

double billions(double rate) { return rate / 1e9; }

Json peak(PeakType type, ThreadPool& threads) {
  const std::optional<double> rate = measure_peak(type, threads);
  return rate ? Json(billions(*rate)) : Json(nullptr);
}

std::string measure(const Topology& topology, const ThreadPlan& plan) {
  // Thread 0 of the pools below; unpinned it can end up beside another of them on one CPU.
  pin_this_thread(plan.cpus.front());
  const int64_t dram_bytes =
      std::min(kDramBytes, std::max(topology.available_bytes / 4, int64_t{1} << 26));

  Json by_threads = Json::array();
  for (size_t count = 1; count <= plan.cpus.size(); ++count) {
    ThreadPool some({plan.cpus.begin(), plan.cpus.begin() + static_cast<std::ptrdiff_t>(count)});
    by_threads.push_back(billions(measure_read_bandwidth(dram_bytes, some)));
  }
  ThreadPool threads(plan.cpus);
  // Half of the cache: the other half is others'.
  const Json l3 = topology.l3_bytes > 0
                      ? Json(billions(measure_read_bandwidth(
                            std::min(topology.l3_bytes / 2, dram_bytes / 8), threads)))
                      : Json(nullptr);
  const Json machine{{"cpu", topology.cpu_model},
                     {"isa", isa_names(cpu_isa())},
                     {"threads", plan.cpus.size()},
                     {"read_gbps", by_threads.back()},
                     {"read_gbps_by_threads", by_threads},
                     {"l3_read_gbps", l3},
                     {"peak_gops",
                      {{"fp32", peak(PeakType::kF32, threads)},
                       {"bf16", peak(PeakType::kBf16, threads)},
                       {"int8", peak(PeakType::kInt8, threads)}}},
                     {"empty_region_us", measure_empty_region(threads) * 1e6}};
  return Json{{"machine", machine}}.dump(2);
}

}  // namespace

std::string benchmark_machine(const LlmConfig& config) {
  const Topology topology = read_topology();
  const ThreadPlan plan = plan_compute_threads(topology, config);
  // On a thread of its own, which may be pinned.
  return std::async(std::launch::async, [&] { return measure(topology, plan); }).get();
}

}  // namespace lanner
