// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/isa.h"
#include "base/topology.h"
#include "cli/context.h"

namespace lanner::cli {

// One line of `lanner doctor`.
struct Check {
  enum class Level {
    kOk,
    kWarn,  // it runs, but slower or shorter than it could
    kBad,   // it does not run
  };
  std::string name;
  Level level = Level::kOk;
  std::string finding;
  std::string advice = {};  // what to do; empty for kOk
};

const char* level_name(Check::Level level);  // "ok", "warn", "bad"

// What the checks of a machine look at.
struct DoctorSource {
  std::string root;  // prefix of /proc and /sys; "" is the live machine
  Topology topology;
  Isa detected;  // by the CPU and the system
  Isa used;      // of it, by LANNER_MAX_ISA
  ThreadPlan threads;
  int64_t open_files = 0;           // RLIMIT_NOFILE; -1: no limit
  int64_t locked_memory_bytes = 0;  // RLIMIT_MEMLOCK; -1: no limit
  std::string oneccl_problem;       // backend_problem("oneccl")
};

DoctorSource read_doctor_source(const Context& context);

std::vector<Check> check_machine(const DoctorSource& source);
// Of a model's files, its plan of the memory and its text, without loading its weights.
std::vector<Check> check_model(const std::string& path, const Context& context);

}  // namespace lanner::cli
