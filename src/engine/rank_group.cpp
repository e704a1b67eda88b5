// SPDX-License-Identifier: Apache-2.0
#include "engine/rank_group.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <ranges>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/isa.h"
#include "base/log.h"
#include "distributed/connect_ranks.h"
#include "distributed/job_secret.h"
#include "distributed/rank_cpus.h"
#include "distributed/shm_segment.h"
#include "engine/rank_message.h"
#include "engine/rendezvous_options.h"

namespace lanner {
namespace {

// Of gathered and broadcast pieces in shared memory; longer ones take several.
constexpr int64_t kMessageBytes = 256 << 10;
// Ranks that this process starts come at once, or their programs end.
constexpr double kTimeToStart = 60;
// A job that is stopped at the terminal goes on when it is continued: ranks of one machine notice
// each other's end by their connections, and one that stands still inside a step by stall_time.
constexpr std::chrono::hours kSilentTimeHere{24};
struct Hosts {
  std::vector<std::string> names;
  std::vector<int> counts;
};

// "a,b:2,[::1]:3".
Hosts parse_hosts(const std::string& text) {
  Hosts hosts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view entry(text.data() + begin, end - begin);
    begin = end + 1;
    int count = 1;
    const size_t colon = entry.rfind(':');
    const size_t bracket = entry.rfind(']');
    if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
      const std::string_view number = entry.substr(colon + 1);
      const auto [stop, error] =
          std::from_chars(number.data(), number.data() + number.size(), count);
      if (error != std::errc() || stop != number.data() + number.size()) count = 0;
      entry = entry.substr(0, colon);
    }
    check_argument(!entry.empty() && count >= 1 && count <= kMaxShmRanks,
                   "hosts '{}': expected NAME or NAME:RANKS with commas between them, 1 to {} "
                   "ranks each",
                   text, kMaxShmRanks);
    hosts.names.emplace_back(entry);
    hosts.counts.push_back(count);
  }
  return hosts;
}

RanksPlan plan_hosts(const LlmConfig& config) {
  check_argument(config.tensor_parallel == 0,
                 "tensor_parallel and hosts cannot be combined: hosts says how many ranks there "
                 "are");
  const Hosts hosts = parse_hosts(config.hosts);
  RanksPlan plan{.size = 0,
                 .started_here = hosts.counts.front() - 1,
                 .is_one_host = false,
                 .address = config.rendezvous,
                 .per_host = hosts.counts,
                 .reason = fmt::format("hosts {}", config.hosts)};
  for (const int count : hosts.counts) plan.size += count;
  if (plan.address.empty()) {
    plan.address = fmt::format("{}:{}", hosts.names.front(), kRendezvousPort);
  }
  return plan;
}

std::string job_text(const RankJob& job) {
  MessageWriter writer;
  writer.put_text(job.path);
  write_config(job.config, writer);
  const std::vector<std::byte> bytes = writer.take();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// As the other ranks find it, wherever they were started.
std::string absolute_path(const std::string& path) {
  std::error_code failure;
  const std::filesystem::path found = std::filesystem::canonical(path, failure);
  return failure ? path : found.string();  // the name of random weights
}

std::string hash_of_contents(const ModelFiles& files) {
  const auto start = std::chrono::steady_clock::now();
  std::string text = fmt::format("{:016x}", content_hash(files));
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  log_info("[distributed] the content of the weights is {}, hashed in {:.1f} ms", text,
           time.count());
  return text;
}

bool all_say(Rendezvous& rendezvous, bool mine) {
  const std::vector<std::string> all = rendezvous.exchange(mine ? "yes" : "no");
  return std::ranges::all_of(all, [](const std::string& text) { return text == "yes"; });
}

}  // namespace

