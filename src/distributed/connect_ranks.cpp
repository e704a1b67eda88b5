// SPDX-License-Identifier: Apache-2.0
#include "distributed/connect_ranks.h"

#include <algorithm>
#include <limits>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/log.h"
#include "distributed/oneccl_communicator.h"
#include "distributed/shm_communicator.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSmallestMeasured = 1024;  // elements
constexpr int kWarmUps = 3;
constexpr int kRuns = 15;

class FasterCommunicator final : public Communicator {
 public:
  FasterCommunicator(std::unique_ptr<Communicator> first, std::unique_ptr<Communicator> second,
                     int64_t crossover)
      : first_(std::move(first)),
        second_(std::move(second)),
        crossover_(crossover),
        before_(sent()) {}

  int rank() const override { return first_->rank(); }
  int size() const override { return first_->size(); }
  const char* backend() const override {
    return second_ == nullptr ? first_->backend() : "shm+oneccl";
  }

  PartialSum begin_sum(const Tensor& y) override { return of(y).begin_sum(y); }
  void finish_sum(const Tensor& y, ThreadPool& threads) override { of(y).finish_sum(y, threads); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    first_->all_gather(mine, all);
  }
  std::vector<std::byte> broadcast(std::vector<std::byte> message) override {
    return first_->broadcast(std::move(message));
  }
  void barrier() override { first_->barrier(); }
  void fail(const std::string& reason) noexcept override {
    first_->fail(reason);
    if (second_ != nullptr) second_->fail(reason);
  }

  CommunicatorStats stats() const override {
    const CommunicatorStats now = sent();
    return {.sums = now.sums - before_.sums,
            .sum_bytes = now.sum_bytes - before_.sum_bytes,
            .sum_bytes_copied = now.sum_bytes_copied - before_.sum_bytes_copied,
            .gathered_bytes = now.gathered_bytes - before_.gathered_bytes,
            .broadcast_bytes = now.broadcast_bytes - before_.broadcast_bytes};
  }

 private:
  CommunicatorStats sent() const {
    const CommunicatorStats a = first_->stats();
    const CommunicatorStats b = second_ == nullptr ? CommunicatorStats{} : second_->stats();
    return {.sums = a.sums + b.sums,
            .sum_bytes = a.sum_bytes + b.sum_bytes,
            .sum_bytes_copied = a.sum_bytes_copied + b.sum_bytes_copied,
            .gathered_bytes = a.gathered_bytes + b.gathered_bytes,
            .broadcast_bytes = a.broadcast_bytes + b.broadcast_bytes};
  }

  Communicator& of(const Tensor& y) {
    return second_ == nullptr || y.numel() < crossover_ ? *first_ : *second_;
  }

  std::unique_ptr<Communicator> first_, second_;
  const int64_t crossover_;
  const CommunicatorStats before_;  // of the measurement that chose
};

std::unique_ptr<Communicator> connect_shm(const std::shared_ptr<Rendezvous>& rendezvous,
                                          const ConnectOptions& options) {
  // The segment has no name: the others find it among rank 0's descriptors.
  std::shared_ptr<ShmSegment> segment;
  std::string place;
  if (rendezvous->rank() == 0) {
    segment = ShmSegment::create({.ranks = rendezvous->size(),
                                  .sum_elements = options.sum_elements,
                                  .message_bytes = options.message_bytes});
    place = fmt::format("/proc/{}/fd/{}", getpid(), segment->descriptor());
  }
  place = rendezvous->exchange(place).front();
  std::string problem;
  if (rendezvous->rank() != 0) {
    const int descriptor = open(place.c_str(), O_RDWR | O_CLOEXEC);
    try {
      segment = ShmSegment::map(descriptor);
    } catch (const Error& error) {
      problem = fmt::format("{} ({})", error.what(), place);
    }
    if (descriptor >= 0) close(descriptor);
  }
  const std::vector<std::string> problems = rendezvous->exchange(problem);
  for (size_t r = 0; r < problems.size(); ++r) {
    if (problems[r].empty()) continue;
    throw_error(ErrorCode::kUnsupported,
                "[distributed] rank {} cannot share memory with rank 0: {}", r, problems[r]);
  }
  return make_shm_communicator(std::move(segment),
                               {.rank = rendezvous->rank(),
                                .stall_time = options.stall_time,
                                .has_cpu_for_each = options.has_cpu_for_each,
                                .on_sleep = [rendezvous] { rendezvous->throw_if_failed(); }});
}

std::unique_ptr<Communicator> connect_oneccl(const std::shared_ptr<Rendezvous>& rendezvous,
                                             const ConnectOptions& options) {
  return make_oneccl_communicator(rendezvous, {.plugin = options.oneccl_plugin,
                                               .sum_elements = options.sum_elements,
                                               .wire = options.wire,
                                               .stall_time = options.stall_time,
                                               .has_cpu_for_each = options.has_cpu_for_each});
}

