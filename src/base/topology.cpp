// SPDX-License-Identifier: Apache-2.0
#include "base/topology.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

#include <fmt/format.h>
#include <sched.h>

#include "base/error.h"

namespace lanner {
namespace {

// The kernel's own bound is 8192 (CONFIG_NR_CPUS); beyond it a number is a mistake.
constexpr int kMaxCpus = 8192;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::optional<int64_t> parse_int(std::string_view text) {
  int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0-3,8" -> 0 1 2 3 8; parts that make no sense are left out.
std::vector<int> parse_cpu_list(std::string_view text) {
  std::set<int> cpus;
  for (std::string_view part : split(trim(text), ',')) {
    const size_t dash = part.find('-');
    const auto first = parse_int(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_int(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last >= kMaxCpus) continue;
    for (int64_t cpu = *first; cpu <= *last; ++cpu) cpus.insert(static_cast<int>(cpu));
  }
  return {cpus.begin(), cpus.end()};
}

// "48K" -> 49152
int64_t parse_cache_size(std::string_view text) {
  int64_t unit = 1;
  if (text.ends_with('K')) unit = int64_t{1} << 10;
  if (text.ends_with('M')) unit = int64_t{1} << 20;
  if (text.ends_with('G')) unit = int64_t{1} << 30;
  if (unit > 1) text.remove_suffix(1);
  const auto value = parse_int(text);
  const bool sensible = value && *value > 0 && *value <= (int64_t{1} << 40) / unit;
  return sensible ? *value * unit : 0;
}

// The files of /sys and /proc under the source's root; a file that cannot be read is "no value".
class MachineFiles {
 public:
  explicit MachineFiles(const std::string& root) : root_(root) {}

  std::optional<std::string> text(const std::string& path) const {
    std::ifstream file(root_ + path, std::ios::binary);
    if (!file) return std::nullopt;
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (file.bad()) return std::nullopt;
    return text;
  }

  std::optional<int64_t> number(const std::string& path) const {
    const auto found = text(path);
    return found ? parse_int(trim(*found)) : std::nullopt;
  }

  std::vector<int> cpu_list(const std::string& path) const {
    const auto found = text(path);
    return found ? parse_cpu_list(*found) : std::vector<int>();
  }

  // Names in a folder, e.g. node0, node1.
  std::vector<std::string> names(const std::string& path) const {
    std::vector<std::string> names;
    std::error_code failure;
    for (std::filesystem::directory_iterator it(root_ + path, failure), end; !failure && it != end;
         it.increment(failure)) {
      names.push_back(it->path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string root_;
};

std::vector<int> allowed_cpus(const MachineFiles& files, std::vector<int> affinity) {
  if (affinity.empty()) affinity = affinity_mask();
  std::sort(affinity.begin(), affinity.end());
  affinity.erase(std::unique(affinity.begin(), affinity.end()), affinity.end());
  const std::vector<int> online = files.cpu_list("/sys/devices/system/cpu/online");
  std::vector<int> allowed;
  std::set_intersection(affinity.begin(), affinity.end(), online.begin(), online.end(),
                        std::back_inserter(allowed));
  if (!allowed.empty()) return allowed;
  return affinity.empty() ? std::vector<int>{0} : affinity;
}

std::string cpu_path(int cpu, const char* file) {
  return fmt::format("/sys/devices/system/cpu/cpu{}/{}", cpu, file);
}

// What tells one physical core from another: the first of its SMT siblings where the kernel lists
// them, else the ids, which repeat from socket to socket and from die to die.
using CoreKey = std::tuple<int64_t, int64_t, int64_t>;

CoreKey core_key(const MachineFiles& files, int cpu) {
  for (const char* list : {"topology/core_cpus_list", "topology/thread_siblings_list"}) {
    const std::vector<int> siblings = files.cpu_list(cpu_path(cpu, list));
    if (!siblings.empty()) return {-1, -1, siblings.front()};
  }
  const auto core = files.number(cpu_path(cpu, "topology/core_id"));
  if (!core) return {-1, -1, cpu};
  return {files.number(cpu_path(cpu, "topology/physical_package_id")).value_or(0),
          files.number(cpu_path(cpu, "topology/die_id")).value_or(0), *core};
}

std::map<int, int> read_numa_nodes(const MachineFiles& files) {
  std::map<int, int> node_of_cpu;
  for (const std::string& name : files.names("/sys/devices/system/node")) {
    if (!name.starts_with("node")) continue;
    const auto node = parse_int(std::string_view(name).substr(4));
    if (!node || *node < 0 || *node >= kMaxCpus) continue;
    for (int cpu : files.cpu_list("/sys/devices/system/node/" + name + "/cpulist")) {
      node_of_cpu[cpu] = static_cast<int>(*node);
    }
  }
  return node_of_cpu;
}

std::vector<Cpu> read_cpus(const MachineFiles& files, const std::vector<int>& affinity) {
  const std::map<int, int> node_of_cpu = read_numa_nodes(files);
  // Both kinds exist only on a hybrid CPU.
  std::vector<int> efficiency = files.cpu_list("/sys/devices/cpu_atom/cpus");
  if (files.cpu_list("/sys/devices/cpu_core/cpus").empty()) efficiency.clear();

  std::map<CoreKey, int> cores;
  std::vector<Cpu> cpus;
  for (int id : allowed_cpus(files, affinity)) {
    Cpu cpu;
    cpu.id = id;
    cpu.core = cores.emplace(core_key(files, id), static_cast<int>(cores.size())).first->second;
    const auto socket = files.number(cpu_path(id, "topology/physical_package_id"));
    // Virtual machines report -1 for "not known".
    cpu.socket = socket && *socket > 0 && *socket < kMaxCpus ? static_cast<int>(*socket) : 0;
    const auto node = node_of_cpu.find(id);
    cpu.numa_node = node == node_of_cpu.end() ? 0 : node->second;
    cpu.is_efficiency_core = std::binary_search(efficiency.begin(), efficiency.end(), id);
    cpus.push_back(cpu);
  }
  return cpus;
}

void read_caches(const MachineFiles& files, int cpu, Topology& topology) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = cpu_path(cpu, "cache/index") + std::to_string(index);
    const auto level = files.number(folder + "/level");
    const auto type = files.text(folder + "/type");
    const auto size = files.text(folder + "/size");
    if (!level || !type || !size || trim(*type) == "Instruction") continue;
    const int64_t bytes = parse_cache_size(trim(*size));
    if (bytes == 0) continue;
    if (*level == 1) topology.l1d_bytes = bytes;
    if (*level == 2) topology.l2_bytes = bytes;
    if (*level == 3) topology.l3_bytes = bytes;
  }
}

// The folders whose limits apply to this process: its own cgroup's, then each parent's up to the
// mount. Inside a container the path may name folders of the host that are not mounted; the mount
// itself is then the container's cgroup, which the walk reaches as well.
std::vector<std::string> cgroup_folders(const std::string& mount, std::string_view path) {
  std::vector<std::string> folders;
  // "/../x" is how a cgroup namespace shows what lies outside of it.
  if (path.find("..") == std::string_view::npos) {
    while (path.size() > 1) {
      folders.push_back(mount + std::string(path));
      path = path.substr(0, path.find_last_of('/'));
    }
  }
  folders.push_back(mount);
  return folders;
}

struct CgroupLimits {
  double cpus = 0;     // 0: none
  int64_t memory = 0;  // 0: none
  std::optional<int64_t> memory_left;

  void limit_cpus(int64_t quota, int64_t period) {
    if (quota <= 0 || period <= 0) return;
    const double value = static_cast<double>(quota) / static_cast<double>(period);
    cpus = cpus == 0 ? value : std::min(cpus, value);
  }
  void limit_memory(std::optional<int64_t> bytes) {
    if (!bytes || *bytes <= 0) return;
    memory = memory == 0 ? *bytes : std::min(memory, *bytes);
  }
  // `cache`: file pages counted as used that go first when memory gets short.
  void limit_memory_left(std::optional<int64_t> limit, std::optional<int64_t> used, int64_t cache) {
    if (!limit || *limit <= 0 || !used || *used < 0) return;
    const int64_t held = std::max<int64_t>(*used - std::max<int64_t>(cache, 0), 0);
    const int64_t left = std::max<int64_t>(*limit - held, 0);
    memory_left = std::min(memory_left.value_or(left), left);
  }
};

// The value of a line "key value" of memory.stat; 0 without one.
int64_t memory_stat(const MachineFiles& files, const std::string& folder, std::string_view key) {
  const std::string text = files.text(folder + "/memory.stat").value_or("");
  for (std::string_view line : split(text, '\n')) {
    const auto fields = split(trim(line), ' ');
    if (fields.size() == 2 && fields[0] == key) return parse_int(fields[1]).value_or(0);
  }
  return 0;
}

void read_cgroup_v2(const MachineFiles& files, const std::string& folder, CgroupLimits& limits) {
  // "765000 100000" or "max 100000"
  if (const auto cpu_max = files.text(folder + "/cpu.max")) {
    const auto fields = split(trim(*cpu_max), ' ');
    if (fields.size() == 2) {
      limits.limit_cpus(parse_int(fields[0]).value_or(0), parse_int(fields[1]).value_or(0));
    }
  }
  const std::optional<int64_t> memory = files.number(folder + "/memory.max");
  limits.limit_memory(memory);
  limits.limit_memory_left(memory, files.number(folder + "/memory.current"),
                           memory_stat(files, folder, "inactive_file"));
}

void read_cgroup_v1(const MachineFiles& files, const std::string& folder, CgroupLimits& limits) {
  limits.limit_cpus(files.number(folder + "/cpu.cfs_quota_us").value_or(0),
                    files.number(folder + "/cpu.cfs_period_us").value_or(0));
  const std::optional<int64_t> memory = files.number(folder + "/memory.limit_in_bytes");
  limits.limit_memory(memory);
  limits.limit_memory_left(memory, files.number(folder + "/memory.usage_in_bytes"),
                           memory_stat(files, folder, "total_inactive_file"));
}

CgroupLimits read_cgroups(const MachineFiles& files) {
  const std::string kRoot = "/sys/fs/cgroup";
  CgroupLimits limits;
  // Lines "hierarchy:controllers:path"; hierarchy 0 with no controllers is v2.
  const std::string lines = files.text("/proc/self/cgroup").value_or("0::/");
  for (std::string_view line : split(lines, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = trim(line.substr(second + 1));
    if (controllers.empty()) {
      // Alone it is mounted at the root, beside v1 at "unified".
      for (const std::string& mount : {kRoot, kRoot + "/unified"}) {
        for (const std::string& folder : cgroup_folders(mount, path)) {
          read_cgroup_v2(files, folder, limits);
        }
      }
      continue;
    }
    for (std::string_view controller : split(controllers, ',')) {
      if (controller != "cpu" && controller != "memory") continue;
      // "cpu,cpuacct" is mounted under that name; "cpu" is mostly a link to it.
      for (std::string_view name : {controller, controllers}) {
        for (const std::string& folder : cgroup_folders(kRoot + "/" + std::string(name), path)) {
          read_cgroup_v1(files, folder, limits);
        }
      }
    }
  }
  return limits;
}

// The value of "key   : value" in /proc/cpuinfo or "key:  value" in /proc/meminfo.
std::string_view proc_value(std::string_view text, std::string_view key) {
  for (std::string_view line : split(text, '\n')) {
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos && trim(line.substr(0, colon)) == key) {
      return trim(line.substr(colon + 1));
    }
  }
  return {};
}

// A line of /proc/meminfo in bytes; 0 without one.
int64_t meminfo(const MachineFiles& files, std::string_view key) {
  const std::string text = files.text("/proc/meminfo").value_or("");
  const auto fields = split(proc_value(text, key), ' ');
  const int64_t kib = fields.empty() ? 0 : parse_int(fields[0]).value_or(0);
  return kib <= 0 || kib > INT64_MAX / 1024 ? 0 : kib * 1024;
}

int64_t read_memory(const MachineFiles& files, int64_t cgroup_limit) {
  const int64_t total = meminfo(files, "MemTotal");
  if (total == 0) return cgroup_limit;
  return cgroup_limit > 0 ? std::min(total, cgroup_limit) : total;
}

int64_t read_available(const MachineFiles& files, std::optional<int64_t> cgroup_left) {
  const int64_t machine = meminfo(files, "MemAvailable");
  if (!cgroup_left) return machine;
  const int64_t left = machine == 0 ? *cgroup_left : std::min(machine, *cgroup_left);
  return std::max<int64_t>(left, 1);
}

// CPU numbers: performance cores first, second hardware threads of a core last, neighbours in one
// NUMA node.
std::vector<int> in_order_of_use(const Topology& topology) {
  std::set<int> cores_seen;
  std::vector<std::tuple<bool, bool, int, int>> ranks;
  for (const Cpu& cpu : topology.cpus) {
    const bool is_sibling = !cores_seen.insert(cpu.core).second;
    ranks.emplace_back(is_sibling, cpu.is_efficiency_core, cpu.numa_node, cpu.id);
  }
  std::sort(ranks.begin(), ranks.end());
  std::vector<int> ids;
  for (const auto& rank : ranks) ids.push_back(std::get<3>(rank));
  return ids;
}

std::string counted(int count, const char* singular, const char* plural) {
  return fmt::format("{} {}", count, count == 1 ? singular : plural);
}

}  // namespace

std::vector<int> affinity_mask() {
  constexpr size_t kSets = kMaxCpus / CPU_SETSIZE;
  cpu_set_t sets[kSets] = {};
  if (sched_getaffinity(0, sizeof(sets), sets) != 0) return {};
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (CPU_ISSET_S(static_cast<size_t>(cpu), sizeof(sets), sets)) cpus.push_back(cpu);
  }
  return cpus;
}

int Topology::num_cores() const {
  std::set<int> cores;
  for (const Cpu& cpu : cpus) cores.insert(cpu.core);
  return static_cast<int>(cores.size());
}

int Topology::num_numa_nodes() const {
  std::set<int> nodes;
  for (const Cpu& cpu : cpus) nodes.insert(cpu.numa_node);
  return static_cast<int>(nodes.size());
}

Topology read_topology(const TopologySource& source) {
  const MachineFiles files(source.root);
  Topology topology;
  topology.cpus = read_cpus(files, source.affinity);
  topology.l1d_bytes = int64_t{32} << 10;
  topology.l2_bytes = int64_t{1} << 20;
  const auto fast = std::find_if(topology.cpus.begin(), topology.cpus.end(),
                                 [](const Cpu& cpu) { return !cpu.is_efficiency_core; });
  read_caches(files, fast == topology.cpus.end() ? topology.cpus.front().id : fast->id, topology);
  const CgroupLimits limits = read_cgroups(files);
  topology.cpu_quota = limits.cpus;
  topology.memory_bytes = read_memory(files, limits.memory);
  topology.available_bytes = read_available(files, limits.memory_left);
  topology.cpu_model = proc_value(files.text("/proc/cpuinfo").value_or(""), "model name");
  return topology;
}

ThreadPlan plan_threads(const Topology& topology, int requested) {
  check_argument(requested >= 0, "[threads] {} compute threads make no sense", requested);
  const int cores = std::max(topology.num_cores(), 1);
  const int allowed = std::max(static_cast<int>(topology.cpus.size()), 1);
  ThreadPlan plan;
  int threads = requested;
  if (requested == 0) {
    threads = cores;
    plan.reason = counted(cores, "physical core", "physical cores");
    if (topology.cpu_quota > 0) {
      threads = std::max(1, static_cast<int>(std::min<double>(cores, topology.cpu_quota)));
      plan.reason += fmt::format(", cgroup quota {:.2f}", topology.cpu_quota);
    }
  } else {
    plan.reason = counted(requested, "thread", "threads") + " asked for";
    if (requested > allowed) {
      threads = allowed;
      plan.reason += fmt::format(", cut to the {} allowed", counted(allowed, "CPU", "CPUs"));
    }
    if (topology.cpu_quota > 0 && threads > topology.cpu_quota) {
      plan.reason += fmt::format(", more than the cgroup quota {:.2f}", topology.cpu_quota);
    }
  }
  plan.cpus = in_order_of_use(topology);
  plan.cpus.resize(static_cast<size_t>(std::min(threads, allowed)), -1);  // -1: not pinned
  // Node by node: a node's threads have one shard of the weights then.
  std::ranges::stable_sort(plan.cpus, {}, [&](int cpu) {
    const auto found = std::ranges::find(topology.cpus, cpu, &Cpu::id);
    return found == topology.cpus.end() ? -1 : found->numa_node;
  });
  return plan;
}

}  // namespace lanner
