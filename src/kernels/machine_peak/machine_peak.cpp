// SPDX-License-Identifier: Apache-2.0
#include "kernels/machine_peak/machine_peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/buffer.h"
#include "kernels/machine_peak/kernels.h"

namespace lanner {
namespace {

constexpr int kPasses = 7;
// Long enough for the clock to settle and for a short interruption not to matter.
constexpr double kPassSeconds = 0.05;
constexpr int64_t kStreams = 8;
constexpr int64_t kStreamUnit = 256;

double seconds_of(FunctionRef<void()> task) {
  const auto start = std::chrono::steady_clock::now();
  task();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::span<const ReadKernel* const> read_kernels() {
  static constexpr const ReadKernel* kKernels[] = {&kReadAvx512, &kReadAvx2, &kReadScalar};
  return kKernels;
}

std::span<const PeakKernel* const> peak_kernels() {
  static constexpr const PeakKernel* kKernels[] = {&kPeakBf16Avx512,  &kPeakInt8Avx512Vnni,
                                                   &kPeakInt8AvxVnni, &kPeakF32Avx512,
                                                   &kPeakF32Avx2,     &kPeakF32Scalar};
  return kKernels;
}

const ReadKernel& select_read(Isa isa) {
  for (const ReadKernel* kernel : read_kernels()) {
    if (isa.has(kernel->needs)) return *kernel;
  }
  return kReadScalar;
}

const PeakKernel* select_peak(PeakType type, Isa isa) {
  for (const PeakKernel* kernel : peak_kernels()) {
    if (kernel->type == type && isa.has(kernel->needs)) return kernel;
  }
  return nullptr;
}

double measure_read_bandwidth(int64_t bytes, ThreadPool& threads, Isa isa) {
  const ReadFn read = select_read(isa).read;
  const int64_t unit = kStreams * kStreamUnit * threads.size();
  const int64_t stream_bytes = std::max(bytes / unit, int64_t{1}) * kStreamUnit;
  const int64_t thread_bytes = stream_bytes * kStreams;
  const Buffer buffer(static_cast<size_t>(thread_bytes * threads.size()));
  threads.run([&](int thread) {
    // Zero pages would all be the same page of the kernel's.
    std::memset(buffer.data() + thread * thread_bytes, 1, static_cast<size_t>(thread_bytes));
  });
  std::atomic<uint64_t> sink{0};
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double seconds = seconds_of([&] {
      threads.run(
          [&](int thread) { sink |= read(buffer.data() + thread * thread_bytes, stream_bytes); });
    });
    best = std::max(best, static_cast<double>(thread_bytes * threads.size()) / seconds);
  }
  return best;
}

std::optional<double> measure_peak(PeakType type, ThreadPool& threads, Isa isa) {
  const PeakKernel* kernel = select_peak(type, isa);
  if (kernel == nullptr) return std::nullopt;
  std::vector<float> results(static_cast<size_t>(threads.size()) * 16);  // a line for each thread
  const auto pass_seconds = [&](int64_t iterations) {
    return seconds_of([&] {
      threads.run(
          [&](int thread) { results[static_cast<size_t>(thread) * 16] = kernel->run(iterations); });
    });
  };
  // Twice, so that one interruption does not end the doubling early: a short pass would time the
  // start of the threads.
  int64_t iterations = 1000;
  while (std::min(pass_seconds(iterations), pass_seconds(iterations)) < kPassSeconds) {
    iterations *= 2;
  }
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double operations = static_cast<double>(iterations * kernel->operations) * threads.size();
    best = std::max(best, operations / pass_seconds(iterations));
  }
  return best;
}

double measure_empty_region(ThreadPool& threads) {
  std::vector<double> seconds(2001);
  for (double& s : seconds) {
    s = seconds_of([&] { threads.run([](int) {}); });
  }
  std::nth_element(seconds.begin(), seconds.begin() + 1000, seconds.end());
  return seconds[1000];
}

}  // namespace lanner
