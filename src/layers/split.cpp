// SPDX-License-Identifier: Apache-2.0
#include "layers/split.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {
namespace {

constexpr int64_t kUnit = 32;

// Values that are quantised together when a matrix is packed as `dtype`.
int64_t packing_group(DType dtype) {
  if (dtype == DType::kI8) return 32;
  return dtype_info(dtype).block_elements;
}

}  // namespace

Share share_of(int64_t count, int64_t unit, int rank, int size) {
  LANNER_CHECK(count >= 0 && unit > 0 && rank >= 0 && rank < size);
  const int64_t units = ceil_div(count, unit);
  const auto border = [&](int64_t r) { return std::min(ceil_div(units * r, size) * unit, count); };
  return {border(rank), border(rank + 1)};
}

Share share_of_mlp(int64_t intermediate, int rank, int size) {
  int64_t unit = kUnit;
  while (unit > 1 && intermediate < unit * size) unit /= 2;
  return share_of(intermediate, unit, rank, size);
}

Share share_of_vocab(int64_t vocab_size, int rank, int size) {
  return share_of(vocab_size, kUnit, rank, size);
}

HeadShare share_of_heads(int num_heads, int num_kv_heads, int rank, int size) {
  LANNER_CHECK(num_kv_heads > 0 && num_heads % num_kv_heads == 0);
  const int group = num_heads / num_kv_heads;
  HeadShare share;
  if (size <= num_kv_heads) {
    const Share kv = share_of(num_kv_heads, 1, rank, size);
    share.kv_begin = static_cast<int>(kv.begin);
    share.num_kv_heads = static_cast<int>(kv.size());
    share.head_begin = share.kv_begin * group;
    share.num_heads = share.num_kv_heads * group;
    return share;
  }
  // The ranks that share this rank's KV head.
  const int kv = static_cast<int>(int64_t{rank} * num_kv_heads / size);
  const auto first = static_cast<int>(ceil_div(int64_t{kv} * size, int64_t{num_kv_heads}));
  const auto last = static_cast<int>(ceil_div(int64_t{kv + 1} * size, int64_t{num_kv_heads}));
  const Share heads = share_of(group, 1, rank - first, last - first);
  share.kv_begin = kv;
  share.head_begin = kv * group + static_cast<int>(heads.begin);
  share.num_heads = static_cast<int>(heads.size());
  share.num_kv_heads = heads.empty() ? 0 : 1;
  share.counts_kv = rank == first;
  return share;
}

int most_kv_heads(int num_kv_heads, int size) {
  return static_cast<int>(ceil_div(int64_t{num_kv_heads}, int64_t{size}));
}

Share whole_groups(const Share& inputs, int64_t in_features, DType stored,
                   std::optional<DType> packed) {
  if (inputs.empty()) return inputs;
  // All of them powers of two: the larger holds whole ones of the smaller.
  const int64_t group =
      std::max<int64_t>(dtype_info(stored).block_elements, packing_group(packed.value_or(stored)));
  return {inputs.begin / group * group, std::min(round_up(inputs.end, group), in_features)};
}

}  // namespace lanner
