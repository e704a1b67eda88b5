// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "lanner/llm.h"
#include "server/admission.h"
#include "server/config.h"

namespace lanner::server {

// A model that is served, from when it is named. `llm` and `admission` are set before `ready`.
struct Model {
  ModelSource source;
  int64_t created = 0;  // Unix time
  std::atomic<bool> ready{false};
  std::unique_ptr<LLM> llm;
  std::unique_ptr<Admission> admission;
};

}  // namespace lanner::server
