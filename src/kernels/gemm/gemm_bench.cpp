// SPDX-License-Identifier: Apache-2.0
// y[m, 4096] = x[m, 4096] * w^T for each type of weight, on all CPUs of the affinity mask. So many
// weights take turns that they fit no cache. Every figure stands beside the machine's limit,
// measured just before it: `of_read` is the share of the read bandwidth (the limit of few rows),
// `of_peak` that of the arithmetic the kernel uses (the limit of many).
#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <immintrin.h>
#include <sched.h>

#include "base/testing/random.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/packed_weight.h"

namespace lanner {
namespace {

constexpr int64_t kSize = 4096;  // n and k
constexpr int64_t kBytesBeyondCaches = int64_t{512} << 20;

std::vector<int> affine_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

ThreadPool& pool() {
  static ThreadPool pool = [] {
    const std::vector<int> cpus = affine_cpus();
    pin_this_thread(cpus.front());  // else it can end up beside another on one CPU
    return ThreadPool(cpus);
  }();
  return pool;
}

template <typename Function>
double seconds(Function function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

template <typename Function>
double median_seconds(int repeats, Function function) {
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) times.push_back(seconds(function));
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[static_cast<size_t>(repeats / 2)];
}

// Twelve independent chains of one instruction.
#define LANNER_PEAK_LOOP(register_type, instruction)                                              \
  register_type r[12];                                                                            \
  std::memset(&r, 0, sizeof r);                                                                   \
  for (int64_t i = 0; i < count; ++i) {                                                           \
    __asm__ volatile(instruction " %0, %0, %0\n" instruction " %1, %1, %1\n" instruction          \
                                 " %2, %2, %2\n" instruction " %3, %3, %3\n" instruction          \
                                 " %4, %4, %4\n" instruction " %5, %5, %5\n" instruction          \
                                 " %6, %6, %6\n" instruction " %7, %7, %7\n" instruction          \
                                 " %8, %8, %8\n" instruction " %9, %9, %9\n" instruction          \
                                 " %10, %10, %10\n" instruction " %11, %11, %11\n"                \
                     : "+v"(r[0]), "+v"(r[1]), "+v"(r[2]), "+v"(r[3]), "+v"(r[4]), "+v"(r[5]),    \
                       "+v"(r[6]), "+v"(r[7]), "+v"(r[8]), "+v"(r[9]), "+v"(r[10]), "+v"(r[11])); \
  }

// With AT&T operands all alike, source and destination order does not matter.
__attribute__((target("avx2,fma"))) void fma_avx2(int64_t count) {
  LANNER_PEAK_LOOP(__m256, "vfmadd231ps")
}
__attribute__((target("avx512f"))) void fma_avx512(int64_t count) {
  LANNER_PEAK_LOOP(__m512, "vfmadd231ps")
}
__attribute__((target("avx2,avxvnni"))) void dot_avx_vnni(int64_t count) {
  LANNER_PEAK_LOOP(__m256i, "%{vex%} vpdpbusd")
}
__attribute__((target("avx2"))) void dot_avx2(int64_t count) {
  LANNER_PEAK_LOOP(__m256i, "vpmaddubsw")
}
__attribute__((target("avx512f,avx512vnni"))) void dot_avx512_vnni(int64_t count) {
  LANNER_PEAK_LOOP(__m512i, "vpdpbusd")
}
__attribute__((target("avx512f,avx512bf16"))) void dot_avx512_bf16(int64_t count) {
  LANNER_PEAK_LOOP(__m512i, "vdpbf16ps")
}

enum class Arithmetic { kF32, kBf16, kInt8 };

struct Peak {
  void (*loop)(int64_t count);
  int operations;  // of one instruction
};

// Operations per second of all threads; 0 where there are no vectors.
double peak_operations(Arithmetic arithmetic) {
  const Isa isa = cpu_isa();
  Peak peak{nullptr, 0};
  switch (arithmetic) {
    case Arithmetic::kF32:
      if (isa.has(Isa::kAvx2)) peak = {fma_avx2, 16};
      if (isa.has(Isa::kAvx512)) peak = {fma_avx512, 32};
      break;
    case Arithmetic::kBf16:
      peak = {dot_avx512_bf16, 64};
      break;
    case Arithmetic::kInt8:
      if (isa.has(Isa::kAvx2)) peak = {dot_avx2, 64};
      if (isa.has(Isa::kAvxVnni)) peak = {dot_avx_vnni, 64};
      if (isa.has(Isa::kAvx512Vnni)) peak = {dot_avx512_vnni, 128};
      break;
  }
  if (peak.loop == nullptr) return 0.0;
  constexpr int64_t kCount = 2000000;
  const double time = median_seconds(5, [&] { pool().run([&](int) { peak.loop(kCount); }); });
  return 12.0 * kCount * peak.operations * pool().size() / time;
}

// Bytes per second of all threads, each reading eight streams.
double read_bandwidth() {
  static const Buffer buffer = [] {
    Buffer memory(static_cast<size_t>(kBytesBeyondCaches));
    pool().parallel_for(kBytesBeyondCaches, [&](int64_t begin, int64_t end) {
      std::memset(memory.data() + begin, 1, static_cast<size_t>(end - begin));
    });
    return memory;
  }();
  const double time = median_seconds(5, [&] {
    pool().parallel_for(kBytesBeyondCaches / 64 / 8, [&](int64_t begin, int64_t end) {
      const std::byte* p = buffer.data() + begin * 64 * 8;
      const int64_t stream = (end - begin) * 64;
      __m128i sum = _mm_setzero_si128();
      for (int64_t i = 0; i < stream; i += 64) {
        for (int s = 0; s < 8; ++s) {
          // One word a line: what is measured is the memory, not the loads.
          sum = _mm_or_si128(sum,
                             _mm_load_si128(reinterpret_cast<const __m128i*>(p + s * stream + i)));
        }
      }
      benchmark::DoNotOptimize(sum);
    });
  });
  return static_cast<double>(kBytesBeyondCaches) / time;
}

// Random bytes in which every fp16 scale is harmless.
std::vector<std::byte> random_blocks(DType dtype) {
  std::vector<std::byte> bytes(static_cast<size_t>(kSize * dtype_bytes(dtype, kSize)));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37 % 0x3c);
  return bytes;
}

struct BenchType {
  DType source;
  std::optional<DType> packed;
};

// Enough of one type to fit no cache; kept while the row counts of that type are measured.
const std::vector<PackedWeight>& packed_weights(const BenchType& type) {
  static std::vector<PackedWeight> weights;
  static BenchType packed_type{};
  if (weights.empty() || packed_type.source != type.source || packed_type.packed != type.packed) {
    weights.clear();
    packed_type = type;
    const std::vector<std::byte> bytes = random_blocks(type.source);
    const Tensor part(const_cast<std::byte*>(bytes.data()), type.source, {kSize, kSize});
    for (int64_t total = 0; total < kBytesBeyondCaches; total += weights.back().bytes()) {
      weights.push_back(PackedWeight::pack({&part, 1}, {type.packed}, pool()));
    }
  }
  return weights;
}

void run(benchmark::State& state, BenchType type) {
  const int64_t m = state.range(0);
  const std::vector<PackedWeight>& weights = packed_weights(type);
  std::vector<float> x = random_normal(m * kSize, 1), y(static_cast<size_t>(m * kSize));
  const Tensor x_tensor(x.data(), DType::kF32, {m, kSize});
  const Tensor y_tensor(y.data(), DType::kF32, {m, kSize});
  Workspace workspace;
  const GemmX form = gemm_path(*weights[0].impl().segments[0].kernel, m).x;
  const double read = read_bandwidth();
  const double peak = peak_operations(form == GemmX::kF32    ? Arithmetic::kF32
                                      : form == GemmX::kBf16 ? Arithmetic::kBf16
                                                             : Arithmetic::kInt8);
  size_t next = 0;
  std::vector<double> times;
  for (auto _ : state) {
    times.push_back(
        seconds([&] { gemm(x_tensor, weights[next], {}, y_tensor, workspace, pool()); }));
    next = (next + 1) % weights.size();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2),
                   times.end());
  const double time = times[times.size() / 2];
  const double packed_bytes = static_cast<double>(weights[0].bytes());
  const double operations = 2.0 * static_cast<double>(m * kSize * kSize);
  state.SetLabel(weights[0].kernel_name());
  state.counters["median_us"] = time * 1e6;
  state.counters["GB/s"] = packed_bytes / time / 1e9;
  state.counters["of_read"] = packed_bytes / time / read;
  state.counters["GOP/s"] = operations / time / 1e9;
  state.counters["of_peak"] = peak > 0 ? operations / time / peak : 0;
  // The longer of reading and multiplying at 60 % of the peak, over the time taken.
  state.counters["of_roofline"] =
      std::max(packed_bytes / read, peak > 0 ? operations / (0.6 * peak) : 0) / time;
}

const bool registered = [] {
  const BenchType types[] = {
      {DType::kF32, {}},  {DType::kF16, {}},  {DType::kBf16, {}}, {DType::kF32, DType::kI8},
      {DType::kQ4_0, {}}, {DType::kQ4_1, {}}, {DType::kQ5_0, {}}, {DType::kQ5_1, {}},
      {DType::kQ8_0, {}}, {DType::kQ2K, {}},  {DType::kQ3K, {}},  {DType::kQ4K, {}},
      {DType::kQ5K, {}},  {DType::kQ6K, {}},
  };
  for (const BenchType& type : types) {
    const std::string name = fmt::format("gemm/{}", dtype_name(type.packed.value_or(type.source)));
    auto* bench = benchmark::RegisterBenchmark(
        name.c_str(), [type](benchmark::State& state) { run(state, type); });
    bench->ArgName("m")->Arg(1)->Arg(4)->Arg(8)->Arg(16)->Arg(512);
    bench->UseRealTime()->Unit(benchmark::kMicrosecond)->MinTime(0.2);
  }
  return true;
}();

}  // namespace
}  // namespace lanner
