// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/buffer.h"
#include "base/isa.h"
#include "base/tensor.h"
#include "base/thread_pool.h"
#include "base/workspace.h"

namespace lanner {

struct GemmKernel;

// cpu_isa() without the features whose kernels are slower than those they would replace (bf16 on
// CPUs that multiply it no faster than fp32), and without AMX unless its kernels agree with those
// for AVX-512 here and now.
Isa gemm_isa();

struct GemmPackOptions {
  // Type to hold the weights in; unset: as they come.
  std::optional<DType> dtype;
  Isa isa = gemm_isa();
  // Instead of the best for `isa`, for comparisons; of the group that the weights are packed for.
  const GemmKernel* kernel = nullptr;
};

// A weight matrix [n, k] packed once at load for the kernels of one group, in the order they read
// it. Row-wise concatenation of its parts (Q, K and V; gate and up), which may differ in type.
class PackedWeight {
 public:
  // Each part [n_i, k], any of dtypes() but int32, int4, int4_asym; is_packing() ones as they are.
  // Throws Error(kInvalidArgument) when the parts' k differ, Error(kUnsupported) naming the type.
  static PackedWeight pack(std::span<const Tensor> parts, const GemmPackOptions& options,
                           ThreadPool& threads);

  PackedWeight();
  ~PackedWeight();
  PackedWeight(PackedWeight&&) noexcept;
  PackedWeight& operator=(PackedWeight&&) noexcept;

  int64_t n() const;
  int64_t k() const;
  int64_t bytes() const;  // packed
  // Of the kernels in use, e.g. "avx512_vnni.int4g32": for `lanner info`.
  const char* kernel_name() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// Bytes that pack() makes of one part [n, k] of type `source`, known without its data. Throws
// Error(kUnsupported) as pack() does.
int64_t packed_weight_bytes(int64_t n, int64_t k, DType source, std::optional<DType> dtype);

struct GemmOptions {
  const float* bias = nullptr;  // [n], added to every row
  bool accumulate = false;      // y += instead of y =: the residual
};

// y[m, n] = x[m, k] * w[n, k]^T (+ bias) (+ y).
//
//   x  [m, k]  fp32, any row stride
//   y  [m, n]  fp32, any row stride; must not overlap x
//
// fp32, fp16 and bf16 weights multiply in fp32 (bf16 x bf16 where the kernel says so); quantised
// ones with activations quantised to int8 per token, where the kernel says so. Accumulation is fp32
// or int32. A row's result does not depend on the other rows or on the number of threads. Throws
// Error(kInvalidArgument) when shapes do not match.
void gemm(const Tensor& x, const PackedWeight& w, const GemmOptions& options, const Tensor& y,
          Workspace& workspace, ThreadPool& threads);

}  // namespace lanner
