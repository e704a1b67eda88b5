// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "weights/checkpoint.h"

namespace lanner {

// A matrix [n, k] of four-bit values: value = scale * (q - zero) of the group that a k is in.
struct Int4Matrix {
  int64_t n = 0;
  int64_t k = 0;
  int64_t num_groups = 0;
  std::vector<uint32_t> words;   // [n, k / 8]: eight q, the first in the low bits
  std::vector<uint16_t> scales;  // [n, num_groups] fp16
  std::vector<uint8_t> zeros;    // [n, num_groups], 0 to 16
  std::vector<int32_t> groups;   // [k] in [0, num_groups), or empty: runs of equal length
};

// The same as a tensor that a layer packs. Groups of a multiple of 32 values become, exactly, q4_0
// blocks where every zero is 8; else q4_1 blocks, whose minimum is -scale * zero rounded to fp16.
// With `groups` (act-order) the values do not lie in runs: fp16, as the published kernels compute
// them.
CheckpointTensor to_tensor(const Int4Matrix& matrix);

// What is known of the matrices before they are read.
struct Int4Format {
  // Endings of a module's tensors; that of the values says that a module is quantised.
  std::vector<std::string> parts = {".qweight", ".qzeros", ".scales", ".g_idx"};
  DType dtype = DType::kQ4_1;  // that to_tensor() will give, for plans of the memory
  // [n, k] of a module, from the shape of its qweight.
  std::function<std::vector<int64_t>(const std::vector<int64_t>& qweight)> shape;
  // The matrix of a module, by its name without an ending.
  std::function<Int4Matrix(const Checkpoint& files, const std::string& module)> read;
};

// A checkpoint with quantised modules as one with their weights: x.weight stands for x.qweight and
// its other parts.
std::unique_ptr<Checkpoint> make_int4_checkpoint(std::unique_ptr<Checkpoint> files,
                                                 Int4Format format);

// A part of a module as int32 [rows, columns]. Throws Error(kCorruptFile) naming the tensor for
// another type or shape.
CheckpointTensor int32_part(const Checkpoint& files, const std::string& name, int64_t rows,
                            int64_t columns);
// fp16 scales [groups, n] of a module as [n, groups]. Throws Error(kUnsupported) for another type,
// Error(kCorruptFile) for another shape.
std::vector<uint16_t> transposed_scales(const Checkpoint& files, const std::string& name,
                                        int64_t groups, int64_t n);
// The number of groups of k values. Throws Error(kUnsupported) for groups that blocks of 32 cannot
// hold.
int64_t count_groups(const std::string& module, int64_t k, int64_t group_size);

}  // namespace lanner
