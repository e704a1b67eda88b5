// SPDX-License-Identifier: Apache-2.0
#include "distributed/shm_communicator.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>

#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "distributed/message.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// A decode step's ranks come apart by some tens of microseconds.
constexpr std::chrono::microseconds kSpinTime{100};
constexpr int kSpinsWhenCrowded = 200;
// How often a sleeping rank looks whether the one it waits for still lives.
constexpr timespec kSleepTime{.tv_sec = 0, .tv_nsec = 200'000'000};
// Sums up to here are added up whole by every rank: a second meeting costs more than it saves.
constexpr int64_t kOneShotElements = 8192;
constexpr int64_t kElementsPerThread = 16384;
// Places that the parts of a small sum take in turn, of whole pages.
constexpr int64_t kPlaces = 64;
constexpr int64_t kPlaceElements = 1024;

enum class Operation : uint8_t { kSum = 1, kGather, kBroadcast, kBarrier };

const char* operation_name(uint64_t tag) {
  switch (static_cast<Operation>(tag >> 56)) {
    case Operation::kSum:
      return "a sum";
    case Operation::kGather:
      return "a gather";
    case Operation::kBroadcast:
      return "a broadcast";
    case Operation::kBarrier:
      return "a barrier";
  }
  return "something unknown";
}

long futex(std::atomic<uint32_t>& word, int operation, uint32_t value, const timespec* timeout) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation, value, timeout, nullptr,
                 0);
}

// y[i] += parts[0][i] + parts[1][i] + …, in this order.
void add_parts(std::span<const float* const> parts, int64_t begin, int64_t end, float* y) {
  if (parts.size() == 2) {
    const float* a = parts[0];
    const float* b = parts[1];
    for (int64_t i = begin; i < end; ++i) y[i] += a[i] + b[i];
    return;
  }
  for (int64_t i = begin; i < end; ++i) {
    float sum = parts[0][i];
    for (size_t p = 1; p < parts.size(); ++p) sum += parts[p][i];
    y[i] += sum;
  }
}

// Epochs count the meetings of the ranks. A rank writes what belongs to an epoch, then sets its own
// epoch to it: who sees the epoch sees what was written. There are two copies of all that is
// written, used by collectives in turn.
class ShmCommunicator final : public Communicator {
 public:
  ShmCommunicator(std::shared_ptr<ShmSegment> segment, const ShmOptions& options)
      : segment_(std::move(segment)), options_(options), size_(segment_->sizes().ranks) {
    check_argument(options.rank >= 0 && options.rank < size_, "[distributed] rank {} of {} ranks",
                   options.rank, size_);
    uint32_t absent = static_cast<uint32_t>(RankState::kAbsent);
    own().process_id = getpid();
    if (!own().state.compare_exchange_strong(absent, static_cast<uint32_t>(RankState::kPresent))) {
      throw_error(ErrorCode::kInvalidArgument, "[distributed] rank {} is there already",
                  options.rank);
    }
    process_.fill(-1);
  }

  ~ShmCommunicator() override {
    uint32_t present = static_cast<uint32_t>(RankState::kPresent);
    own().state.compare_exchange_strong(present, static_cast<uint32_t>(RankState::kLeft));
    wake(own());
    for (const int descriptor : process_) {
      if (descriptor >= 0) close(descriptor);
    }
  }

  int rank() const override { return options_.rank; }
  int size() const override { return size_; }
  const char* backend() const override { return "shm"; }
  CommunicatorStats stats() const override { return stats_; }

  PartialSum begin_sum(const Tensor& y) override {
    LANNER_CHECK(y.is_contiguous());
    check_argument(y.numel() <= segment_->sizes().sum_elements,
                   "[distributed] a sum of {} elements, the ranks' memory was made for {}",
                   y.numel(), segment_->sizes().sum_elements);
    wait_for_all();
    return {.values = Tensor(part(rank(), y.numel()), DType::kF32, y.shape()), .accumulate = false};
  }

