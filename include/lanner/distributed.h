// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lanner/config.h"
#include "lanner/error.h"

namespace lanner {

// The backends of CommunicationBenchmark::backends: memory that ranks of one host share, and
// Intel's oneAPI Collective Communications Library, which is opened only where it is used.
inline constexpr const char* kCommunicationBackends[] = {"shm", "oneccl"};

// Why ranks cannot use one of kCommunicationBackends here, and what to do about it; "" if they can.
// Throws Error(kInvalidArgument) for another name.
std::string backend_problem(const std::string& backend);

// How the ranks of a job find each other.
struct RendezvousConfig {
  std::string address;   // "HOST:PORT" or "[IPV6]:PORT": where rank 0 listens
  std::string secret;    // that all ranks know, at least 16 characters; it never travels
  int rank = -1;         // -1: whichever is free (not 0)
  int ranks = 0;         // 0 (not for rank 0): as rank 0 says
  double timeout = 300;  // seconds until all have come
  // Rank 0 is told the port it listens on, before anybody comes: port 0 is any free one.
  std::function<void(int port)> on_listening = {};
};

// What benchmark_communication measures.
struct CommunicationBenchmark {
  std::vector<std::string> backends = {};  // none: all that can be used by these ranks
  std::vector<int64_t> bytes = {4 << 10,   16 << 10,  32 << 10, 64 << 10,
                                128 << 10, 512 << 10, 4 << 20};  // of sums, in fp32
  std::string wire = "fp32";                                     // or "bf16": over oneCCL
  int repeat = 200;
};

// Meets the other ranks and measures with them what their messages cost. Every rank calls it; rank
// 0's benchmark counts, and rank 0 gets one JSON object, the others an empty text:
//   {"ranks", "hosts", "interface", "threads_per_rank", "cpu_for_each", "wire",
//    "skipped": [{"backend", "reason"}],
//    "all_reduce": [{"backend", "sum_bytes", "min_us", "median_us", "p99_us", "gbps", "sent_bytes",
//                    "copied_bytes", "write_us"}],
//    "step": [{"backend", "min_us", "median_us", "p99_us"}]}
// A sum lasts from the moment that the rank's part is written (write_us) until all parts are added
// to the result. sent_bytes and copied_bytes are those of one rank for one sum; "step" is 2 KiB
// from rank 0 to all and 320 bytes from all to all. Throws Error: kIo when ranks do not come, fail
// or die; kUnsupported for a backend that was named and cannot be used; kInvalidArgument.
std::string benchmark_communication(const RendezvousConfig& rendezvous,
                                    const CommunicationBenchmark& benchmark = {});

// What plan_distributed predicts a model's decoding for.
struct DistributedPlan {
  std::vector<int> ranks = {1, 2, 4, 8};
  // The ranks' connection: what a small message takes (us) and bytes per second in 10^9, or,
  // instead of both, a report of benchmark_communication.
  double latency_us = 0;
  double bandwidth_gbps = 0;
  std::string communication;
  // 10^9 bytes per second that a rank reads from its memory; 0: as this machine.
  double read_gbps = 0;
  int sums_per_layer = 2;  // 1 where attention and MLP of a block are parallel
  int batch = 1;
  int depth = 0;  // tokens in the KV cache before
};

// Measures some of the model's layers here, with random weights of the type that LlmConfig names,
// and predicts the time of a token on several ranks: what is divided among them, what is not, and
// their messages. `path` is what LlmConfig::random_weights lets it be: a folder with config.json, a
// config.json or a preset. One JSON object:
//   {"model": {"name", "dtype", "num_layers", "hidden_size", "layer_bytes", "output_bytes"},
//    "measured": {"layers", "layer_ms", "fixed_ms", "read_gbps", "layer_gbps", "cpu"},
//    "ranks": [{"ranks", "tpot_ms", "compute_ms", "reduce_ms", "step_ms", "tokens_per_s",
//               "efficiency", "sent_bytes"}]}
// efficiency is against the first number of ranks; sent_bytes is one rank's per token. Throws as
// benchmark_model, and Error(kInvalidArgument) for figures that make no sense.
std::string plan_distributed(const std::string& path, const LlmConfig& config,
                             const DistributedPlan& plan, const ProgressCallback& progress = {});

// A secret for ranks that the caller starts itself: 64 random hexadecimal digits.
std::string make_job_secret();

}  // namespace lanner
