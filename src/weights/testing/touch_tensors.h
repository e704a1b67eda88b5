// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/testing/fuzz_target.h"
#include "weights/checkpoint.h"

namespace lanner::fuzz {

// Reads every byte, so that one outside of the file is noticed.
inline void touch(const CheckpointTensor& tensor) {
  volatile unsigned sum = 0;
  for (int64_t i = 0; i < tensor.view.bytes(); ++i) {
    sum = sum + static_cast<unsigned>(tensor.view.raw()[i]);
  }
}

inline void touch_all(const Checkpoint& checkpoint) {
  for (const std::string& name : checkpoint.names()) {
    checkpoint.info(name);
    attempt([&] { touch(checkpoint.get(name)); });
  }
}

}  // namespace lanner::fuzz
