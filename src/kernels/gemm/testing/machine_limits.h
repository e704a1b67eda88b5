// SPDX-License-Identifier: Apache-2.0
// For benchmarks only: what the machine can read and multiply just now.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include <benchmark/benchmark.h>
#include <sched.h>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "kernels/machine_peak/kernels.h"

namespace lanner {

inline std::vector<int> affine_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// Those that the program may use: asked before pool() pins the thread that calls it.
inline const std::vector<int>& bench_cpus() {
  static const std::vector<int> cpus = affine_cpus();
  return cpus;
}

// Undoes pin_this_thread for threads that are started from this one and are not ours.
inline void let_this_thread_run_on(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

// Of the benchmark program, on all CPUs that it may use.
inline ThreadPool& pool() {
  static ThreadPool pool = [] {
    pin_this_thread(bench_cpus().front());  // else it can end up beside another on one CPU
    return ThreadPool(bench_cpus());
  }();
  return pool;
}

template <typename Function>
double seconds(Function function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// A thread's share of the memory that is read to know the bandwidth.
inline constexpr int64_t kReadBytes = int64_t{64} << 20;

// One pass over memory that fits no cache: bytes per second of all threads.
inline double read_pass() {
  static const ReadFn read = select_read(cpu_isa()).read;
  static const Buffer buffer = [] {
    Buffer memory(static_cast<size_t>(kReadBytes * pool().size()));
    pool().run([&](int thread) {
      std::memset(memory.data() + thread * kReadBytes, 1, static_cast<size_t>(kReadBytes));
    });
    return memory;
  }();
  const double time = seconds([&] {
    pool().run([&](int thread) {
      benchmark::DoNotOptimize(read(buffer.data() + thread * kReadBytes, kReadBytes / 8));
    });
  });
  return static_cast<double>(kReadBytes * pool().size()) / time;
}

// One pass of multiply-adds on registers: operations per second of all threads; 0 where there is no
// instruction for the type.
inline double peak_pass(PeakType type) {
  const PeakKernel* kernel = select_peak(type, cpu_isa());
  if (kernel == nullptr) return 0.0;
  constexpr int64_t kPeakRounds = 300000;
  const double time = seconds(
      [&] { pool().run([&](int) { benchmark::DoNotOptimize(kernel->run(kPeakRounds)); }); });
  return static_cast<double>(kPeakRounds * kernel->operations) * pool().size() / time;
}

}  // namespace lanner
