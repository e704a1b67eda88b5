// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/checks.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>

#include "base/error.h"
#include "base/json.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

namespace fs = std::filesystem;
using enum Check::Level;

// A small file of /proc or /sys without its last newline; "" if it cannot be read.
std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  while (text.ends_with('\n') || text.ends_with(' ')) text.pop_back();
  return text;
}

// The value of the first line "key : value" of /proc/cpuinfo.
std::string cpu_field(const std::string& cpuinfo, const std::string& key) {
  size_t at = 0;
  while (at < cpuinfo.size()) {
    const size_t end = std::min(cpuinfo.find('\n', at), cpuinfo.size());
    const std::string line = cpuinfo.substr(at, end - at);
    at = end + 1;
    const size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with(key)) continue;
    if (line.find_first_not_of(" \t", key.size()) != colon) continue;
    const size_t value = line.find_first_not_of(" \t", colon + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

bool has_flag(const std::string& flags, const std::string& flag) {
  return fmt::format(" {} ", flags).find(fmt::format(" {} ", flag)) != std::string::npos;
}

Check check_isa(const DoctorSource& source) {
  const std::string names = source.used.to_string();
  if (source.used != source.detected) {
    return {"isa", kWarn,
            fmt::format("{}, capped by LANNER_MAX_ISA; the CPU has {}", names,
                        source.detected.to_string()),
            "unset LANNER_MAX_ISA, unless it is a test"};
  }
  if (!source.used.has(Isa::kAvx2)) {
    return {
        "isa", kWarn, names + ": no AVX2, so every kernel is scalar code",
        "in a virtual machine let the host's CPU through (qemu: -cpu host); else expect little"};
  }
  return {"isa", kOk, names};
}

Check check_amx(const DoctorSource& source, const std::string& flags) {
  if (!has_flag(flags, "amx_tile")) return {"amx", kOk, "not on this CPU"};
  if (source.detected.has(Isa::kAmxTile)) return {"amx", kOk, "the system lets programs use it"};
  return {"amx", kWarn, "the CPU has it, but the system gives no permission to use its tiles",
          "Linux 5.16 or newer is needed, and a hypervisor that passes on XSAVE state 18"};
}

Check check_hypervisor(const std::string& flags, const std::string& microcode) {
  const std::string revision = microcode.empty() ? "not told" : microcode;
  if (!has_flag(flags, "hypervisor")) {
    return {"microcode", kOk, fmt::format("{}, on the machine itself", revision)};
  }
  return {"microcode", kOk,
          fmt::format("{}, in a virtual machine: its speed is what the host leaves it", revision)};
}

Check check_threads(const DoctorSource& source) {
  const size_t threads = source.threads.cpus.size();
  const double quota = source.topology.cpu_quota;
  const std::string finding = fmt::format("{} ({})", threads, source.threads.reason);
  if (quota > 0 && quota < 1) {
    return {
        "threads", kWarn, finding,
        fmt::format("the cgroup grants {:.2f} of a CPU: every thread is stopped for a part of the "
                    "time; grant whole CPUs",
                    quota)};
  }
  if (quota > 0 && std::abs(quota - std::round(quota)) > 1e-6 &&
      quota < source.topology.num_cores()) {
    return {
        "threads", kWarn, finding,
        fmt::format("of the cgroup's {:.2f} CPUs the fraction is unused; grant whole ones", quota)};
  }
  return {"threads", kOk, finding};
}

Check check_open_files(const DoctorSource& source) {
  constexpr int64_t kEnough = 1024;
  if (source.open_files < 0) return {"open files", kOk, "no limit"};
  const std::string finding = fmt::format("at most {}", source.open_files);
  if (source.open_files >= kEnough) return {"open files", kOk, finding};
  return {
      "open files", kWarn, finding,
      "each connection of `lanner serve` takes one: ulimit -n 65536, or LimitNOFILE= of systemd"};
}

Check check_locked_memory(const DoctorSource& source) {
  if (source.locked_memory_bytes < 0) return {"locked memory", kOk, "no limit"};
  return {"locked memory", kOk,
          fmt::format("at most {}; Lanner locks none (RDMA between hosts would: ulimit -l)",
                      format_bytes(source.locked_memory_bytes))};
}

Check check_huge_pages(const DoctorSource& source) {
  const std::string text = read_text(source.root + "/sys/kernel/mm/transparent_hugepage/enabled");
  if (text.empty()) {
    return {"huge pages", kWarn, "the kernel has no transparent huge pages",
            "weights take more time to read; use a kernel with CONFIG_TRANSPARENT_HUGEPAGE"};
  }
  if (text.find("[never]") == std::string::npos) return {"huge pages", kOk, text};
  return {
      "huge pages", kWarn, text,
      "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled: decode reads weights "
      "faster"};
}

Check check_governor(const DoctorSource& source) {
  std::map<std::string, int> governors;
  for (const Cpu& cpu : source.topology.cpus) {
    const std::string governor = read_text(fmt::format(
        "{}/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", source.root, cpu.id));
    if (!governor.empty()) ++governors[governor];
  }
  if (governors.empty())
    return {"governor", kOk, "the system does not say (virtual machines do not)"};
  std::vector<std::string> names;
  for (const auto& [name, count] : governors) names.push_back(fmt::format("{} ({})", name, count));
  const std::string finding = fmt::format("{}", fmt::join(names, ", "));
  if (governors.size() == 1 && governors.contains("performance")) {
    return {"governor", kOk, finding};
  }
  return {"governor", kWarn, finding,
          "sudo cpupower frequency-set -g performance: less time until the clock is up"};
}

Check check_numa(const DoctorSource& source) {
  const int nodes = source.topology.num_numa_nodes();
  if (nodes < 2) return {"numa", kOk, "one node"};
  const std::string finding = fmt::format("{} nodes", nodes);
  if (read_text(source.root + "/proc/sys/kernel/numa_balancing") != "1")
    return {"numa", kOk, finding};
  return {"numa", kWarn, finding + ", and the kernel moves pages between them",
          "sudo sysctl kernel.numa_balancing=0: Lanner places the weights itself"};
}

Check check_memory(const DoctorSource& source) {
  constexpr int64_t kLittle = int64_t{1} << 30;
  const int64_t available = source.topology.available_bytes;
  if (available == 0) return {"memory", kOk, "the system does not say"};
  const std::string finding = fmt::format("{} of {} available", format_bytes(available),
                                          format_bytes(source.topology.memory_bytes));
  if (available >= kLittle) return {"memory", kOk, finding};
  return {"memory", kWarn, finding, "end other programs, or raise the cgroup's limit"};
}

Check check_oneccl(const DoctorSource& source) {
  if (source.oneccl_problem.empty()) return {"oneccl", kOk, "there"};
  return {"oneccl", kOk,
          "only a job over several hosts needs it, and it is not there: " + source.oneccl_problem};
}

int64_t soft_limit(int resource) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0 ||
      limit.rlim_cur == RLIM_INFINITY) {
    return -1;
  }
  return static_cast<int64_t>(limit.rlim_cur);
}

