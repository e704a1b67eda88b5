// SPDX-License-Identifier: Apache-2.0
// The smallest program of the project: prints the ISA it detects. For running under an emulated
// CPU.
#include <cstdio>

#include "base/error.h"
#include "base/isa.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "base/topology.h"

int main() {
  try {
    // A parallel region and a log line, so that these are emulated as well.
    lanner::ThreadPool threads(lanner::plan_threads(lanner::read_topology(), 2).cpus);
    threads.run([](int) {});
    lanner::log_warn("{} threads", threads.size());
    std::printf("{\"isa\": \"%s\"}\n", lanner::cpu_isa().to_string().c_str());
  } catch (const lanner::Error& e) {
    std::fprintf(stderr, "isa_report: %s\n", e.what());
    return 1;
  }
  return 0;
}