// Ranks of one host, which can do without: nothing if oneCCL cannot be used on one of them.
std::unique_ptr<Communicator> try_oneccl(const std::shared_ptr<Rendezvous>& rendezvous,
                                         const ConnectOptions& options) {
  std::unique_ptr<Communicator> oneccl;
  std::string problem;
  try {
    oneccl = connect_oneccl(rendezvous, options);
  } catch (const Error& error) {
    problem = error.what();
  }
  for (const std::string& other : rendezvous->exchange(problem)) {
    if (other.empty()) continue;
    log_info("[distributed] the ranks share memory alone: {}", other);
    return nullptr;
  }
  return oneccl;
}

double median_seconds(Communicator& communicator, const Tensor& y, ThreadPool& threads) {
  std::vector<double> times;
  for (int i = 0; i < kWarmUps + kRuns; ++i) {
    const Clock::time_point start = Clock::now();
    const PartialSum part = communicator.begin_sum(y);
    // Written as a GEMM would: the others' copies of the cache lines are of no use any more.
    std::fill_n(part.values.data<float>(), y.numel(), 0.0f);
    communicator.finish_sum(y, threads);
    if (i < kWarmUps) continue;
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::ranges::nth_element(times, times.begin() + kRuns / 2);
  return times[kRuns / 2];
}

}  // namespace

int64_t measure_crossover(Communicator& first, Communicator& second, int64_t max_elements,
                          ThreadPool& threads) {
  const Buffer buffer(static_cast<size_t>(max_elements) * sizeof(float));
  std::vector<int64_t> sizes;
  for (int64_t n = std::min(kSmallestMeasured, max_elements); n < max_elements; n *= 4) {
    sizes.push_back(n);
  }
  sizes.push_back(max_elements);
  int64_t crossover = std::numeric_limits<int64_t>::max();
  for (size_t i = sizes.size(); i-- > 0;) {
    const Tensor y(buffer.data(), DType::kF32, Shape{sizes[i]});
    const double by_first = median_seconds(first, y, threads);
    const double by_second = median_seconds(second, y, threads);
    // Rank 0's clock decides for all.
    std::vector<std::byte> is_faster = {std::byte{by_second < by_first}};
    is_faster = first.broadcast(std::move(is_faster));
    if (is_faster.front() == std::byte{0}) break;
    crossover = sizes[i];
  }
  return crossover;
}

std::unique_ptr<Communicator> make_faster_communicator(std::unique_ptr<Communicator> first,
                                                       std::unique_ptr<Communicator> second,
                                                       int64_t crossover) {
  return std::make_unique<FasterCommunicator>(std::move(first), std::move(second), crossover);
}

std::unique_ptr<Communicator> connect_ranks(std::shared_ptr<Rendezvous> rendezvous,
                                            const ConnectOptions& options, ThreadPool& threads) {
  const bool is_known =
      options.backend == "auto" ||
      std::ranges::find(kCommunicatorBackends, options.backend) != std::end(kCommunicatorBackends);
  check_argument(is_known, "[distributed] the backend is '{}'; there are: auto, {}",
                 options.backend, fmt::join(kCommunicatorBackends, ", "));
  rendezvous->agree("size of the ranks' sums",
                    fmt::format("{} elements, {}", options.sum_elements, options.backend));
  const bool is_one_host = rendezvous->is_one_host();
  if (options.backend == "oneccl" || (options.backend == "auto" && !is_one_host)) {
    return connect_oneccl(rendezvous, options);
  }
  if (!is_one_host) {
    throw_error(ErrorCode::kUnsupported,
                "[distributed] the ranks are on several hosts, which share no memory");
  }
  std::unique_ptr<Communicator> shm;
  try {
    shm = connect_shm(rendezvous, options);
  } catch (const Error& error) {
    // Containers of one machine that share its name. All ranks come here, or none does.
    if (options.backend == "shm" || error.code() != ErrorCode::kUnsupported) throw;
    log_info("{}", error.what());
    return connect_oneccl(rendezvous, options);
  }
  if (options.backend == "shm" || !options.has_cpu_for_each) return shm;
  auto oneccl = try_oneccl(rendezvous, options);
  if (oneccl == nullptr) return shm;
  const int64_t crossover = measure_crossover(*shm, *oneccl, options.sum_elements, threads);
  if (crossover > options.sum_elements) {
    log_info("[distributed] shared memory is faster than oneCCL for every sum");
    oneccl.reset();
  } else {
    log_info("[distributed] oneCCL is faster than shared memory from {} bytes on", crossover * 4);
  }
  return make_faster_communicator(std::move(shm), std::move(oneccl), crossover);
}

}  // namespace lanner
