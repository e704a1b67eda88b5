// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <exception>
#include <system_error>
#include <thread>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/log.h"
#include "base/topology.h"

namespace lanner {
namespace {

// Longer than the gap between two regions of a decode step, far shorter than a scheduler tick: with
// more runnable threads than CPUs a spinner burns the time slice of the thread it waits for.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kPausesBetweenClockReads = 16;

void pause_cpu() { __builtin_ia32_pause(); }

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "a futex is the word itself");

// A number that threads wait for: they spin, then sleep on a futex. std::atomic::wait would do, but
// its sleepers share a table with every other atomic of the process, and it spins by its own rules.
//
// No wake-up is lost: a waiter counts itself before it looks at the value for the last time, a
// notifier changes the value before it looks at the count, all in one order (seq_cst); and the
// futex call itself refuses to sleep on a value that has changed.
class alignas(64) WaitWord {
 public:
  uint32_t load() const { return value_.load(std::memory_order_acquire); }
  void set_before_anyone_waits(uint32_t value) { value_.store(value, std::memory_order_relaxed); }

  // Change the value; return what it was.
  uint32_t add(uint32_t amount) { return value_.fetch_add(amount); }
  uint32_t subtract(uint32_t amount) { return value_.fetch_sub(amount); }
  // After a change that someone may wait for: a system call only if someone sleeps.
  void wake_all() {
    if (sleepers_.load() != 0) futex(FUTEX_WAKE_PRIVATE, INT_MAX);
  }

  // Returns once done(value). Spins while may_spin().
  template <typename Done, typename MaySpin>
  void wait_until(Done done, MaySpin may_spin) {
    if (done(load()) || spin_until(done, may_spin)) return;
    sleepers_.fetch_add(1);
    for (;;) {
      const uint32_t value = value_.load();
      if (done(value)) break;
      futex(FUTEX_WAIT_PRIVATE, value);
    }
    sleepers_.fetch_sub(1);
  }

 private:
  template <typename Done, typename MaySpin>
  bool spin_until(Done done, MaySpin may_spin) const {
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    while (may_spin()) {
      for (int i = 0; i < kPausesBetweenClockReads; ++i) {
        if (done(load())) return true;
        pause_cpu();
      }
      if (std::chrono::steady_clock::now() >= deadline) return false;
    }
    return false;
  }

  void futex(int operation, uint32_t argument) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&value_), operation, argument, nullptr, nullptr,
            0);
  }

  std::atomic<uint32_t> value_{0};
  std::atomic<uint32_t> sleepers_{0};
};

// Whether the threads can all run at once. Pinned ones are counted by their own CPUs: the caller's
// affinity mask says nothing of them once it is pinned itself.
bool has_one_each(std::vector<int> cpus) {
  if (std::ranges::find(cpus, -1) != cpus.end()) return cpus.size() <= affinity_mask().size();
  std::ranges::sort(cpus);
  return std::ranges::adjacent_find(cpus) == cpus.end();
}

// Where a thread of the pool was last seen.
struct alignas(64) LastCpu {
  std::atomic<int> cpu{-1};
};

// Thrown by barrier() where a thread that failed will never come. Caught by the pool: the failure
// itself is what the caller sees.
struct BarrierBroken {};

}  // namespace

void pin_this_thread(int cpu) {
  if (cpu < 0) return;
  cpu_set_t sets[8] = {};  // the kernel's bound: 8192 CPUs
  CPU_SET_S(static_cast<size_t>(cpu), sizeof(sets), sets);
  if (pthread_setaffinity_np(pthread_self(), sizeof(sets), sets) != 0) {
    log_warn("cannot pin a compute thread to CPU {}", cpu);
  }
}

struct ThreadPool::Impl {
  using Task = FunctionRef<void(int)>;

  explicit Impl(const std::vector<int>& cpus)
      : num_threads(static_cast<int>(cpus.size())),
        has_cpu_for_each(has_one_each(cpus)),
        last_cpus(cpus.size()) {
    workers.reserve(cpus.size() - 1);
    try {
      for (int thread = 1; thread < num_threads; ++thread) {
        workers.emplace_back([this, thread, cpu = cpus[static_cast<size_t>(thread)]] {
          pin_this_thread(cpu);
          work(thread);
        });
      }
    } catch (const std::system_error& e) {
      const size_t started = workers.size() + 1;
      stop_workers();
      throw_error(ErrorCode::kResourceExhausted,
                  "[thread_pool] cannot start {} threads, only {}: {}", cpus.size(), started,
                  e.what());
    }
  }

  ~Impl() { stop_workers(); }

  void stop_workers() {
    stop = true;
    region.add(1);
    region.wake_all();
    for (std::thread& worker : workers) worker.join();
  }

  void work(int thread) {
    for (uint32_t seen = 0;; ++seen) {
      note_cpu(thread);
      wait(region, [seen](uint32_t value) { return value != seen; });
      if (stop) return;
      call(thread);
      if (running.subtract(1) == 1) running.wake_all();
    }
  }

