// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/prepared_x.h"

#include <algorithm>

#include "base/checked.h"

namespace lanner {
namespace {

// Rows of a prepared x start a line apart from where a power of two would put them: else the rows
// of a tile would all want the same set of the cache.
int64_t padded_row_bytes(int64_t bytes) { return round_up(bytes, 64) + 64; }

}  // namespace

PreparedX plan_x(const Tensor& x, const GemmSegment& s, const GemmPath& path, bool gathered) {
  const int64_t rows = x.num_rows();
  PreparedX p;
  p.form = path.x;
  p.k_padded = s.k_padded;
  p.functions = s.kernel->activations;
  p.copied = true;
  switch (path.x) {
    case GemmX::kF32:
      // A copy pays where each row is read often and rows a power of two apart would collide.
      p.copied = gathered || s.k_padded != x.size(1) || rows > 16;
      p.row_bytes = p.copied ? padded_row_bytes(p.k_padded * 4) : x.row_bytes();
      if (!p.copied) p.data = x.raw();
      break;
    case GemmX::kBf16:
      p.row_bytes = padded_row_bytes(p.k_padded * 2);
      break;
    case GemmX::kInt8Row:
      p.row_bytes = padded_row_bytes(p.k_padded);
      p.scales = 1;
      p.sums = 1;
      p.zero_point = s.layout.zero_point;
      break;
    case GemmX::kInt8Group:
      p.row_bytes = padded_row_bytes(p.k_padded);
      p.scales = p.k_padded / 32;
      p.group = s.layout.group;
      p.sums = p.k_padded / p.group;
      p.zero_point = s.layout.zero_point;
      break;
  }
  return p;
}

void allocate_x(PreparedX& p, int64_t rows, Workspace& workspace) {
  if (!p.copied) return;
  p.data = workspace.allocate(static_cast<size_t>(checked_mul(rows, p.row_bytes, "[gemm] x")));
  const auto floats = [&](int64_t per_row) {
    return workspace.allocate(static_cast<size_t>(rows * per_row * 4));
  };
  p.scale = reinterpret_cast<float*>(floats(p.scales));
  p.offset = reinterpret_cast<int32_t*>(floats(p.sums));
  p.sum = reinterpret_cast<float*>(floats(p.sums));
}

void prepare_row(const float* in, int64_t k, int64_t row, const PreparedX& p) {
  if (!p.copied) return;
  std::byte* out = p.data + row * p.row_bytes;
  switch (p.form) {
    case GemmX::kF32:
      std::copy_n(in, k, reinterpret_cast<float*>(out));
      std::fill(reinterpret_cast<float*>(out) + k, reinterpret_cast<float*>(out) + p.k_padded,
                0.0f);
      break;
    case GemmX::kBf16:
      p.functions->to_bf16(in, k, p.k_padded, reinterpret_cast<uint16_t*>(out));
      break;
    case GemmX::kInt8Row:
      p.functions->quantize_row(in, k, p.k_padded, p.zero_point, reinterpret_cast<int8_t*>(out),
                                p.scale + row, p.offset + row);
      break;
    case GemmX::kInt8Group:
      p.functions->quantize_groups(in, k, p.k_padded, p.group, p.zero_point,
                                   reinterpret_cast<int8_t*>(out), p.scale + row * p.scales,
                                   p.offset + row * p.sums, p.sum + row * p.sums);
      break;
  }
}

}  // namespace lanner
