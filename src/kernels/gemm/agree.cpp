// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

// What a weight of the group is packed from: its values survive every plain type, so kernels differ
// by the order of their sums only.
std::optional<DType> packing_of(GemmGroup group) {
  switch (group) {
    case GemmGroup::kF32:
      return DType::kF32;
    case GemmGroup::kF16:
      return DType::kF16;
    case GemmGroup::kBf16:
      return DType::kBf16;
    case GemmGroup::kI8:
      return DType::kW8A8;
    case GemmGroup::kI8G32:
      return DType::kI8;
    case GemmGroup::kI4G32:
      return DType::kI4;
    case GemmGroup::kI4G64:
      return DType::kI4G64;
    case GemmGroup::kI4G128:
      return DType::kI4G128;
    case GemmGroup::kI4G32M:
      return DType::kI4Asym;
    default:
      return std::nullopt;  // comes from files only
  }
}

// Eighths between -4 and 4, without a pattern.
std::vector<float> example(int64_t count, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = (static_cast<float>(seed >> 26) - 32.0f) / 8.0f;
  }
  return values;
}

}  // namespace

bool gemm_kernels_agree(const GemmKernel& candidate, const GemmKernel& trusted) {
  // Full tiles and the rest of one, in every direction.
  constexpr int64_t kRows = 51, kN = 92, kK = 340, kBlockK = 512;
  // Blocks of files: whatever bytes, with small numbers where the scales are.
  const bool from_file = !packing_of(candidate.group);
  const int64_t k = from_file ? kBlockK : kK;
  std::vector<float> w = example(kN * k, 1);
  std::vector<std::byte> blocks;
  Tensor part(w.data(), DType::kF32, {kN, k});
  if (from_file) {
    if (candidate.group != GemmGroup::kI4G32MK) return false;
    blocks.resize(static_cast<size_t>(kN * dtype_bytes(DType::kQ4K, k)));
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(i * 37 % 0x3c);
    part = Tensor(blocks.data(), DType::kQ4K, {kN, k});
  }
  ThreadPool threads(1);
  Workspace workspace;
  const auto multiply = [&](const GemmKernel& kernel, int64_t rows) {
    const PackedWeight packed = PackedWeight::pack(
        {&part, 1}, {.dtype = packing_of(kernel.group), .isa = Isa{}, .kernel = &kernel}, threads);
    std::vector<float> x = example(rows * k, 2);
    std::vector<float> y(static_cast<size_t>(rows * kN));
    gemm(Tensor(x.data(), DType::kF32, {rows, k}), packed, {},
         Tensor(y.data(), DType::kF32, {rows, kN}), workspace, threads);
    return y;
  };
  for (const int64_t rows : {int64_t{1}, int64_t{7}, kRows}) {
    const std::vector<float> actual = multiply(candidate, rows);
    const std::vector<float> expected = multiply(trusted, rows);
    for (size_t i = 0; i < actual.size(); ++i) {
      const float bound = 1e-3f * (1.0f + std::abs(expected[i]));
      if (!(std::abs(actual[i] - expected[i]) <= bound)) return false;
    }
  }
  return true;
}

}  // namespace lanner
