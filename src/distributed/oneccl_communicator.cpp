// SPDX-License-Identifier: Apache-2.0
#include "distributed/oneccl_communicator.h"

#include <algorithm>
#include <atomic>
#include <climits>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <future>
#include <thread>

#include <dlfcn.h>
#include <fmt/format.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/error.h"
#include "base/float16.h"
#include "base/log.h"
#include "distributed/message.h"
#include "distributed/oneccl_plugin.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr int64_t kElementsPerThread = 16384;
// A step's message with its header, if it is no longer: one broadcast instead of two.
constexpr size_t kFirstBroadcast = 4096;
// Waiting for the others' part of a step: so long at full speed, then between short sleeps.
constexpr microseconds kSpinTime{2000};
constexpr microseconds kSpinTimeWhenCrowded{20};
constexpr microseconds kNap{20};
// A rank that has had no work for so long sleeps until rank 0 wakes it, and looks by itself so
// often.
constexpr milliseconds kIdleAfter{10};
constexpr milliseconds kIdleSleep{20};
// Rank 0 cannot know whether the others sleep yet.
constexpr milliseconds kWakeAfter{2};
// What a rank sent before it left arrives.
constexpr std::chrono::seconds kLeaveTime{2};
// oneCCL's own start takes half a second on a calm machine.
constexpr std::chrono::minutes kMeetTime{1};
constexpr milliseconds kGiveUpTime{500};
// The name that oneCCL looks for by itself is the development package's.
constexpr const char* kFabricLibrary = "libfabric.so.1";
// While it starts it asks for other ranks' addresses until they are there.
constexpr milliseconds kLookUpTime{20};

std::string default_plugin() {
  std::error_code failure;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failure);
  for (const char* folder : {".", "../lib", "../lib/lanner", "../../lib"}) {
    const auto path = program.parent_path() / folder / "liblanner_ccl.so";
    if (std::filesystem::exists(path, failure)) return path.lexically_normal().string();
  }
  return "liblanner_ccl.so";  // where the system looks
}

const LannerCclPlugin& open_plugin(const std::string& given) {
  const std::string path = given.empty() ? default_plugin() : given;
  // Stays open: oneCCL has threads and exit handlers of its own.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw_error(ErrorCode::kUnsupported,
                "oneCCL cannot be used: {}; scripts/install_oneccl.sh installs it, and a build "
                "after that has the plugin",
                dlerror());
  }
  const auto entry = reinterpret_cast<LannerCclEntry>(dlsym(library, LANNER_CCL_ENTRY));
  const LannerCclPlugin* plugin = entry == nullptr ? nullptr : entry();
  if (plugin == nullptr || plugin->abi != LANNER_CCL_ABI) {
    throw_error(ErrorCode::kUnsupported,
                "oneCCL cannot be used: {} is not of this version of Lanner", path);
  }
  return *plugin;
}

// What oneCCL and libfabric need to be told to work without MPI, for ranks that are found here and
// not by their own guesses.
void set_environment(const Rendezvous& rendezvous) {
  const std::vector<HostName>& hosts = rendezvous.hosts();
  const auto self = static_cast<size_t>(rendezvous.rank());
  int local_rank = 0, local_size = 0;
  for (size_t r = 0; r < hosts.size(); ++r) {
    if (hosts[r] != hosts[self]) continue;
    if (r < self) ++local_rank;
    ++local_size;
  }
  const bool is_one_host = rendezvous.is_one_host();
  const auto set = [](const char* name, const std::string& value) {
    set_default_environment(name, value);
  };
  set("CCL_PROCESS_LAUNCHER", "none");
  set("CCL_LOCAL_RANK", std::to_string(local_rank));
  set("CCL_LOCAL_SIZE", std::to_string(local_size));
  set("CCL_ATL_TRANSPORT", "ofi");
  set("CCL_OFI_LIBRARY_PATH", kFabricLibrary);
  // Not libfabric's shared memory, on one host either: a rank that is killed leaves its locks held,
  // on which the others spin inside a call that never returns, and its files in /dev/shm.
  set("CCL_ATL_SHM", "0");
  set("FI_PROVIDER", "tcp");
  // The default is a spinning thread per rank, which takes a core from the compute threads.
  set("CCL_WORKER_OFFLOAD", "0");
  // oneCCL sorts the network cards by name and takes the first, be it the loopback one.
  set("CCL_MNIC_NAME", is_one_host ? "lo" : "^lo");
  if (!rendezvous.interface().empty()) {
    set("FI_TCP_IFACE", rendezvous.interface());
  }
  set("CCL_LOG_LEVEL", "error");
  // A library that libfabric loads for old network cards would catch signals, and write a file of
  // its own into the working directory.
  set("IPATH_NO_BACKTRACE", "1");
}

