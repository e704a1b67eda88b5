// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/kernels.h"

namespace lanner {

// Consecutive rows of a PackedWeight that share a group: one of its parts.
struct GemmSegment {
  const GemmKernel* kernel = nullptr;
  GemmLayout layout = {};
  int64_t n = 0;
  int64_t n_begin = 0;  // first row in the whole weight
  int64_t k_padded = 0;
  int64_t panels = 0;
  int64_t panel_begin = 0;  // first panel in the whole weight
  int64_t panel_bytes = 0;
  std::byte* data = nullptr;
  float* scale = nullptr;  // int8 per row: [panels * 16]
};

struct GemmPanelRange {
  int64_t begin;
  int64_t end;
};

// Told by the packing threads which bytes of a part they need no more, some MiB at a time.
using PackReader = std::function<void(const std::byte* begin, const std::byte* end)>;

// PackedWeight::pack for parts in mapped files, which need not stay in memory until all is packed.
PackedWeight pack_weight(std::span<const Tensor> parts, const GemmPackOptions& options,
                         const PackReader& on_read, ThreadPool& threads);

struct PackedWeight::Impl {
  std::vector<GemmSegment> segments;
  Buffer data;
  Buffer scales;
  int64_t n = 0;
  int64_t k = 0;
  int64_t panels = 0;
  std::string kernel_name;

  static PackedWeight pack(std::span<const Tensor> parts, const GemmPackOptions& options,
                           const PackReader& on_read, ThreadPool& threads);

  // The panels that thread `thread` of `num_threads` reads, all segments counted through: equal
  // bytes for all, the same at packing (first touch) and at multiplying.
  GemmPanelRange thread_panels(int thread, int num_threads) const;
};

}  // namespace lanner
