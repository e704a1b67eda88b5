// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <algorithm>
#include <limits>

#include <sys/resource.h>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {
namespace {

// A context below this is no use to anybody: rather refuse than run out at once.
constexpr int kSmallestContext = 256;
// Activations, scratch, RoPE tables, tokenizer and allocator overhead.
constexpr int64_t kReserveBytes = int64_t{256} << 20;
// Far above any machine, far below an overflow.
constexpr int64_t kEndless = int64_t{1} << 60;

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// a * b for sizes that are cut down anyway; a, b >= 0.
int64_t mul_at_most_endless(int64_t a, int64_t b) {
  return b != 0 && a > kEndless / b ? kEndless : a * b;
}

}  // namespace

MemoryPlan plan_memory(const MemoryRequest& request) {
  check_argument(request.requested_context <= request.model_max_context,
                 "max_context {} is longer than the model's context of {} tokens",
                 request.requested_context, request.model_max_context);
  const auto bytes_of = [&](int64_t tokens) {
    return mul_at_most_endless(ceil_div(tokens, request.block_size), request.kv_bytes_per_block);
  };
  const int wanted_context =
      request.requested_context > 0 ? request.requested_context : request.model_max_context;
  const int needed_context = request.requested_context > 0
                                 ? request.requested_context
                                 : std::min(kSmallestContext, request.model_max_context);
  const int64_t available = request.available_bytes > 0 ? request.available_bytes : kEndless;
  const int64_t left = available - request.weight_bytes - kReserveBytes;

  int64_t budget = request.requested_kv_bytes;
  if (budget == 0) {
    const int64_t all = mul_at_most_endless(bytes_of(wanted_context), request.max_sequences);
    budget = std::min(all, std::max(left / 2, bytes_of(needed_context)));
  }
  MemoryPlan plan;
  plan.available_bytes = request.available_bytes;
  plan.weight_bytes = request.weight_bytes;
  plan.kv_bytes_per_token = ceil_div(request.kv_bytes_per_block, request.block_size);
  plan.num_blocks =
      std::min<int64_t>(budget / request.kv_bytes_per_block, std::numeric_limits<int32_t>::max());
  plan.kv_bytes = plan.num_blocks * request.kv_bytes_per_block;
  const int64_t fitting = plan.num_blocks * request.block_size;
  plan.max_context = static_cast<int>(std::min<int64_t>(wanted_context, fitting));

  check_argument(plan.num_blocks > 0 && plan.max_context >= request.requested_context,
                 "a KV cache of {:.1f} MiB holds {} tokens; {} tokens need {:.1f} MiB", mib(budget),
                 fitting, std::max(request.requested_context, 1),
                 mib(bytes_of(std::max(request.requested_context, 1))));
  if (plan.kv_bytes > left) {
    throw_error(ErrorCode::kResourceExhausted,
                "the model does not fit: weights {:.0f} MiB + KV cache {:.0f} MiB ({} tokens) + "
                "{:.0f} MiB for computing > {:.0f} MiB available; a smaller max_context, kv_dtype "
                "or dtype needs less",
                mib(request.weight_bytes), mib(plan.kv_bytes), fitting, mib(kReserveBytes),
                mib(available));
  }
  return plan;
}

int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace lanner
