// SPDX-License-Identifier: Apache-2.0
// oneDNN's matrix product, for comparison only: part of gemm_bench where LANNER_WITH_ONEDNN is on.
#pragma once

#include <cstdint>
#include <memory>

namespace lanner {

// y[m, n] = x[m, k] * w[n, k]^T on oneDNN's own (OpenMP) threads, with the weights in the order
// that oneDNN likes best and values of no meaning.
class OneDnnMatmul {
 public:
  enum class Type { kF32, kBf16, kInt8 };  // of weights; x is fp32, bf16 or uint8

  OneDnnMatmul(Type type, int64_t m, int64_t n, int64_t k);
  ~OneDnnMatmul();
  OneDnnMatmul(OneDnnMatmul&&) noexcept;

  void run() const;
  int64_t weight_bytes() const;
  // E.g. "brg:avx512_core_vnni".
  const char* implementation() const;
  // oneDNN falls back to loops that take a thousand times as long: no comparison.
  bool is_reference() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lanner
