// SPDX-License-Identifier: Apache-2.0
// y[m, 4096] = x[m, 4096] * w^T for each type of weight, on all CPUs of the affinity mask. So many
// weights take turns that they fit no cache. On a shared machine the bandwidth can halve from one
// second to the next, so each round measures the limits and then the op, and the shares are medians
// over the rounds: `of_read` of the read bandwidth (the limit of few rows), `of_peak` of the
// arithmetic the kernel uses (the limit of many), `of_roofline` of the longer of both.
#include <algorithm>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "base/testing/random.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/packed_weight.h"
#include "kernels/gemm/testing/machine_limits.h"
#ifdef LANNER_WITH_ONEDNN
#include "kernels/gemm/onednn.h"
#endif

namespace lanner {
namespace {

constexpr int64_t kSize = 4096;  // n and k
constexpr int64_t kBytesBeyondCaches = int64_t{256} << 20;
constexpr int kRounds = 7;
constexpr double kRoundSeconds = 0.02;

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

// Rounds of measuring the limits and then `multiply`, which takes the weights of turn `next`.
template <typename Multiply>
void measure(benchmark::State& state, int64_t m, PeakType peak_type, int64_t weight_bytes,
             size_t num_weights, Multiply multiply) {
  const double packed_bytes = static_cast<double>(weight_bytes);
  const double operations = 2.0 * static_cast<double>(m * kSize * kSize);
  size_t next = 0;
  const auto turn = [&] {
    multiply(next);
    next = (next + 1) % num_weights;
  };
  turn();
  std::vector<double> times, reads, peaks, of_read, of_peak, of_roofline;
  for (auto _ : state) {
    const double read = read_pass();
    const double peak = peak_pass(peak_type);
    double total = 0;
    int count = 0;
    for (; total < kRoundSeconds; ++count) total += seconds(turn);
    const double time = total / count;
    state.SetIterationTime(time);
    times.push_back(time);
    reads.push_back(read);
    peaks.push_back(peak);
    of_read.push_back(packed_bytes / time / read);
    of_peak.push_back(peak > 0 ? operations / time / peak : 0);
    // The longer of reading and multiplying at 60 % of the peak, over the time taken.
    of_roofline.push_back(std::max(packed_bytes / read, peak > 0 ? operations / (0.6 * peak) : 0) /
                          time);
  }
  const double time = median(times);
  state.counters["read_GB/s"] = median(reads) / 1e9;
  state.counters["peak_GOP/s"] = median(peaks) / 1e9;
  state.counters["GB/s"] = packed_bytes / time / 1e9;
  state.counters["GOP/s"] = operations / time / 1e9;
  state.counters["of_read"] = median(of_read);
  state.counters["of_peak"] = median(of_peak);
  state.counters["of_roofline"] = median(of_roofline);
}

void run(benchmark::State& state, BenchType type) {
  const int64_t m = state.range(0);
  const std::vector<PackedWeight>& weights = packed_weights(type);
  std::vector<float> x = random_normal(m * kSize, 1), y(static_cast<size_t>(m * kSize));
  const Tensor x_tensor(x.data(), DType::kF32, {m, kSize});
  const Tensor y_tensor(y.data(), DType::kF32, {m, kSize});
  Workspace workspace;
  const GemmX form = gemm_path(*weights[0].impl().segments[0].kernel, m).x;
  const PeakType peak_type = form == GemmX::kF32    ? PeakType::kF32
                             : form == GemmX::kBf16 ? PeakType::kBf16
                                                    : PeakType::kInt8;
  state.SetLabel(weights[0].kernel_name());
  measure(state, m, peak_type, weights[0].bytes(), weights.size(),
          [&](size_t next) { gemm(x_tensor, weights[next], {}, y_tensor, workspace, pool()); });
}

#ifdef LANNER_WITH_ONEDNN
void run_onednn(benchmark::State& state, OneDnnMatmul::Type type, PeakType peak_type) {
  const int64_t m = state.range(0);
  std::vector<OneDnnMatmul> products;
  products.emplace_back(type, m, kSize, kSize);
  if (products[0].is_reference()) {
    return state.SkipWithError("oneDNN has only its reference for this type on this CPU");
  }
  // oneDNN's threads inherit the CPUs of the one that first multiplies: all, not the one of pool().
  pool();
  let_this_thread_run_on(bench_cpus());
  products[0].run();
  pin_this_thread(bench_cpus().front());
  while (products[0].weight_bytes() * static_cast<int64_t>(products.size()) < kBytesBeyondCaches) {
    products.emplace_back(type, m, kSize, kSize);
  }
  state.SetLabel(products[0].implementation());
  measure(state, m, peak_type, products[0].weight_bytes(), products.size(),
          [&](size_t next) { products[next].run(); });
}
#endif

void add_rows(benchmark::internal::Benchmark* bench) {
  bench->ArgName("m")->Arg(1)->Arg(4)->Arg(8)->Arg(16)->Arg(512);
  bench->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(kRounds);
}

const bool registered = [] {
  const BenchType types[] = {
      {DType::kF32, {}},
      {DType::kF16, {}},
      {DType::kBf16, {}},
      {DType::kF32, DType::kW8A8},
      {DType::kF32, DType::kI8},
      {DType::kF32, DType::kI4},
      {DType::kF32, DType::kI4G128},
      {DType::kF32, DType::kI4Asym},
      {DType::kQ4_0, {}},
      {DType::kQ4_1, {}},
      {DType::kQ5_0, {}},
      {DType::kQ5_1, {}},
      {DType::kQ8_0, {}},
      {DType::kQ2K, {}},
      {DType::kQ3K, {}},
      {DType::kQ4K, {}},
      {DType::kQ5K, {}},
      {DType::kQ6K, {}},
  };
  for (const BenchType& type : types) {
    const std::string name = fmt::format("gemm/{}", dtype_name(type.packed.value_or(type.source)));
    add_rows(benchmark::RegisterBenchmark(name.c_str(),
                                          [type](benchmark::State& state) { run(state, type); }));
  }
#ifdef LANNER_WITH_ONEDNN
  const auto add_onednn = [](const char* name, OneDnnMatmul::Type type, PeakType peak) {
    add_rows(benchmark::RegisterBenchmark(
        name, [=](benchmark::State& state) { run_onednn(state, type, peak); }));
  };
  add_onednn("onednn/fp32", OneDnnMatmul::Type::kF32, PeakType::kF32);
  add_onednn("onednn/bf16", OneDnnMatmul::Type::kBf16, PeakType::kBf16);
  add_onednn("onednn/int8", OneDnnMatmul::Type::kInt8, PeakType::kInt8);
#endif
  return true;
}();

}  // namespace
}  // namespace lanner
