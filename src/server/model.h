// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lanner/llm.h"
#include "server/admission.h"
#include "server/config.h"

namespace lanner::server {

// A model that is served, from when it is named. `llm` and `admission` are set before `ready`.
struct Model {
  ModelSource source;
  std::vector<std::string> lora;  // names of its adapters, which clients ask for like models
  int64_t created = 0;            // Unix time
  std::atomic<bool> ready{false};
  std::unique_ptr<LLM> llm;
  std::unique_ptr<Admission> admission;
};

// A model as a client named it: itself, or with one of its adapters.
struct ServedModel {
  Model& model;
  std::string name;
  std::string lora;  // Request::lora
};

}  // namespace lanner::server
