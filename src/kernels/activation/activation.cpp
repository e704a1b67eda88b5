// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/activation.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "kernels/activation/kernels.h"

namespace lanner {
namespace {

// What ACT2FN calls the same function. Names of other functions (quick_gelu, gelu_10, relu6,
// …) are unknown on purpose.
constexpr std::array<ActivationName, 11> kNames = {{
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"gelu", Activation::kGelu},
    {"gelu_python", Activation::kGelu},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
    {"gelu_accurate", Activation::kGeluTanh},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_python_tanh", Activation::kGeluTanh},
    {"relu", Activation::kRelu},
    {"relu2", Activation::kRelu2},
}};

// A piece of a row that one thread takes; a single token is spread over the threads too.
constexpr int64_t kPiece = 2048;
// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 4096;

void check(const Tensor& x, const char* name, const Tensor& y) {
  check_argument(y.shape() == x.shape() && x.shape().rank() > 0,
                 "[activation] y is {}, {} is {}, expected the same", y.shape(), name, x.shape());
  check_argument(x.dtype() == DType::kF32 && y.dtype() == DType::kF32,
                 "[activation] {} and y are {} and {}, expected fp32", name, x.dtype(), y.dtype());
}

// task(row, first, count) over pieces of all rows.
template <typename Task>
void for_each_piece(const Tensor& x, ThreadPool& threads, Task task) {
  const int64_t size = x.size(-1);
  const int64_t pieces = std::max<int64_t>(1, ceil_div(size, kPiece));
  const int64_t elements = std::max<int64_t>(1, std::min(size, kPiece));
  threads.parallel_for(
      x.num_rows() * pieces,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t first = i % pieces * kPiece;
          task(i / pieces, first, std::min(kPiece, size - first));
        }
      },
      ceil_div(kMinElementsPerThread, elements));
}

}  // namespace

std::span<const ActivationName> activation_names() { return kNames; }

std::optional<Activation> parse_activation(std::string_view hf_name) {
  for (const ActivationName& known : kNames) {
    if (hf_name == known.name) return known.activation;
  }
  return std::nullopt;
}

std::span<const ActivationKernel* const> activation_kernels() {
  static constexpr const ActivationKernel* kKernels[] = {
      &kActivationAvx512,
      &kActivationAvx2,
      &kActivationScalar,
  };
  return kKernels;
}

const ActivationKernel& select_activation(Isa isa) {
  for (const ActivationKernel* kernel : activation_kernels()) {
    if (isa.has(kernel->needs)) return *kernel;
  }
  return kActivationScalar;
}

void activation(Activation kind, const Tensor& x, const Tensor& y, ThreadPool& threads) {
  check(x, "x", y);
  const ActivationFn kernel = select_activation().plain[static_cast<size_t>(kind)];
  for_each_piece(x, threads, [&](int64_t row, int64_t first, int64_t count) {
    kernel(x.row<float>(row) + first, count, y.row<float>(row) + first);
  });
}

void gated_activation(Activation kind, const Tensor& gate, const Tensor& up, const Tensor& y,
                      ThreadPool& threads) {
  check(gate, "gate", y);
  check(up, "up", y);
  const GatedActivationFn kernel = select_activation().gated[static_cast<size_t>(kind)];
  for_each_piece(gate, threads, [&](int64_t row, int64_t first, int64_t count) {
    kernel(gate.row<float>(row) + first, up.row<float>(row) + first, count,
           y.row<float>(row) + first);
  });
}

}  // namespace lanner
