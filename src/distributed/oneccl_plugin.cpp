// SPDX-License-Identifier: Apache-2.0
// liblanner_ccl.so: the one file that sees oneCCL. The program itself does not need the library.
#include "distributed/oneccl_plugin.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
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

// The key-value store behind an address lives as long as the process: other ranks may still look
// something up when this one has what it needs.
std::vector<ccl::shared_ptr_class<ccl::kvs>>& stores() {
  static auto* kept = new std::vector<ccl::shared_ptr_class<ccl::kvs>>();
  return *kept;
}

int create_address(char address[LANNER_CCL_ADDRESS_BYTES], char* error) {
  return guarded(error, [&] {
    init();
    const OutputElsewhere output(STDERR_FILENO);
    const auto store = ccl::create_main_kvs();
    const auto bytes = store->get_address();
    static_assert(sizeof(bytes) == LANNER_CCL_ADDRESS_BYTES);
    std::memcpy(address, bytes.data(), bytes.size());
    stores().push_back(store);
  });
}

int create_comm(int rank, int size, const char address[LANNER_CCL_ADDRESS_BYTES],
                LannerCclComm** comm, char* error) {
  return guarded(error, [&] {
    init();
    const OutputElsewhere output(STDERR_FILENO);
    ccl::kvs::address_type bytes;
    std::memcpy(bytes.data(), address, bytes.size());
    // Rank 0 has made the store that the address leads to.
    const auto own = std::find_if(stores().begin(), stores().end(),
                                  [&](const auto& store) { return store->get_address() == bytes; });
    const auto store = own != stores().end() ? *own : ccl::create_kvs(bytes);
    *comm = new LannerCclComm{ccl::create_communicator(size, rank, store)};
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

int barrier(LannerCclComm* comm, LannerCclRequest** request, char* error) {
  return guarded(error, [&] { *request = new LannerCclRequest{ccl::barrier(comm->comm), {}}; });
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
                                         .create_address = create_address,
                                         .create_comm = create_comm,
                                         .destroy_comm = destroy_comm,
                                         .all_reduce = all_reduce,
                                         .all_gather = all_gather,
                                         .broadcast = broadcast,
                                         .barrier = barrier,
                                         .test = test};
  return &plugin;
}
