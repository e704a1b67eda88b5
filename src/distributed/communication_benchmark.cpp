// SPDX-License-Identifier: Apache-2.0
#include "distributed/communication_benchmark.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "distributed/connect_ranks.h"
#include "distributed/rank_cpus.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kStepBytes = 2048;      // token ids and block tables of a decode step
constexpr size_t kTopKBytes = 320;       // 40 candidates, a score and an id each
constexpr int64_t kManyBytes = 1 << 20;  // longer ones are repeated less often

double at(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

int warm_ups(int repeat) { return repeat / 5 + 2; }

Json times_row(std::vector<double> times) {
  std::ranges::sort(times);
  return Json{
      {"min_us", times.front()}, {"median_us", at(times, 0.5)}, {"p99_us", at(times, 0.99)}};
}

// The parts of rank r are r + 1.
void check_sum(Communicator& communicator, const Tensor& y, ThreadPool& threads) {
  float* values = y.data<float>();
  std::fill_n(values, y.numel(), 0.0f);
  const PartialSum part = communicator.begin_sum(y);
  std::fill_n(part.values.data<float>(), y.numel(), static_cast<float>(communicator.rank() + 1));
  communicator.finish_sum(y, threads);
  const int size = communicator.size();
  const float expected = static_cast<float>(size * (size + 1) / 2);
  for (int64_t i = 0; i < y.numel(); ++i) {
    if (values[i] == expected) continue;
    throw_error(ErrorCode::kInternal, "[distributed] {}: element {} of a sum is {}, not {}",
                communicator.backend(), i, values[i], expected);
  }
}

Json sum_row(Communicator& communicator, const std::string& backend, int64_t bytes, int repeat,
             ThreadPool& threads) {
  const Buffer buffer(static_cast<size_t>(bytes));
  const Tensor y(buffer.data(), DType::kF32, Shape{bytes / 4});
  check_sum(communicator, y, threads);
  const CommunicatorStats before = communicator.stats();
  const int runs = bytes > kManyBytes ? std::max(repeat / 10, 5) : repeat;
  std::vector<double> writes, sums_us;
  for (int i = -warm_ups(runs); i < runs; ++i) {
    const PartialSum part = communicator.begin_sum(y);
    // As a GEMM would: the copies of the cache lines that the others have are of no use any more.
    const Clock::time_point start = Clock::now();
    std::fill_n(part.values.data<float>(), y.numel(), static_cast<float>(i));
    const double write_us = us_since(start);
    const Clock::time_point written = Clock::now();
    communicator.finish_sum(y, threads);
    if (i < 0) continue;
    sums_us.push_back(us_since(written));
    writes.push_back(write_us);
  }
  Json row{{"backend", backend}, {"sum_bytes", bytes}};
  row.update(times_row(std::move(sums_us)));
  row["write_us"] = times_row(std::move(writes)).at("median_us");
  const CommunicatorStats after = communicator.stats();
  const uint64_t sums = after.sums - before.sums;
  row["gbps"] = static_cast<double>(bytes) / row["median_us"].get<double>() * 1e-3;
  row["sent_bytes"] = (after.sum_bytes - before.sum_bytes) / sums;
  row["copied_bytes"] = (after.sum_bytes_copied - before.sum_bytes_copied) / sums;
  return row;
}

Json step_row(Communicator& communicator, const std::string& backend, int repeat) {
  const std::vector<std::byte> mine(kTopKBytes);
  std::vector<std::byte> all(kTopKBytes * static_cast<size_t>(communicator.size()));
  Json row{{"backend", backend}};
  std::vector<double> times;
  for (int i = -warm_ups(repeat); i < repeat; ++i) {
    const Clock::time_point start = Clock::now();
    communicator.broadcast(std::vector<std::byte>(kStepBytes));
    communicator.all_gather(mine, all);
    if (i >= 0) times.push_back(us_since(start));
  }
  row.update(times_row(std::move(times)));
  return row;
}

CommunicationPlan shared_plan(Rendezvous& rendezvous, const CommunicationPlan& plan) {
  const Json own{{"backends", plan.backends},
                 {"bytes", plan.bytes},
                 {"wire", plan.wire},
                 {"repeat", plan.repeat}};
  const Json shared = parse_json(rendezvous.exchange(own.dump()).front(), "rank 0's plan");
  return {.backends = shared.at("backends"),
          .bytes = shared.at("bytes"),
          .wire = shared.at("wire"),
          .repeat = shared.at("repeat")};
}

}  // namespace

Json measure_communication(std::shared_ptr<Rendezvous> rendezvous, const CommunicationPlan& given,
                           const std::vector<int>& mine) {
  const CommunicationPlan plan = shared_plan(*rendezvous, given);
  check_argument(
      !plan.bytes.empty() &&
          std::ranges::all_of(plan.bytes, [](int64_t b) { return b >= 4 && b % 4 == 0; }) &&
          plan.repeat > 0 && (plan.wire == "fp32" || plan.wire == "bf16"),
      "[distributed] the benchmark needs sizes of whole fp32 numbers, repetitions, and "
      "fp32 or bf16 to send");
  const RankCpus place = choose_rank_cpus(*rendezvous, mine);
  pin_this_thread(place.cpus.front());
  ThreadPool threads(place.cpus);
  Json hosts = Json::array();
  for (const HostName& host : rendezvous->hosts()) hosts.push_back(host.name);
  Json report{{"ranks", rendezvous->size()},
              {"hosts", hosts},
              {"interface", rendezvous->interface()},
              {"threads_per_rank", place.cpus.size()},
              {"cpu_for_each", place.are_own},
              {"wire", plan.wire},
              {"skipped", Json::array()},
              {"all_reduce", Json::array()},
              {"step", Json::array()}};
  std::vector<std::string> backends = plan.backends;
  if (backends.empty() && rendezvous->is_one_host()) backends.emplace_back("shm");
  if (plan.backends.empty()) backends.emplace_back("oneccl");
  for (const std::string& backend : backends) {
    std::unique_ptr<Communicator> communicator;
    try {
      communicator = connect_ranks(rendezvous,
                                   {.backend = backend,
                                    .sum_elements = *std::ranges::max_element(plan.bytes) / 4,
                                    .wire = plan.wire == "bf16" ? DType::kBf16 : DType::kF32,
                                    .has_cpu_for_each = place.are_own},
                                   threads);
    } catch (const Error& error) {
      if (!plan.backends.empty() || error.code() != ErrorCode::kUnsupported) throw;
      report["skipped"].push_back({{"backend", backend}, {"reason", error.what()}});
      continue;
    }
    for (const int64_t bytes : plan.bytes) {
      report["all_reduce"].push_back(sum_row(*communicator, backend, bytes, plan.repeat, threads));
    }
    report["step"].push_back(step_row(*communicator, backend, plan.repeat));
    communicator->barrier();
  }
  // Nobody leaves while another still measures.
  rendezvous->exchange("");
  return rendezvous->rank() == 0 ? report : Json();
}

}  // namespace lanner
