// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/embedding.h"

#include "base/error.h"
#include "kernels/convert/convert.h"

namespace lanner {
namespace {

// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 8192;

}  // namespace

void embedding(const Tensor& table, std::span<const int32_t> ids, const Tensor& y,
               ThreadPool& threads) {
  check_argument(table.shape().rank() == 2 && table.size(-1) > 0,
                 "[embedding] the table is {}, expected [vocab, hidden]", table.shape());
  const int64_t vocab = table.size(0);
  const int64_t hidden = table.size(1);
  const auto num_tokens = static_cast<int64_t>(ids.size());
  check_argument(y.dtype() == DType::kF32, "[embedding] y is {}, expected fp32", y.dtype());
  check_argument(y.shape() == Shape({num_tokens, hidden}), "[embedding] y is {}, expected [{}, {}]",
                 y.shape(), num_tokens, hidden);
  for (int32_t id : ids) {
    check_argument(id >= 0 && id < vocab, "[embedding] token id {} is outside the vocabulary of {}",
                   id, vocab);
  }

  const ConvertRowFn convert_row = select_convert(table.dtype(), DType::kF32);
  threads.parallel_for(
      num_tokens,
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          convert_row(table.raw_row(ids[static_cast<size_t>(t)]), hidden, y.row<float>(t));
        }
      },
      ceil_div(kMinElementsPerThread, hidden));
}

}  // namespace lanner