RanksPlan plan_ranks(const Topology& topology, const LlmConfig& config, bool can_start) {
  check_argument(config.tensor_parallel >= 0 && config.tensor_parallel <= kMaxShmRanks,
                 "tensor_parallel must be 0 (automatic) to {}, not {}", kMaxShmRanks,
                 config.tensor_parallel);
  if (!config.hosts.empty()) return plan_hosts(config);
  if (!config.rendezvous.empty()) {
    check_argument(config.tensor_parallel >= 1,
                   "rendezvous {} without hosts: tensor_parallel has to say how many ranks come "
                   "there",
                   config.rendezvous);
    return {.size = config.tensor_parallel,
            .is_one_host = false,
            .address = config.rendezvous,
            .per_host = {},
            .reason = fmt::format("{} ranks", config.tensor_parallel)};
  }
  RanksPlan plan{.size = config.tensor_parallel,
                 .address = "127.0.0.1:0",
                 .per_host = {},
                 .reason = fmt::format("{} ranks", config.tensor_parallel)};
  if (plan.size == 0) {
    const std::vector<int> cpus = plan_compute_threads(topology, config).cpus;
    std::set<int> nodes;
    for (const Cpu& cpu : topology.cpus) {
      if (std::ranges::find(cpus, cpu.id) != cpus.end()) nodes.insert(cpu.numa_node);
    }
    plan.size = can_start ? std::max(static_cast<int>(nodes.size()), 1) : 1;
    plan.reason = fmt::format("one rank for each of {} NUMA nodes", plan.size);
  }
  plan.started_here = plan.size - 1;
  return plan;
}

RankJob share_job(Rendezvous& rendezvous, const RankJob& mine) {
  const std::string text =
      rendezvous.exchange(rendezvous.rank() == 0 ? job_text(mine) : "").front();
  const auto data = std::as_bytes(std::span(text));
  const std::vector<std::byte> bytes(data.begin(), data.end());
  MessageReader reader(bytes);
  RankJob job;
  job.path = reader.get_text();
  job.config = read_config(reader);
  return job;
}

RankResources prepare_rank(const std::shared_ptr<Rendezvous>& rendezvous, const ModelFiles& files,
                           const LlmConfig& config) {
  const Topology topology = read_topology();
  const RankPlace place{.rank = rendezvous->rank(),
                        .size = rendezvous->size(),
                        .here = rendezvous->ranks_on_host(rendezvous->rank())};
  const ModelPlan plan = plan_model(files, config, topology, place);
  rendezvous->agree("model", fmt::format("{} {:016x}", plan.info.model_type, fingerprint(files)));
  rendezvous->agree("content of the weights", hash_of_contents(files));
  rendezvous->agree("type of the weights",
                    plan.weight_dtype ? dtype_name(*plan.weight_dtype) : "that of the file");
  rendezvous->agree("type of the KV cache", plan.kv_dtype());
  // What every rank computes for itself (norms, a router's choice) has to be the same everywhere.
  rendezvous->agree("instruction set (LANNER_MAX_ISA lowers it)", cpu_isa().to_string());

  ThreadPlan threads = plan_compute_threads(topology, config);
  const RankCpus own = choose_rank_cpus(*rendezvous, threads.cpus);
  const bool has_cpu_for_each = all_say(*rendezvous, own.are_own);
  threads.cpus = own.cpus;
  // More ranks than CPUs: the system shares them out.
  if (!own.are_own && threads.cpus.size() == 1) threads.cpus = {-1};
  threads.reason = fmt::format("rank {} of {}, {} on this machine: {}", place.rank, place.size,
                               place.here, threads.reason);

  const int64_t sum_elements = most_tokens_per_step(plan, config) * plan.info.hidden_size;
  const std::string largest = rendezvous->exchange(std::to_string(sum_elements)).front();
  ThreadPool pool(threads.cpus);
  return {.communicator = connect_ranks(
              rendezvous,
              {.backend = config.communicator == "fastest" ? "auto" : config.communicator,
               .sum_elements = std::stoll(largest),
               .message_bytes = kMessageBytes,
               .wire = parse_dtype(config.wire).value_or(DType::kF32),
               .has_cpu_for_each = has_cpu_for_each},
              pool),
          .threads = std::move(threads),
          .ranks_here = place.here};
}

