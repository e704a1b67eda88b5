// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

// The border to oneCCL: liblanner_ccl.so, opened at run time, hands out one table of functions.
// Nothing is thrown across it. Functions return 0, or 1 with a sentence in `error`.

#ifdef __cplusplus
extern "C" {
#endif

enum { LANNER_CCL_ABI = 1, LANNER_CCL_ADDRESS_BYTES = 256, LANNER_CCL_ERROR_BYTES = 512 };

enum LannerCclType { LANNER_CCL_F32 = 1, LANNER_CCL_BF16 = 2 };

struct LannerCclComm;     // the ranks
struct LannerCclRequest;  // a collective under way

struct LannerCclPlugin {
  uint32_t abi;  // LANNER_CCL_ABI of the plugin; the rest is as this header says if it is the same
  const char* version;  // of oneCCL

  // Rank 0: the address that the others need. It is of use as long as the process lives.
  int (*create_address)(char address[LANNER_CCL_ADDRESS_BYTES], char* error);
  // Waits for all ranks, without a limit.
  int (*create_comm)(int rank, int size, const char address[LANNER_CCL_ADDRESS_BYTES],
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
  int (*barrier)(struct LannerCclComm* comm, struct LannerCclRequest** request, char* error);

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