Check check_plan(const Json& model) {
  const Json& plan = model.at("memory_plan");
  const auto context = plan.at("max_context").get<int64_t>();
  const auto longest = model.at("model_max_context").get<int64_t>();
  const std::string finding =
      fmt::format("weights {}, KV cache {}, {} of {} tokens of context",
                  format_bytes(plan.at("weight_bytes").get<int64_t>()),
                  format_bytes(plan.at("kv_cache_bytes").get<int64_t>()), context, longest);
  if (context >= longest) return {"model memory", kOk, finding};
  return {
      "model memory", kWarn, finding,
      "the memory is too small for its whole context: --kv-dtype int8 or --dtype int8 need less"};
}

Check check_text(const std::string& path, const Context& context) {
  try {
    const auto text = context.backend.load_text(path);
    if (text->has_chat_template()) return {"model text", kOk, "tokenizer and chat template"};
    return {"model text", kWarn, "a tokenizer, but no chat template",
            "`lanner run --raw` continues a text; chats need a model tuned for them"};
  } catch (const Error& error) {
    return {"model text", kWarn, error.what(),
            "without a tokenizer only token ids work: copy the model's tokenizer files beside it"};
  }
}

// Files of a download that was broken off.
std::optional<Check> check_downloads(const std::string& path) {
  std::error_code failure;
  const fs::path blobs = fs::path(path).parent_path().parent_path() / "blobs";
  for (fs::directory_iterator it(blobs, failure), end; !failure && it != end;
       it.increment(failure)) {
    const std::string extension = it->path().extension().string();
    if (extension != ".lanner-partial" && extension != ".incomplete") continue;
    return Check{"model download", kWarn, "broken off: " + it->path().filename().string(),
                 "`lanner pull` with the model's name goes on with it"};
  }
  return std::nullopt;
}

}  // namespace

const char* level_name(Check::Level level) {
  return level == kOk ? "ok" : level == kWarn ? "warn" : "bad";
}

DoctorSource read_doctor_source(const Context& context) {
  DoctorSource source;
  source.topology = read_topology();
  source.detected = detect_isa();
  source.used = cpu_isa();
  source.threads = plan_threads(source.topology, context.threads);
  source.open_files = soft_limit(RLIMIT_NOFILE);
  source.locked_memory_bytes = soft_limit(RLIMIT_MEMLOCK);
  source.oneccl_problem = context.backend.backend_problem("oneccl");
  return source;
}

std::vector<Check> check_machine(const DoctorSource& source) {
  const std::string cpuinfo = read_text(source.root + "/proc/cpuinfo");
  const std::string flags = cpu_field(cpuinfo, "flags");
  return {check_isa(source),
          check_amx(source, flags),
          check_hypervisor(flags, cpu_field(cpuinfo, "microcode")),
          check_threads(source),
          check_numa(source),
          check_huge_pages(source),
          check_governor(source),
          check_memory(source),
          check_open_files(source),
          check_locked_memory(source),
          check_oneccl(source)};
}

std::vector<Check> check_model(const std::string& path, const Context& context) {
  std::vector<Check> checks;
  try {
    LlmConfig config;
    config.threads = context.threads;
    config.max_sequences = 1;
    const Json report = parse_json(context.backend.model_report(path, config), "report");
    const Json& model = report.at("model");
    checks.push_back(
        {"model", kOk,
         fmt::format("{}: {}, {} layers, weights as {}", path, model.value("model_type", "?"),
                     model.value("num_layers", int64_t{0}), model.value("dtype", "?"))});
    if (model.contains("memory_plan")) checks.push_back(check_plan(model));
  } catch (const Error& error) {
    checks.push_back(
        {"model", kBad, error.what(),
         error.code() == ErrorCode::kResourceExhausted
             ? "a smaller --dtype, --kv-dtype or --max-context needs less memory"
             : "see what the sentence names; `lanner pull` fetches and checks models"});
  }
  checks.push_back(check_text(path, context));
  if (auto download = check_downloads(path)) checks.push_back(*download);
  return checks;
}

}  // namespace lanner::cli
