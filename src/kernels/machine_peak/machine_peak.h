// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/isa.h"
#include "base/thread_pool.h"

namespace lanner {

// What this machine can do at best: the limits that every benchmark figure is a share of. Measured,
// not looked up: clock, sharing and virtual machines decide.

// Arithmetic of GEMM kernels.
enum class PeakType { kF32, kBf16, kInt8 };

// Read bandwidth in bytes per second: every thread reads its own part of `bytes` bytes in eight
// streams side by side (one stream leaves a quarter of the bandwidth unused). The best of several
// passes.
double measure_read_bandwidth(int64_t bytes, ThreadPool& threads, Isa isa = cpu_isa());

// Operations per second of multiply-adds on registers, all threads together; a multiply-add counts
// as two. fp32: FMA; bf16: VDPBF16PS; int8: VPDPBUSD. The best of several passes; nothing where the
// CPU has no instruction for the type.
std::optional<double> measure_peak(PeakType type, ThreadPool& threads, Isa isa = cpu_isa());

// Median seconds of a parallel region that does nothing.
double measure_empty_region(ThreadPool& threads);

}  // namespace lanner
