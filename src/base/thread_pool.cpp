// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include <pthread.h>
#include <sched.h>

#include "base/error.h"
#include "base/log.h"

namespace lanner {
namespace {

// Longer than the gap between two regions of a decode step, far shorter than a scheduler tick: with
// more runnable threads than CPUs a spinner burns the time slice of the thread it waits for.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kPausesBetweenClockReads = 16;

void pause_cpu() { __builtin_ia32_pause(); }

// Returns once value != old: spins for kSpinTime, then sleeps on the futex behind the atomic.
void wait_while_equal(const std::atomic<uint32_t>& value, uint32_t old) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesBetweenClockReads; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

void pin_to(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0) {
    log_warn("cannot pin a compute thread to CPU {}", cpu);
  }
}

}  // namespace

struct ThreadPool::Impl {
  using Task = FunctionRef<void(int)>;

  explicit Impl(const std::vector<int>& cpus) : num_threads(static_cast<int>(cpus.size())) {
    workers.reserve(cpus.size() - 1);
    for (int thread = 1; thread < num_threads; ++thread) {
      workers.emplace_back([this, thread, cpu = cpus[static_cast<size_t>(thread)]] {
        pin_to(cpu);
        work(thread);
      });
    }
  }

  ~Impl() {
    stop = true;
    region.fetch_add(1, std::memory_order_release);
    region.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void work(int thread) {
    uint32_t seen = 0;
    for (;;) {
      wait_while_equal(region, seen);
      ++seen;
      if (stop) return;
      call(thread);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        finished.fetch_add(1, std::memory_order_release);
        finished.notify_one();
      }
    }
  }

  void call(int thread) noexcept {
    try {
      (*task)(thread);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }

  void run(Task new_task) {
    task = &new_task;
    running.store(num_threads - 1, std::memory_order_relaxed);
    const uint32_t finished_before = finished.load(std::memory_order_relaxed);
    region.fetch_add(1, std::memory_order_release);
    region.notify_all();
    call(0);
    wait_while_equal(finished, finished_before);
    task = nullptr;
    if (failed.load()) {
      failed = false;
      std::rethrow_exception(std::exchange(failure, nullptr));
    }
  }

  void barrier() {
    const uint32_t now = barrier_generation.load(std::memory_order_acquire);
    if (barrier_arrived.fetch_add(1, std::memory_order_acq_rel) == num_threads - 1) {
      barrier_arrived.store(0, std::memory_order_relaxed);
      barrier_generation.fetch_add(1, std::memory_order_release);
      barrier_generation.notify_all();
      return;
    }
    wait_while_equal(barrier_generation, now);
  }

  const int num_threads;
  const Task* task = nullptr;
  std::exception_ptr failure;
  std::vector<std::thread> workers;

  // Each on a cache line of its own: the caller writes the first, the workers the others.
  alignas(64) std::atomic<uint32_t> region{0};
  std::atomic<bool> stop{false};
  alignas(64) std::atomic<int> running{0};
  std::atomic<bool> failed{false};
  alignas(64) std::atomic<uint32_t> finished{0};
  alignas(64) std::atomic<int> barrier_arrived{0};
  alignas(64) std::atomic<uint32_t> barrier_generation{0};
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
  if (size() == 1) {
    task(0);
    return;
  }
  impl_->run(task);
}

void ThreadPool::barrier() {
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
  run([&](int thread) {
    if (thread >= ranges) return;
    task(count * thread / ranges, count * (thread + 1) / ranges);
  });
}

void ThreadPool::parallel_for_dynamic(int64_t count, int64_t grain,
                                      FunctionRef<void(int64_t, int64_t, int)> task) {
  if (count <= 0) return;
  if (size() == 1 || count <= grain) {
    task(0, count, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  run([&](int thread) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      task(begin, std::min(begin + grain, count), thread);
    }
  });
}

}  // namespace lanner
