// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {
namespace {

// A context below this is no use to anybody: rather refuse than run out at once.
constexpr int kSmallestContext = 256;
// Activations, scratch, tokenizer and allocator overhead.
constexpr int64_t kReserveBytes = int64_t{256} << 20;

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

int64_t blocks_of(int64_t tokens, int block_size) { return ceil_div(tokens, block_size); }

// A number from a cgroup file; nothing there, or "max", is no limit.
int64_t read_limit(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : std::numeric_limits<int64_t>::max();
}

int64_t cgroup_memory_left() {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  struct Files {
    const char* limit;
    const char* used;
  };
  for (const Files files : {Files{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
                            Files{"/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                  "/sys/fs/cgroup/memory/memory.usage_in_bytes"}}) {
    const int64_t limit = read_limit(files.limit);
    const int64_t used = read_limit(files.used);
    if (limit != kNone && used != kNone) return std::max<int64_t>(limit - used, 0);
  }
  return kNone;
}

}  // namespace

MemoryPlan plan_memory(const MemoryRequest& request) {
  check_argument(request.requested_context <= request.model_max_context,
                 "max_context {} is longer than the model's context of {} tokens",
                 request.requested_context, request.model_max_context);
  MemoryPlan plan;
  plan.available_bytes = request.available_bytes;
  plan.weight_bytes = request.weight_bytes;
  plan.kv_bytes_per_token = request.kv_bytes_per_block / request.block_size;
  const int wanted_context =
      request.requested_context > 0 ? request.requested_context : request.model_max_context;
  const int64_t left = request.available_bytes - request.weight_bytes - kReserveBytes;

  int64_t budget = request.requested_kv_bytes;
  if (budget == 0) {
    const int64_t one_sequence = checked_mul(blocks_of(wanted_context, request.block_size),
                                             request.kv_bytes_per_block, "KV cache size");
    const int64_t all = checked_mul<int64_t>(one_sequence, request.max_sequences, "KV cache size");
    budget = std::min(all, std::max(left / 2, std::min(one_sequence, left)));
  }
  plan.num_blocks = std::max<int64_t>(budget, 0) / request.kv_bytes_per_block;
  plan.kv_bytes = plan.num_blocks * request.kv_bytes_per_block;
  const int64_t fitting = plan.num_blocks * request.block_size;
  plan.max_context = static_cast<int>(std::min<int64_t>(wanted_context, fitting));

  const int needed_context = request.requested_context > 0
                                 ? request.requested_context
                                 : std::min(kSmallestContext, request.model_max_context);
  const int64_t needed_kv = blocks_of(needed_context, request.block_size) * request.kv_bytes_per_block;
  if (plan.max_context < needed_context || plan.kv_bytes > left) {
    throw_error(ErrorCode::kResourceExhausted,
                "the model does not fit: weights {:.0f} MiB + KV cache {:.0f} MiB ({} tokens) + "
                "{:.0f} MiB for computing > {:.0f} MiB available; a smaller --max-context, "
                "--kv-dtype or --dtype needs less",
                mib(request.weight_bytes), mib(std::max(needed_kv, plan.kv_bytes)), needed_context,
                mib(kReserveBytes), mib(request.available_bytes));
  }
  return plan;
}

int64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  int64_t available = std::numeric_limits<int64_t>::max();
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") available = kib * 1024;
  }
  return std::min(available, cgroup_memory_left());
}

int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace lanner