  void note_cpu(int thread) {
    std::atomic<int>& last = last_cpus[static_cast<size_t>(thread)].cpu;
    const int cpu = sched_getcpu();
    if (last.load(std::memory_order_relaxed) != cpu) last.store(cpu, std::memory_order_relaxed);
  }

  // Where threads share a CPU, spinning only keeps the awaited one from running: 100 us a region
  // instead of 5. That happens with too many threads, and when another process drives the caller,
  // which is not pinned, to a worker's CPU.
  bool may_spin() const {
    if (!has_cpu_for_each) return false;
    const int cpu = sched_getcpu();
    int threads_here = 0;
    for (const LastCpu& last : last_cpus) {
      if (last.cpu.load(std::memory_order_relaxed) == cpu) ++threads_here;
    }
    return threads_here < 2;
  }

  template <typename Done>
  void wait(WaitWord& word, Done done) {
    word.wait_until(done, [this] { return may_spin(); });
  }

  void call(int thread) noexcept {
    try {
      (*task)(thread);
    } catch (const BarrierBroken&) {
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
      barrier_generation.add(1);
      barrier_generation.wake_all();
    }
  }

  void run(const Task& new_task) {
    note_cpu(0);
    task = &new_task;
    running.set_before_anyone_waits(static_cast<uint32_t>(num_threads - 1));
    region.add(1);
    region.wake_all();
    call(0);
    wait(running, [](uint32_t value) { return value == 0; });
    task = nullptr;
    if (failed) {
      failed = false;
      barrier_arrived = 0;
      std::rethrow_exception(std::exchange(failure, nullptr));
    }
  }

  void barrier() {
    const uint32_t now = barrier_generation.load();
    if (failed) throw BarrierBroken();
    if (barrier_arrived.fetch_add(1) == num_threads - 1) {
      barrier_arrived.store(0, std::memory_order_relaxed);
      barrier_generation.add(1);
      barrier_generation.wake_all();
      return;
    }
    wait(barrier_generation, [now](uint32_t value) { return value != now; });
    if (failed) throw BarrierBroken();
  }

  // Read by all, written by the caller between regions.
  const int num_threads;
  const bool has_cpu_for_each;
  std::vector<LastCpu> last_cpus;
  std::vector<std::thread> workers;
  const Task* task = nullptr;
  std::atomic<bool> stop{false};
  std::atomic<bool> in_region{false};

  // Each on a cache line of its own.
  WaitWord region;   // counts the regions started
  WaitWord running;  // workers that have not finished the region
  WaitWord barrier_generation;
  alignas(64) std::atomic<int> barrier_arrived{0};
  alignas(64) std::atomic<bool> failed{false};
  std::exception_ptr failure;
};

ThreadPool::ThreadPool(const std::vector<int>& cpus) {
  check_argument(!cpus.empty(), "[thread_pool] needs at least one thread");
  impl_ = std::make_unique<Impl>(cpus);
}

ThreadPool::ThreadPool(int num_threads)
    : ThreadPool(std::vector<int>(static_cast<size_t>(std::max(num_threads, 0)), -1)) {}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const { return impl_->num_threads; }

void ThreadPool::run(FunctionRef<void(int)> task) {
  // Only the caller writes it, and every task starts after it has: plain loads and stores do.
  LANNER_CHECK(!impl_->in_region.load(std::memory_order_relaxed));
  impl_->in_region.store(true, std::memory_order_relaxed);
  struct Leave {
    std::atomic<bool>& in_region;
    ~Leave() { in_region.store(false, std::memory_order_relaxed); }
  } leave{impl_->in_region};
  if (size() == 1) {
    task(0);
  } else {
    impl_->run(task);
  }
}

void ThreadPool::barrier() {
  LANNER_CHECK(impl_->in_region.load(std::memory_order_relaxed));
  if (size() > 1) impl_->barrier();
}

void ThreadPool::parallel_for(int64_t count, FunctionRef<void(int64_t, int64_t)> task,
                              int64_t min_grain) {
  if (count <= 0) return;
  const int64_t ranges = std::min<int64_t>(size(), count / std::max<int64_t>(min_grain, 1));
  if (ranges < 2) {
    task(0, count);
    return;
  }
  const int64_t length = count / ranges;
  const int64_t longer = count % ranges;  // the first ranges are longer by one
  run([&](int thread) {
    if (thread >= ranges) return;
    const int64_t begin = thread * length + std::min<int64_t>(thread, longer);
    task(begin, begin + length + (thread < longer ? 1 : 0));
  });
}

void ThreadPool::parallel_for_dynamic(int64_t count, int64_t grain,
                                      FunctionRef<void(int64_t, int64_t, int)> task) {
  LANNER_CHECK(grain > 0);
  if (count <= 0) return;
  const int64_t chunks = ceil_div(count, grain);
  const auto run_chunk = [&](int64_t chunk, int thread) {
    task(chunk * grain, chunk + 1 == chunks ? count : (chunk + 1) * grain, thread);
  };
  if (size() == 1 || chunks == 1) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) run_chunk(chunk, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  run([&](int thread) {
    for (int64_t chunk; (chunk = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      run_chunk(chunk, thread);
    }
  });
}

}  // namespace lanner
