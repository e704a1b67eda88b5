// SPDX-License-Identifier: Apache-2.0
// The experts of one layer as Moe runs them (hidden size 2048, 32 experts of width 768, 4 for each
// token): sorted tokens, gate and up, activation, down, the weighted sum. Each run sends the tokens
// to other experts, so that no weight is in a cache. `touched` is the share of the weights that a
// run reads, `of_read` the bytes of those experts per second as a share of the read bandwidth,
// `of_peak` the operations as a share of the arithmetic peak; shares are medians over rounds, each
// of which measures the limits first.
#include <random>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "base/testing/random.h"
#include "kernels/activation/activation.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/packed_weight.h"
#include "kernels/gemm/testing/machine_limits.h"
#include "kernels/moe/moe.h"

namespace lanner {
namespace {

constexpr int64_t kHidden = 2048;
constexpr int64_t kWidth = 768;
constexpr int kExperts = 32;
constexpr int kTopK = 4;
constexpr int kRounds = 7;
constexpr double kRoundSeconds = 0.02;

// One matrix of every expert; they may have the same numbers.
PackedWeight pack_experts(int64_t rows, int64_t columns, int parts, DType dtype) {
  std::vector<uint16_t> bits(static_cast<size_t>(rows * columns));
  const std::vector<float> values = random_normal(rows * columns, 1);
  select_convert(DType::kF32, DType::kBf16)(values.data(), rows * columns, bits.data());
  const Tensor part(bits.data(), DType::kBf16, {rows, columns});
  const std::vector<Tensor> all(static_cast<size_t>(parts), part);
  return PackedWeight::pack(all, {dtype}, pool());
}

struct Experts {
  DType dtype;
  PackedWeight gate_up;
  PackedWeight down;
};

// Kept while the numbers of tokens of one type are measured.
const Experts& experts_of(DType dtype) {
  static std::vector<Experts> kept;
  if (kept.empty() || kept.front().dtype != dtype) {
    kept.clear();
    kept.push_back({dtype, pack_experts(kWidth, kHidden, 2 * kExperts, dtype),
                    pack_experts(kHidden, kWidth, kExperts, dtype)});
  }
  return kept.front();
}

class Layer {
 public:
  Layer(const Experts& experts, int64_t tokens)
      : experts_(experts),
        tokens_(tokens),
        x_(random_normal(tokens * kHidden, 2)),
        y_(x_.size()),
        chosen_(static_cast<size_t>(tokens * kTopK)),
        weights_(chosen_.size(), 1.0f / kTopK) {}

  // Returns how many experts had tokens.
  int run() {
    for (int64_t t = 0; t < tokens_; ++t) {  // kTopK different ones
      const auto first = static_cast<int>(random_() % kExperts);
      const int step = 1 + 2 * static_cast<int>(random_() % (kExperts / 2));
      for (int j = 0; j < kTopK; ++j) {
        chosen_[static_cast<size_t>(t * kTopK + j)] = (first + j * step) % kExperts;
      }
    }
    const ExpertOrder order = sort_by_expert(chosen_, kTopK, kExperts);
    const Workspace::Scope scope(workspace_);
    const Tensor x(x_.data(), DType::kF32, {tokens_, kHidden});
    const Tensor y(y_.data(), DType::kF32, {tokens_, kHidden});
    const Tensor both = workspace_.tensor(DType::kF32, {tokens_ * kTopK, 2 * kWidth});
    const Tensor gate = both.columns(0, kWidth);
    const auto items = order.items(x, /*of_tokens=*/true, 2, both);
    grouped_gemm(items, experts_.gate_up, nullptr, workspace_, pool());
    gated_activation(Activation::kSilu, gate, both.columns(kWidth, 2 * kWidth), gate, pool());
    const Tensor down = workspace_.tensor(DType::kF32, {tokens_ * kTopK, kHidden});
    grouped_gemm(order.items(gate, /*of_tokens=*/false, 1, down), experts_.down, nullptr,
                 workspace_, pool());
    combine_experts(down, order, weights_, 1.0f, y, pool());
    return static_cast<int>(items.size());
  }

 private:
  const Experts& experts_;
  int64_t tokens_;
  std::vector<float> x_, y_;
  std::vector<int32_t> chosen_;
  std::vector<float> weights_;
  std::mt19937 random_{3};
  Workspace workspace_;
};

void run(benchmark::State& state, DType dtype) {
  const int64_t tokens = state.range(0);
  const Experts& experts = experts_of(dtype);
  Layer layer(experts, tokens);
  const GemmSegment& segment = experts.gate_up.impl().segments[0];
  const GemmX form = gemm_path(*segment.kernel, tokens * kTopK / kExperts + 1).x;
  const PeakType peak_type = form == GemmX::kF32    ? PeakType::kF32
                             : form == GemmX::kBf16 ? PeakType::kBf16
                                                    : PeakType::kInt8;
  const auto all_bytes = static_cast<double>(experts.gate_up.bytes() + experts.down.bytes());
  const double operations = 2.0 * static_cast<double>(tokens * kTopK * 3 * kHidden * kWidth);
  layer.run();
  std::vector<double> times, touched, of_read, of_peak;
  for (auto _ : state) {
    const double read = read_pass();
    const double peak = peak_pass(peak_type);
    double total = 0;
    int count = 0, used = 0;
    for (; total < kRoundSeconds; ++count) total += seconds([&] { used += layer.run(); });
    const double time = total / count;
    const double share = static_cast<double>(used) / count / kExperts;
    state.SetIterationTime(time);
    times.push_back(time);
    touched.push_back(share);
    of_read.push_back(share * all_bytes / time / read);
    of_peak.push_back(peak > 0 ? operations / time / peak : 0);
  }
  state.SetLabel(experts.gate_up.kernel_name());
  state.counters["GOP/s"] = operations / median(times) / 1e9;
  state.counters["touched"] = median(touched);
  state.counters["of_read"] = median(of_read);
  state.counters["of_peak"] = median(of_peak);
}

const bool registered = [] {
  for (const DType dtype : {DType::kBf16, DType::kI8, DType::kI4}) {
    auto* bench =
        benchmark::RegisterBenchmark(fmt::format("moe/{}", dtype_name(dtype)).c_str(),
                                     [dtype](benchmark::State& state) { run(state, dtype); });
    bench->ArgName("tokens")->Arg(1)->Arg(4)->Arg(16)->Arg(512);
    bench->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(kRounds);
  }
  return true;
}();

}  // namespace
}  // namespace lanner
