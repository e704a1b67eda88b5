// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/isa.h"
#include "kernels/machine_peak/machine_peak.h"

namespace lanner {

// Reads bytes [0, 8 * stream_bytes) in eight streams; stream_bytes is a multiple of 256. Returns a
// value that depends on all of them, so that no compiler leaves a load out.
using ReadFn = uint64_t (*)(const std::byte* data, int64_t stream_bytes);

struct ReadKernel {
  const char* name;
  Isa needs;
  ReadFn read;
};

// Runs `iterations` rounds of independent multiply-adds on registers; returns a value that depends
// on all of them.
using PeakFn = float (*)(int64_t iterations);

struct PeakKernel {
  const char* name;
  PeakType type;
  Isa needs;
  int64_t operations;  // of one round
  PeakFn run;
};

extern const ReadKernel kReadAvx512;
extern const ReadKernel kReadAvx2;
extern const ReadKernel kReadScalar;
extern const PeakKernel kPeakBf16Avx512;
extern const PeakKernel kPeakInt8Avx512Vnni;
extern const PeakKernel kPeakInt8AvxVnni;
extern const PeakKernel kPeakF32Avx512;
extern const PeakKernel kPeakF32Avx2;
extern const PeakKernel kPeakF32Scalar;

// Best first.
std::span<const ReadKernel* const> read_kernels();
std::span<const PeakKernel* const> peak_kernels();

const ReadKernel& select_read(Isa isa);
// Null where the CPU has no instruction for the type.
const PeakKernel* select_peak(PeakType type, Isa isa);

}  // namespace lanner
