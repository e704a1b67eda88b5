// SPDX-License-Identifier: Apache-2.0
// Sums over two ranks of one machine, each a thread: what a decode step (16 KiB: one token of 4096)
// and a prefill chunk (512 of them) pay, twice a layer.
#include <thread>

#include <benchmark/benchmark.h>

#include "distributed/shm_communicator.h"

namespace lanner {
namespace {

void BM_Sum(benchmark::State& state) {
  const int64_t n = state.range(0) / 4;
  const auto segment = ShmSegment::create({.ranks = 2, .sum_elements = n, .message_bytes = 4096});
  const auto add = [n](Communicator& communicator, ThreadPool& threads, std::vector<float>& y) {
    const Tensor view(y.data(), DType::kF32, Shape{n});
    benchmark::DoNotOptimize(communicator.begin_sum(view).values.raw());
    communicator.finish_sum(view, threads);
  };
  std::thread other([&] {
    pin_this_thread(1);
    ThreadPool threads(1);
    std::vector<float> y(static_cast<size_t>(n));
    const auto communicator = make_shm_communicator(segment, {.rank = 1});
    while (!communicator->broadcast({}).empty()) add(*communicator, threads, y);
  });
  pin_this_thread(0);
  ThreadPool threads(1);
  std::vector<float> y(static_cast<size_t>(n));
  const auto communicator = make_shm_communicator(segment, {.rank = 0});
  for (auto _ : state) {
    // The broadcast brings the ranks together: the time is that of both.
    communicator->broadcast({std::byte{1}});
    add(*communicator, threads, y);
  }
  communicator->broadcast({});
  other.join();
  state.SetBytesProcessed(state.iterations() * 4 * n);
}

BENCHMARK(BM_Sum)->Arg(16 << 10)->Arg(64 << 10)->Arg(128 << 10)->Arg(8 << 20)->UseRealTime();

}  // namespace
}  // namespace lanner
