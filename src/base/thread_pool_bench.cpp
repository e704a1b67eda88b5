// SPDX-License-Identifier: Apache-2.0
// What one parallel region costs: the fixed price of every op of a decode step.
#include <chrono>
#include <thread>

#include <benchmark/benchmark.h>

#include "base/thread_pool.h"
#include "base/topology.h"

namespace lanner {
namespace {

void empty_region(benchmark::State& state) {
  ThreadPool pool(plan_threads(read_topology(), static_cast<int>(state.range(0))).cpus);
  for (auto _ : state) pool.run([](int) {});
  state.counters["threads"] = pool.size();
}
BENCHMARK(empty_region)->Arg(1)->Arg(2)->Arg(4)->Arg(0)->UseRealTime();

// The workers have gone to sleep: the first region of a step after a pause.
void empty_region_after_2ms_idle(benchmark::State& state) {
  ThreadPool pool(plan_threads(read_topology(), static_cast<int>(state.range(0))).cpus);
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto start = std::chrono::steady_clock::now();
    pool.run([](int) {});
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(taken.count());
  }
}
BENCHMARK(empty_region_after_2ms_idle)->Arg(2)->Arg(0)->UseManualTime()->Iterations(200);

// More threads than CPUs: a wait must not burn the time slice of the thread it waits for.
void empty_region_oversubscribed(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0) * std::thread::hardware_concurrency()));
  for (auto _ : state) pool.run([](int) {});
}
BENCHMARK(empty_region_oversubscribed)->Arg(2)->Arg(4)->UseRealTime();

void barrier(benchmark::State& state) {
  constexpr int kBarriers = 1000;
  ThreadPool pool(plan_threads(read_topology(), static_cast<int>(state.range(0))).cpus);
  for (auto _ : state) {
    pool.run([&](int) {
      for (int i = 0; i < kBarriers; ++i) pool.barrier();
    });
  }
  state.SetItemsProcessed(state.iterations() * kBarriers);
}
BENCHMARK(barrier)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace lanner