RankGroup::RankGroup(const ModelFiles& files, const LlmConfig& config, const RanksPlan& plan,
                     const ProgressCallback& progress,
                     std::function<void(const std::string&)> on_failure) {
  const bool has_secret = !config.job_secret.empty();
  check_argument(has_secret || plan.is_one_host,
                 "the ranks of several machines need a secret that all of them know (job_secret, "
                 "LANNER_SECRET)");
  const bool is_known =
      config.communicator == "auto" ||
      std::ranges::find(kCommunicators, config.communicator) != std::end(kCommunicators);
  check_argument(is_known, "communicator '{}' is unknown; known: auto, {}", config.communicator,
                 fmt::join(kCommunicators, ", "));
  check_argument(std::ranges::find(kWireDtypes, config.wire) != std::end(kWireDtypes),
                 "wire '{}' is unknown; known: {}", config.wire, fmt::join(kWireDtypes, ", "));
  const bool is_shm =
      config.communicator == "shm" || (config.communicator == "auto" && plan.is_one_host);
  check_argument(config.wire == "fp32" || !is_shm,
                 "wire {}: ranks add up fp32 in shared memory; the communicator has to be oneccl, "
                 "or fastest",
                 config.wire);
  const std::string secret = plan.is_one_host ? make_secret() : config.job_secret;
  RendezvousOptions options =
      to_options({.address = plan.address,
                  .secret = secret,
                  .rank = 0,
                  .ranks = plan.size,
                  .timeout = plan.is_one_host ? kTimeToStart : config.rendezvous_timeout});
  if (plan.is_one_host) options.silent_time = kSilentTimeHere;
  options.on_wait = [&] {
    processes_.check();
    if (progress) progress("ranks", 0, 0);
  };
  options.on_failure = std::move(on_failure);
  options.on_listening = [&](uint16_t port) {
    // An address of this machine, whatever it is called elsewhere.
    std::string host = plan.is_one_host ? "127.0.0.1" : options.address.host;
    if (host.find(':') != std::string::npos) host = "[" + host + "]";
    processes_.start(config, plan.started_here, fmt::format("{}:{}", host, port), secret);
    if (plan.size - 1 > plan.started_here) {
      log_info("[distributed] waiting for {} ranks at {}:{}", plan.size - 1 - plan.started_here,
               host, port);
    }
  };
  try {
    rendezvous_ = std::make_shared<Rendezvous>(options);
  } catch (...) {
    processes_.ask_to_end();  // there is nobody to meet
    throw;
  }
  try {
    check_hosts(plan);
    RankJob job{.path = absolute_path(files.path), .config = config};
    if (job.config.communicator == "auto") {
      job.config.communicator = plan.is_one_host ? "shm" : "fastest";
    }
    share_job(*rendezvous_, job);
    resources_ = prepare_rank(rendezvous_, files, job.config);
  } catch (const std::exception& error) {
    rendezvous_->fail(error.what());
    throw;
  }
  log_info("[distributed] {} ({}), by {}", plan.reason,
           fmt::join(rendezvous_->hosts() | std::views::transform(&HostName::name), ", "),
           resources_.communicator->backend());
}

// By number: a machine has other names for itself than others have for it.
void RankGroup::check_hosts(const RanksPlan& plan) const {
  if (plan.per_host.empty()) return;
  std::map<std::string, int> found;
  for (const HostName& host : rendezvous_->hosts()) ++found[host.name + host.boot];
  std::vector<int> counts, expected = plan.per_host;
  for (const auto& [name, count] : found) counts.push_back(count);
  std::ranges::sort(counts);
  std::ranges::sort(expected);
  const int here = rendezvous_->ranks_on_host(0);
  if (counts == expected && here == plan.per_host.front()) return;
  std::string came;
  for (const HostName& host : rendezvous_->hosts()) {
    came += (came.empty() ? "" : ", ") + host.name;
  }
  throw_error(ErrorCode::kIo,
              "[distributed] {} was expected to be {} machines; the ranks that came are on {}",
              plan.reason, plan.per_host.size(), came);
}

RankResources RankGroup::take_resources() { return std::move(resources_); }

void RankGroup::check() {
  rendezvous_->throw_if_failed();
  try {
    processes_.check();
  } catch (const Error&) {
    rendezvous_->wait_for_failure();
    throw;
  }
}

RankGroup::~RankGroup() {
  resources_.communicator.reset();  // if nobody took it
  rendezvous_.reset();
}

}  // namespace lanner
