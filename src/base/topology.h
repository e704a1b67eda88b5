// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lanner {

// One logical CPU that this process may use.
struct Cpu {
  int id = 0;    // the kernel's number
  int core = 0;  // physical core, counted from 0 over all of cpus; SMT siblings share it
  int socket = 0;
  int numa_node = 0;
  bool is_efficiency_core = false;  // the slower kind of a hybrid CPU
};

// The part of the machine that this process may use: sysfs cut down to the affinity mask and the
// cgroup's CPU quota. Plain data, so that tests use recorded machines.
struct Topology {
  std::vector<Cpu> cpus;     // in the order of their numbers
  double cpu_quota = 0;      // CPUs' worth of time the cgroup grants; 0 = no limit
  int64_t l1d_bytes = 0;     // of one core
  int64_t l2_bytes = 0;      // of one core (or the cluster that shares it)
  int64_t l3_bytes = 0;      // of one last-level cache
  int64_t memory_bytes = 0;  // RAM, or the cgroup's limit if that is less; 0 = unknown
  // What this process may still take of it when the topology was read, file cache that the system
  // would give up included; 0 = unknown, at least 1 otherwise.
  int64_t available_bytes = 0;
  std::string cpu_model;

  // Of `cpus`: what this process may use, not what the machine has.
  int num_cores() const;
  int num_numa_nodes() const;
};

// Where the facts are read: a recorded machine in tests, the live one by default.
struct TopologySource {
  std::string root;           // prefix of /sys and /proc; "" is the live machine
  std::vector<int> affinity;  // CPU numbers; empty: sched_getaffinity of this process
};

// The CPUs that the calling thread may run on (sched_getaffinity); empty if it cannot be read.
std::vector<int> affinity_mask();

// Never throws: a fact that cannot be read is replaced by a careful guess (one socket, no SMT,
// 32 KiB L1d, 1 MiB L2, no L3).
Topology read_topology(const TopologySource& source = {});

// The compute threads to use and the reason, e.g. "4 physical cores, cgroup quota 2.50".
struct ThreadPlan {
  std::vector<int> cpus;  // one CPU per thread, to pin it to; performance cores first
  std::string reason;
};

// requested = 0: min(physical cores, floor(quota)), at least 1. More threads than allowed CPUs are
// cut down to them, and the reason says so. Threads next to each other share a NUMA node; SMT
// siblings come last. Throws Error(kInvalidArgument) for a negative number.
ThreadPlan plan_threads(const Topology& topology, int requested);

}  // namespace lanner