  void finish_sum(const Tensor& y, ThreadPool& threads) override {
    const int64_t n = y.numel();
    std::array<const float*, kMaxShmRanks> pointers;
    for (int r = 0; r < size_; ++r) pointers[static_cast<size_t>(r)] = part(r, n);
    const std::span<const float* const> parts(pointers.data(), static_cast<size_t>(size_));
    meet(Operation::kSum, n);
    if (n <= kOneShotElements || size_ == 2) {
      add_whole(parts, n, y.data<float>(), threads);
    } else {
      add_by_shares(parts, n, y.data<float>(), threads);
    }
    ++collectives_;
    ++stats_.sums;
  }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    LANNER_CHECK(all.size() == mine.size() * static_cast<size_t>(size_));
    const size_t most = segment_->message(0, 0).size();
    for (size_t begin = 0; begin < mine.size(); begin += most) {
      const size_t bytes = std::min(most, mine.size() - begin);
      wait_for_all();
      std::memcpy(segment_->message(copy(), rank()).data(), mine.data() + begin, bytes);
      meet(Operation::kGather, static_cast<int64_t>(bytes));
      for (int r = 0; r < size_; ++r) {
        std::memcpy(all.data() + static_cast<size_t>(r) * mine.size() + begin,
                    segment_->message(copy(), r).data(), bytes);
      }
      ++collectives_;
    }
    stats_.gathered_bytes += mine.size() * static_cast<size_t>(size_ - 1);
  }

  std::vector<std::byte> broadcast(std::vector<std::byte> message) override {
    if (rank() == 0) {
      send(message);
    } else {
      message = receive();
    }
    stats_.broadcast_bytes += message.size();
    return message;
  }

  void barrier() override { meet(Operation::kBarrier, 0, /*has_limit=*/false); }

  void fail(const std::string& reason) noexcept override {
    ShmRank& self = own();
    if (self.state != static_cast<uint32_t>(RankState::kPresent)) return;
    const size_t length = std::min(reason.size(), sizeof(self.reason) - 1);
    std::memcpy(self.reason, reason.data(), length);
    self.reason[length] = '\0';
    self.state = static_cast<uint32_t>(RankState::kFailed);
    wake(self);
  }

 private:
  ShmRank& own() const { return segment_->rank(rank()); }
  // Which of the two copies of everything the present collective uses.
  int copy() const { return static_cast<int>(collectives_ & 1); }

  // Small sums take turns in the memory of the largest one: a line that the others have read lately
  // is still in their caches, and writing to it means to fetch it back from there.
  float* part(int r, int64_t n) const {
    const int64_t length = round_up(std::max<int64_t>(n, 1), kPlaceElements);
    const int64_t places = std::clamp<int64_t>(segment_->sizes().sum_elements / length, 1, kPlaces);
    const int64_t place = static_cast<int64_t>(collectives_ / 2) % places;
    return segment_->sums(copy(), r) + place * length;
  }

  static int64_t share_begin(int64_t n, int r, int size) { return n * r / size; }

  void add_whole(std::span<const float* const> parts, int64_t n, float* y, ThreadPool& threads) {
    threads.parallel_for(
        n, [&](int64_t begin, int64_t end) { add_parts(parts, begin, end, y); },
        kElementsPerThread);
    stats_.sum_bytes += static_cast<uint64_t>(4 * n * (size_ - 1));
  }

  // Each rank adds up its share of all parts, then all read the shares: two copies of the sum are
  // read however many ranks there are.
  void add_by_shares(std::span<const float* const> parts, int64_t n, float* y,
                     ThreadPool& threads) {
    const int64_t first = share_begin(n, rank(), size_);
    const int64_t length = share_begin(n, rank() + 1, size_) - first;
    // No other rank looks at this rank's share of its own part, so the sum may replace it.
    float* share = part(rank(), n) + first;
    threads.parallel_for(
        length,
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            float sum = parts[0][first + i];
            for (size_t r = 1; r < parts.size(); ++r) sum += parts[r][first + i];
            share[i] = sum;
          }
        },
        kElementsPerThread);
    meet(Operation::kSum, n);
    threads.parallel_for(
        n,
        [&](int64_t begin, int64_t end) {
          for (int r = 0; r < size_; ++r) {
            const float* sums = parts[static_cast<size_t>(r)];
            const int64_t last = std::min(end, share_begin(n, r + 1, size_));
            for (int64_t i = std::max(begin, share_begin(n, r, size_)); i < last; ++i) {
              y[i] += sums[i];
            }
          }
        },
        kElementsPerThread);
    stats_.sum_bytes += static_cast<uint64_t>(4 * (n - length + length * (size_ - 1)));
  }

  // All have posted the last epoch, hence read all of the collective before it: the copies they
  // read from may be written again.
  void wait_for_all(bool has_limit = true) {
    for (int r = 0; r < size_; ++r) wait_for(r, epoch_, has_limit);
  }

  static uint64_t tag(Operation operation, int64_t size) {
    return (static_cast<uint64_t>(operation) << 56) | static_cast<uint64_t>(size);
  }

  void post(Operation operation, int64_t size) {
    own().operation[(epoch_ + 1) & 1].store(tag(operation, size), std::memory_order_relaxed);
    ++epoch_;
    own().epoch.store(epoch_);
    wake(own());
  }

  // Every rank's part of the same collective is there.
  void meet(Operation operation, int64_t size, bool has_limit = true) {
    wait_for_all(has_limit);
    post(operation, size);
    wait_for_all(has_limit);
    for (int r = 0; r < size_; ++r) expect(r, operation, size);
  }

  // A rank may be one epoch ahead, but not two.
  void expect(int other, Operation operation, int64_t size) const {
    const uint64_t found =
        segment_->rank(other).operation[epoch_ & 1].load(std::memory_order_relaxed);
    if (found == tag(operation, size)) return;
    throw_error(ErrorCode::kIo,
                "[distributed] rank {} is in {} of size {}, rank {} in {} of size {}", other,
                operation_name(found), found & ((uint64_t{1} << 56) - 1), rank(),
                operation_name(tag(operation, size)), size);
  }

  void send(const std::vector<std::byte>& message) {
    const MessageHeader header = make_message_header(++messages_, message);
    size_t begin = 0;
    do {
      wait_for_all();
      const std::span<std::byte> slot = segment_->message(copy(), 0);
      const size_t bytes = std::min(slot.size() - sizeof(header), message.size() - begin);
      std::memcpy(slot.data(), &header, sizeof(header));
      std::copy_n(message.data() + begin, bytes, slot.data() + sizeof(header));
      post(Operation::kBroadcast, static_cast<int64_t>(bytes));
      ++collectives_;
      begin += bytes;
    } while (begin < message.size());
  }

  std::vector<std::byte> receive() {
    ++messages_;
    std::vector<std::byte> message;
    MessageHeader header;
    do {
      const bool is_first = message.empty();
      wait_for(0, epoch_ + 1, /*has_limit=*/!is_first);
      const std::span<std::byte> slot = segment_->message(copy(), 0);
      MessageHeader piece_header;
      std::memcpy(&piece_header, slot.data(), sizeof(piece_header));
      if (is_first) header = piece_header;
      check_message_header(piece_header, messages_);
      const size_t missing = header.bytes - message.size();
      const size_t bytes = std::min(slot.size() - sizeof(header), missing);
      const std::byte* data = slot.data() + sizeof(header);
      message.insert(message.end(), data, data + bytes);
      post(Operation::kBroadcast, static_cast<int64_t>(bytes));
      ++collectives_;
    } while (message.size() < header.bytes);
    check_message_body(header, message);
    return message;
  }

  static void wake(ShmRank& rank) {
    if (rank.sleepers.load() != 0) futex(rank.epoch, FUTEX_WAKE, INT_MAX, nullptr);
  }

  static bool has_reached(const ShmRank& rank, uint32_t epoch) {
    return static_cast<int32_t>(rank.epoch.load(std::memory_order_acquire) - epoch) >= 0;
  }

  void wait_for(int other, uint32_t epoch, bool has_limit) {
    ShmRank& peer = segment_->rank(other);
    if (has_reached(peer, epoch) || spin_for(peer, epoch)) return;
    const Clock::time_point begin = Clock::now();
    peer.sleepers.fetch_add(1);
    for (;;) {
      const uint32_t seen = peer.epoch.load();
      if (has_reached(peer, epoch)) break;
      try {
        expect_alive(peer, other, epoch);
        if (options_.on_sleep) options_.on_sleep();
        if (has_limit && Clock::now() - begin > options_.stall_time) {
          throw_error(
              ErrorCode::kIo,
              "[distributed] rank {} (process {}) has kept rank {} waiting for {} s", other,
              peer.process_id.load(), rank(),
              std::chrono::duration_cast<std::chrono::seconds>(options_.stall_time).count());
        }
      } catch (...) {
        peer.sleepers.fetch_sub(1);
        throw;
      }
      futex(peer.epoch, FUTEX_WAIT, seen, &kSleepTime);
    }
    peer.sleepers.fetch_sub(1);
  }

  bool spin_for(const ShmRank& peer, uint32_t epoch) const {
    if (!options_.has_cpu_for_each) {
      for (int i = 0; i < kSpinsWhenCrowded; ++i) {
        if (has_reached(peer, epoch)) return true;
        __builtin_ia32_pause();
      }
      return false;
    }
    const Clock::time_point deadline = Clock::now() + kSpinTime;
    do {
      for (int i = 0; i < 32; ++i) {
        if (has_reached(peer, epoch)) return true;
        __builtin_ia32_pause();
      }
    } while (Clock::now() < deadline);
    return false;
  }

  // Throws if the rank has failed, left or died. What it did before that still counts: a rank that
  // reached the epoch is not asked.
  void expect_alive(const ShmRank& peer, int other, uint32_t epoch) {
    const auto state = static_cast<RankState>(peer.state.load());
    if (state == RankState::kFailed) {
      const std::string reason(peer.reason, strnlen(peer.reason, sizeof(peer.reason)));
      throw_error(ErrorCode::kIo, "[distributed] rank {} has failed: {}", other, reason);
    }
    const bool is_gone =
        state == RankState::kLeft || (state == RankState::kPresent && has_died(peer, other));
    if (is_gone && !has_reached(peer, epoch)) {
      throw_error(ErrorCode::kIo, "[distributed] rank {} (process {}) has ended", other,
                  peer.process_id.load());
    }
  }

  // By a descriptor of the process, which no later process of the same number can take over.
  bool has_died(const ShmRank& peer, int other) {
    const int process_id = peer.process_id.load();
    if (process_id == getpid()) return false;
    int& descriptor = process_[static_cast<size_t>(other)];
    if (descriptor < 0) {
      descriptor = static_cast<int>(syscall(SYS_pidfd_open, process_id, 0));
      if (descriptor < 0) return errno == ESRCH;
    }
    pollfd poll_entry = {.fd = descriptor, .events = POLLIN, .revents = 0};
    return poll(&poll_entry, 1, 0) == 1;
  }

  std::shared_ptr<ShmSegment> segment_;
  const ShmOptions options_;
  const int size_;
  uint32_t epoch_ = 0;
  uint64_t collectives_ = 0;
  uint64_t messages_ = 0;
  std::array<int, kMaxShmRanks> process_;  // pidfds of the other ranks, once asked for
  CommunicatorStats stats_;
};

}  // namespace

std::unique_ptr<Communicator> make_shm_communicator(std::shared_ptr<ShmSegment> segment,
                                                    const ShmOptions& options) {
  return std::make_unique<ShmCommunicator>(std::move(segment), options);
}

}  // namespace lanner