// Where oneCCL's ranks find each other: on the connections that are there already.
struct Addresses {
  std::shared_ptr<Rendezvous> rendezvous;
  std::atomic<bool> is_given_up = false;

  LannerCclStore store() { return {.context = this, .publish = publish, .look_up = look_up}; }

  static void publish(void* context, const char* key, const char* value, size_t bytes) {
    static_cast<Addresses*>(context)->rendezvous->publish(key, std::string(value, bytes));
  }

  static int look_up(void* context, const char* key,
                     void (*take)(void* to, const char* value, size_t bytes), void* to) {
    auto& self = *static_cast<Addresses*>(context);
    if (self.is_given_up) return 1;
    try {
      const auto value = self.rendezvous->look_up(key, kLookUpTime);
      if (value) take(to, value->data(), value->size());
      return 0;
    } catch (const std::exception&) {
      return 1;
    }
  }
};

class OneCclCommunicator final : public Communicator {
 public:
  OneCclCommunicator(std::shared_ptr<Rendezvous> rendezvous, const LannerCclPlugin& plugin,
                     const OneCclOptions& options)
      : rendezvous_(std::move(rendezvous)), plugin_(plugin), options_(options) {
    check_argument(options.wire == DType::kF32 || options.wire == DType::kBf16,
                   "[distributed] partial sums travel as fp32 or bf16");
    const auto elements = static_cast<size_t>(options.sum_elements);
    part_ = Buffer(elements * sizeof(float));
    if (options.wire == DType::kBf16) narrow_ = Buffer(elements * sizeof(uint16_t));
    connect();
  }

  ~OneCclCommunicator() override {
    // oneCCL would wait for the others where a collective is under way.
    if (comm_ != nullptr && !is_broken_ && !rendezvous_->has_failed()) plugin_.destroy_comm(comm_);
  }

  int rank() const override { return rendezvous_->rank(); }
  int size() const override { return rendezvous_->size(); }
  const char* backend() const override { return "oneccl"; }
  CommunicatorStats stats() const override { return stats_; }

  PartialSum begin_sum(const Tensor& y) override {
    LANNER_CHECK(y.is_contiguous());
    check_argument(y.numel() <= options_.sum_elements,
                   "[distributed] a sum of {} elements, the ranks' memory was made for {}",
                   y.numel(), options_.sum_elements);
    return {.values = Tensor(part_.data(), DType::kF32, y.shape()), .accumulate = false};
  }

