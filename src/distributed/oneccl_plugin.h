// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

// The border to oneCCL: liblanner_ccl.so, opened at run time, hands out one table of functions.
// Nothing is thrown across it. Functions return 0, or 1 with a sentence in `error`.

#ifdef __cplusplus
extern "C" {
#endif

enum { LANNER_CCL_ABI = 2, LANNER_CCL_ERROR_BYTES = 512 };

enum LannerCclType { LANNER_CCL_F32 = 1, LANNER_CCL_BF16 = 2 };

struct LannerCclComm;     // the ranks
struct LannerCclRequest;  // a collective under way

// Where the ranks find each other's addresses: words that each of them publishes. oneCCL's own
// store would be one more port that anyone can connect to, and 40 ms a question. It outlives the
// ranks' communicator.
struct LannerCclStore {
  void* context;
  void (*publish)(void* context, const char* key, const char* value, size_t bytes);
  // Calls take(to, …) with the value if it is there, after a moment's wait; 1: the job has failed.
  int (*look_up)(void* context, const char* key,
                 void (*take)(void* to, const char* value, size_t bytes), void* to);
};

struct LannerCclPlugin {
  uint32_t abi;  // LANNER_CCL_ABI of the plugin; the rest is as this header says if it is the same
  const char* version;  // of oneCCL

  // Waits for all ranks, without a limit but the store's.
  int (*create_comm)(int rank, int size, const struct LannerCclStore* store,
                     struct LannerCclComm** comm, char* error);
  void (*destroy_comm)(struct LannerCclComm* comm);

  // Begin a collective on memory that stays in place until it is done. In place: every rank's
  // `count` elements become their sum.
  int (*all_reduce)(struct LannerCclComm* comm, void* data, size_t count, enum LannerCclType type,
                    struct LannerCclRequest** request, char* error);
  // `all` holds size times `bytes`.
  int (*all_gather)(struct LannerCclComm* comm, const void* mine, size_t bytes, void* all,
                    struct LannerCclRequest** request, char* error);
  // From rank 0.
  int (*broadcast)(struct LannerCclComm* comm, void* data, size_t bytes,
                   struct LannerCclRequest** request, char* error);

  // Carries a collective on without waiting. Frees the request once it is done; one that has failed
  // is left behind.
  int (*test)(struct LannerCclRequest* request, int* is_done, char* error);
};

// The one symbol of the library.
typedef const struct LannerCclPlugin* (*LannerCclEntry)(void);
#define LANNER_CCL_ENTRY "lanner_ccl_plugin"

#ifdef __cplusplus
}
#endif
