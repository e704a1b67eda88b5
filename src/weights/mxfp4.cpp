// SPDX-License-Identifier: Apache-2.0
#include "weights/mxfp4.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/buffer.h"
#include "base/error.h"
#include "base/float16.h"

namespace lanner {
namespace {

constexpr int64_t kBlockBytes = 16;
// Twice the value of each e2m1 number: sign, two bits of exponent, one of mantissa.
constexpr int8_t kTwice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
// Exponents e for which 2^(e - 127) / 2 is a power of two that fp16 has.
constexpr int kSmallestExponent = 127 + 1 - 24;
constexpr int kLargestExponent = 127 + 1 + 15;

bool is_zero(const uint8_t* block) {
  for (int i = 0; i < kBlockBytes; ++i) {
    if ((block[i] & 0x77) != 0) return false;
  }
  return true;
}

// Writes a block of q8_0 for the elements `twice`, each 2^(exponent - 127) / 2. Returns whether
// fp16 holds that.
bool write_q8_0(const int8_t* twice, int exponent, std::byte* out) {
  const uint16_t scale = fp32_to_fp16(std::ldexp(0.5f, exponent - 127));
  std::memcpy(out, &scale, sizeof scale);
  std::memcpy(out + sizeof scale, twice, kMxfp4Elements);
  return exponent >= kSmallestExponent && exponent <= kLargestExponent;
}
constexpr int64_t kQ8Bytes = 2 + kMxfp4Elements;

[[noreturn]] void refuse_scale(const std::string& name, int exponent) {
  throw_error(ErrorCode::kUnsupported,
              "tensor '{}': an MXFP4 scale of 2^{} is outside of what fp16 holds; convert the "
              "weights to bf16",
              name, exponent - 127);
}

}  // namespace

CheckpointTensor mxfp4_to_q8_0(const Tensor& values, const Tensor& scales, const std::string& name,
                               ThreadPool& threads) {
  const int64_t blocks = scales.size(-1);
  const int64_t rows = scales.num_rows();
  check_argument(values.dtype() == DType::kU8 && scales.dtype() == DType::kU8 &&
                     values.shape().rank() >= 3 && values.size(-1) == kBlockBytes &&
                     values.size(-2) == blocks && values.numel() == rows * blocks * kBlockBytes,
                 "tensor '{}': MXFP4 values {} {} and scales {} {} do not fit", name,
                 values.dtype(), values.shape(), scales.dtype(), scales.shape());
  const int64_t columns = blocks * kMxfp4Elements;
  auto memory =
      std::make_shared<Buffer>(static_cast<size_t>(rows * dtype_bytes(DType::kQ8_0, columns)));
  const Tensor result(memory->data(), DType::kQ8_0, Shape{rows, columns});
  std::atomic<int> refused{-1};
  threads.parallel_for(rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const uint8_t* exponents = scales.row<const uint8_t>(row);
      const uint8_t* block = values.data<const uint8_t>() + row * blocks * kBlockBytes;
      std::byte* out = result.raw_row(row);
      for (int64_t b = 0; b < blocks; ++b, block += kBlockBytes) {
        int exponent = exponents[b];
        if (is_zero(block)) exponent = 127;
        int8_t q[kMxfp4Elements];
        for (int i = 0; i < kBlockBytes; ++i) {
          q[2 * i] = kTwice[block[i] & 15];
          q[2 * i + 1] = kTwice[block[i] >> 4];
        }
        if (!write_q8_0(q, exponent, out)) refused = exponent;
        out += kQ8Bytes;
      }
    }
  });
  if (refused >= 0) refuse_scale(name, refused);
  return {result, memory};
}

CheckpointTensor ggml_mxfp4_to_q8_0(const uint8_t* blocks, const Shape& shape,
                                    const std::string& name) {
  const int64_t count = shape.numel() / kMxfp4Elements;
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(count * kQ8Bytes));
  std::byte* out = memory->data();
  for (int64_t b = 0; b < count; ++b, blocks += 1 + kBlockBytes, out += kQ8Bytes) {
    const int exponent = is_zero(blocks + 1) ? 127 : blocks[0];
    int8_t q[kMxfp4Elements];
    for (int i = 0; i < kBlockBytes; ++i) {
      q[i] = kTwice[blocks[1 + i] & 15];
      q[kBlockBytes + i] = kTwice[blocks[1 + i] >> 4];
    }
    if (!write_q8_0(q, exponent, out)) refuse_scale(name, exponent);
  }
  std::byte* data = memory->data();
  return {Tensor(data, DType::kQ8_0, shape), std::move(memory)};
}

}  // namespace lanner