  void finish_sum(const Tensor& y, ThreadPool& threads) override {
    if (options_.wire == DType::kBf16) {
      sum_narrow(y, threads);
    } else {
      sum_wide(y, threads);
    }
    ++stats_.sums;
    // Of the two halves of an all-reduce (reduce-scatter, all-gather) each sends all shares but
    // one.
    const int64_t bytes = y.numel() * (options_.wire == DType::kBf16 ? 2 : 4);
    stats_.sum_bytes += static_cast<uint64_t>(2 * bytes * (size() - 1) / size());
  }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    LANNER_CHECK(all.size() == mine.size() * static_cast<size_t>(size()));
    if (mine.empty()) return;
    run("a gather", /*has_limit=*/true, [&](LannerCclRequest** request, char* error) {
      return plugin_.all_gather(comm_, mine.data(), mine.size(), all.data(), request, error);
    });
    stats_.gathered_bytes += mine.size() * static_cast<size_t>(size() - 1);
  }

  std::vector<std::byte> broadcast(std::vector<std::byte> message) override {
    std::array<std::byte, kFirstBroadcast> first = {};
    MessageHeader header;
    const size_t room = first.size() - sizeof(header);
    ++messages_;
    if (rank() == 0) {
      header = make_message_header(messages_, message);
      std::memcpy(first.data(), &header, sizeof(header));
      std::copy_n(message.data(), std::min(room, message.size()), first.data() + sizeof(header));
      if (Clock::now() - last_broadcast_ > kWakeAfter) rendezvous_->wake();
    }
    broadcast_bytes(first, /*has_limit=*/false);
    if (rank() != 0) {
      std::memcpy(&header, first.data(), sizeof(header));
      check_message_header(header, messages_);
      message.resize(header.bytes);
      std::copy_n(first.data() + sizeof(header), std::min(room, message.size()), message.data());
    }
    if (message.size() > room) {
      broadcast_bytes(std::span(message).subspan(room), /*has_limit=*/true);
    }
    if (rank() != 0) check_message_body(header, message);
    last_broadcast_ = Clock::now();
    stats_.broadcast_bytes += message.size();
    return message;
  }

  void barrier() override {
    // Whoever comes wakes those that wait; rank 0 alone can.
    if (rank() == 0) rendezvous_->wake();
    // oneCCL's own barrier waits inside the call, also for a rank that has died.
    run("a barrier", /*has_limit=*/false, [&](LannerCclRequest** request, char* error) {
      return plugin_.all_reduce(comm_, &present_, 1, LANNER_CCL_F32, request, error);
    });
  }

  void fail(const std::string& reason) noexcept override {
    is_broken_ = true;
    rendezvous_->fail(reason);
  }

 private:
  void connect() {
    // oneCCL waits for the others for ever: on a thread that can be left behind, with all it needs.
    struct Meeting {
      LannerCclComm* comm = nullptr;
      char error[LANNER_CCL_ERROR_BYTES] = "";
      int status = 0;
      std::promise<void> done;
    };
    auto meeting = std::make_shared<Meeting>();
    std::future<void> done = meeting->done.get_future();
    std::thread([meeting, addresses = addresses_, rank = rank(), size = size(), &plugin = plugin_] {
      const LannerCclStore store = addresses->store();
      meeting->status = plugin.create_comm(rank, size, &store, &meeting->comm, meeting->error);
      meeting->done.set_value();
    }).detach();
    const Clock::time_point deadline =
        Clock::now() + std::max<milliseconds>(options_.stall_time, kMeetTime);
    while (done.wait_for(milliseconds(20)) != std::future_status::ready) {
      if (!rendezvous_->has_failed() && !rendezvous_->has_left() && Clock::now() < deadline) {
        continue;
      }
      // The thread ends with its next look-up: a program that ended before it would take oneCCL's
      // memory away under it. What it waits for elsewhere may never come; then at least libfabric,
      // which it is in, stays loaded to the end.
      addresses_->is_given_up = true;
      if (done.wait_for(kGiveUpTime) != std::future_status::ready) {
        dlopen(kFabricLibrary, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
      }
      rendezvous_->throw_if_failed();
      throw_error(ErrorCode::kIo,
                  "[distributed] the ranks do not meet through oneCCL (interface '{}')",
                  rendezvous_->interface());
    }
    if (meeting->status != 0) {
      rendezvous_->throw_if_failed();  // of which its failure may be a consequence
      throw_error(ErrorCode::kIo, "[distributed] oneCCL: {}", meeting->error);
    }
    comm_ = meeting->comm;
  }

  void sum_wide(const Tensor& y, ThreadPool& threads) {
    reduce(part_.data(), y.numel(), LANNER_CCL_F32);
    const float* sum = part_.as<float>();
    float* to = y.data<float>();
    threads.parallel_for(
        y.numel(),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) to[i] += sum[i];
        },
        kElementsPerThread);
  }

  void sum_narrow(const Tensor& y, ThreadPool& threads) {
    const float* part = part_.as<float>();
    auto* narrow = narrow_.as<uint16_t>();
    threads.parallel_for(
        y.numel(),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) narrow[i] = fp32_to_bf16(part[i]);
        },
        kElementsPerThread);
    stats_.sum_bytes_copied += static_cast<uint64_t>(2 * y.numel());
    reduce(narrow_.data(), y.numel(), LANNER_CCL_BF16);
    float* to = y.data<float>();
    threads.parallel_for(
        y.numel(),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) to[i] += bf16_to_fp32(narrow[i]);
        },
        kElementsPerThread);
  }

  void reduce(std::byte* data, int64_t count, LannerCclType type) {
    run("a sum", /*has_limit=*/true, [&](LannerCclRequest** request, char* error) {
      return plugin_.all_reduce(comm_, data, static_cast<size_t>(count), type, request, error);
    });
  }

  void broadcast_bytes(std::span<std::byte> data, bool has_limit) {
    run("a broadcast", has_limit, [&](LannerCclRequest** request, char* error) {
      return plugin_.broadcast(comm_, data.data(), data.size(), request, error);
    });
  }

  template <typename Begin>
  void run(const char* what, bool has_limit, Begin begin) {
    rendezvous_->throw_if_failed();
    if (is_broken_) throw_error(ErrorCode::kIo, "[distributed] the ranks' connection is broken");
    char error[LANNER_CCL_ERROR_BYTES] = "";
    LannerCclRequest* request = nullptr;
    // Whatever goes wrong now leaves a collective under way.
    is_broken_ = true;
    if (begin(&request, error) != 0) {
      rendezvous_->wait_for_failure();
      throw_error(ErrorCode::kIo, "[distributed] oneCCL: {}", error);
    }
    wait(what, has_limit, request);
    is_broken_ = false;
  }

  void wait(const char* what, bool has_limit, LannerCclRequest* request) {
    char error[LANNER_CCL_ERROR_BYTES] = "";
    const Clock::time_point start = Clock::now();
    const auto spin_time = options_.has_cpu_for_each ? kSpinTime : kSpinTimeWhenCrowded;
    Clock::time_point left_at = Clock::time_point::max();
    for (int tests = 0;; ++tests) {
      int is_done = 0;
      if (plugin_.test(request, &is_done, error) != 0) {
        rendezvous_->wait_for_failure();
        throw_error(ErrorCode::kIo, "[distributed] oneCCL: {}", error);
      }
      if (is_done != 0) return;
      if (tests % 16 != 0) continue;
      rendezvous_->throw_if_failed();
      const Clock::time_point now = Clock::now();
      if (rendezvous_->has_left()) {
        left_at = std::min(left_at, now);
        if (now - left_at > kLeaveTime) {
          throw_error(ErrorCode::kIo, "[distributed] a rank has left, rank {} waits in {}", rank(),
                      what);
        }
      }
      if (has_limit && now - start > options_.stall_time) {
        throw_error(ErrorCode::kIo,
                    "[distributed] the others have kept rank {} waiting in {} for {} s", rank(),
                    what,
                    std::chrono::duration_cast<std::chrono::seconds>(options_.stall_time).count());
      }
      if (now - start < spin_time) continue;
      const bool is_idle = !has_limit && rank() != 0 && now - start > kIdleAfter;
      if (is_idle && !rendezvous_->has_left()) {
        rendezvous_->wait_for_wake(kIdleSleep);
      } else {
        std::this_thread::sleep_for(kNap);
      }
      tests = -1;  // every round is looked at once it sleeps
    }
  }

  std::shared_ptr<Rendezvous> rendezvous_;
  const std::shared_ptr<Addresses> addresses_ = std::make_shared<Addresses>(rendezvous_);
  const LannerCclPlugin& plugin_;
  const OneCclOptions options_;
  LannerCclComm* comm_ = nullptr;
  Buffer part_;    // fp32, of this rank: written by the GEMM, read by the network
  Buffer narrow_;  // bf16
  float present_ = 0;
  bool is_broken_ = false;
  uint64_t messages_ = 0;
  Clock::time_point last_broadcast_ = Clock::now();
  CommunicatorStats stats_;
};

}  // namespace

std::string oneccl_problem(const std::string& plugin) {
  try {
    open_plugin(plugin);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::unique_ptr<Communicator> make_oneccl_communicator(std::shared_ptr<Rendezvous> rendezvous,
                                                       const OneCclOptions& options) {
  set_environment(*rendezvous);
  // It writes to connections of ranks that may be gone; what has become of them is asked elsewhere.
  struct sigaction pipe_action = {};
  if (sigaction(SIGPIPE, nullptr, &pipe_action) == 0 && pipe_action.sa_handler == SIG_DFL) {
    std::signal(SIGPIPE, SIG_IGN);
  }
  const std::vector<std::string> problems = rendezvous->exchange(oneccl_problem(options.plugin));
  for (size_t r = 0; r < problems.size(); ++r) {
    if (problems[r].empty()) continue;
    throw_error(ErrorCode::kUnsupported, "[distributed] rank {} (host {}): {}", r,
                rendezvous->hosts()[r].name, problems[r]);
  }
  const LannerCclPlugin& plugin = open_plugin(options.plugin);
  rendezvous->agree("version of oneCCL", plugin.version);
  return std::make_unique<OneCclCommunicator>(std::move(rendezvous), plugin, options);
}

}  // namespace lanner
