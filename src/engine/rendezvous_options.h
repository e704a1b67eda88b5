// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "distributed/rendezvous.h"
#include "lanner/distributed.h"

namespace lanner {

// Throws Error(kInvalidArgument) naming the field that makes no sense.
RendezvousOptions to_options(const RendezvousConfig& config);

}  // namespace lanner
