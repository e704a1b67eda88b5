// SPDX-License-Identifier: Apache-2.0
// liblanner_ccl.so: the one file that sees oneCCL. The program itself does not need the library.
#include "distributed/oneccl_plugin.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <oneapi/ccl.hpp>
#include <unistd.h>

struct LannerCclComm {
  ccl::communicator comm;
};

struct LannerCclRequest {
  ccl::event event;
  std::vector<size_t> counts;  // of an all_gather: oneCCL reads them until it is done
};

namespace {

void put_error(char* error, const char* text) {
  std::strncpy(error, text, LANNER_CCL_ERROR_BYTES - 1);
  error[LANNER_CCL_ERROR_BYTES - 1] = '\0';
}

// 0, or 1 with what `task` threw.
template <typename Task>
int guarded(char* error, Task task) noexcept {
  try {
    task();
    return 0;
  } catch (const std::exception& e) {
    put_error(error, e.what());
  } catch (...) {
    put_error(error, "an unknown exception");
  }
  return 1;
}

// oneCCL writes its messages to standard output, which belongs to the program: they go to another
// descriptor as long as this lives.
class OutputElsewhere {
 public:
  explicit OutputElsewhere(int descriptor) {
    std::fflush(stdout);
    saved_ = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    if (saved_ >= 0) dup2(descriptor, STDOUT_FILENO);
  }
  ~OutputElsewhere() {
    std::fflush(stdout);
    if (saved_ < 0) return;
    dup2(saved_, STDOUT_FILENO);
    close(saved_);
  }
  OutputElsewhere(const OutputElsewhere&) = delete;
  OutputElsewhere& operator=(const OutputElsewhere&) = delete;

 private:
  int saved_;
};

// It warns of every setting that is not its default, once and whatever the log level is.
void init() {
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  {
    const OutputElsewhere output(nowhere >= 0 ? nowhere : STDERR_FILENO);
    ccl::init();
  }
  if (nowhere >= 0) close(nowhere);
}

class Store final : public ccl::kvs_interface {
 public:
  explicit Store(const LannerCclStore& store) : store_(store) {}

  // Nothing where a key is not there yet: oneCCL asks again.
  ccl::vector_class<char> get(const ccl::string_class& key) override {
    ccl::vector_class<char> value;
    const auto take = [](void* to, const char* data, size_t bytes) {
      static_cast<ccl::vector_class<char>*>(to)->assign(data, data + bytes);
    };
    if (store_.look_up(store_.context, key.c_str(), take, &value) != 0) {
      throw std::runtime_error("the job has failed");
    }
    return value;
  }

  void set(const ccl::string_class& key, const ccl::vector_class<char>& value) override {
    store_.publish(store_.context, key.c_str(), value.data(), value.size());
  }

  // oneCCL keeps groups of threads apart by it.
  int get_id() override { return id_; }

 private:
  static int next_id() {
    static std::atomic<int> count{0};
    return count++;
  }

  const LannerCclStore store_;
  const int id_ = next_id();
};

int create_comm(int rank, int size, const LannerCclStore* store, LannerCclComm** comm,
                char* error) {
  return guarded(error, [&] {
    init();
    const OutputElsewhere output(STDERR_FILENO);
    *comm =
        new LannerCclComm{ccl::create_communicator(size, rank, std::make_shared<Store>(*store))};
  });
}

void destroy_comm(LannerCclComm* comm) {
  char error[LANNER_CCL_ERROR_BYTES];
  guarded(error, [&] { delete comm; });
}

int all_reduce(LannerCclComm* comm, void* data, size_t count, LannerCclType type,
               LannerCclRequest** request, char* error) {
  return guarded(error, [&] {
    const auto dtype = type == LANNER_CCL_BF16 ? ccl::datatype::bfloat16 : ccl::datatype::float32;
    *request = new LannerCclRequest{
        ccl::allreduce(data, data, count, dtype, ccl::reduction::sum, comm->comm), {}};
  });
}

int all_gather(LannerCclComm* comm, const void* mine, size_t bytes, void* all,
               LannerCclRequest** request, char* error) {
  return guarded(error, [&] {
    auto made = std::make_unique<LannerCclRequest>();
    made->counts.assign(static_cast<size_t>(comm->comm.size()), bytes);
    made->event = ccl::allgatherv(mine, bytes, all, made->counts, ccl::datatype::int8, comm->comm);
    *request = made.release();
  });
}

int broadcast(LannerCclComm* comm, void* data, size_t bytes, LannerCclRequest** request,
              char* error) {
  return guarded(error, [&] {
    *request =
        new LannerCclRequest{ccl::broadcast(data, bytes, ccl::datatype::int8, 0, comm->comm), {}};
  });
}

int test(LannerCclRequest* request, int* is_done, char* error) {
  const int status = guarded(error, [&] { *is_done = request->event.test() ? 1 : 0; });
  // One that has failed is left behind: its destructor would wait for the collective, for ever.
  if (status == 0 && *is_done != 0) delete request;
  return status;
}

const char* library_version() {
  static const auto* text = new std::string(ccl::get_library_version().full);
  return text->c_str();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const LannerCclPlugin* lanner_ccl_plugin() {
  static const LannerCclPlugin plugin = {.abi = LANNER_CCL_ABI,
                                         .version = library_version(),
                                         .create_comm = create_comm,
                                         .destroy_comm = destroy_comm,
                                         .all_reduce = all_reduce,
                                         .all_gather = all_gather,
                                         .broadcast = broadcast,
                                         .test = test};
  return &plugin;
}
