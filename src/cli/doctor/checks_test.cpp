// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/checks.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

namespace lanner::cli {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using Level = Check::Level;

// A machine on which nothing is wrong, in files of its own.
class DoctorTest : public testing::Test {
 protected:
  DoctorTest() {
    root_ = fs::path(testing::TempDir()) / fmt::format("lanner_doctor_{}", ::getpid());
    fs::remove_all(root_);
    put("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2 amx_tile\nmicrocode\t: 0x2b\n");
    put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
    put("/proc/sys/kernel/numa_balancing", "0");
    source_.root = root_;
    source_.detected = source_.used = Isa{Isa::kAvx2, Isa::kAvx512, Isa::kAmxTile};
    for (int i = 0; i < 4; ++i) {
      source_.topology.cpus.push_back({.id = i, .core = i});
      put(fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", i), "performance");
    }
    source_.topology.memory_bytes = int64_t{16} << 30;
    source_.topology.available_bytes = int64_t{12} << 30;
    source_.threads = {{0, 1, 2, 3}, "4 physical cores"};
    source_.open_files = 65536;
    source_.locked_memory_bytes = -1;
  }
  ~DoctorTest() override { fs::remove_all(root_); }

  void put(const std::string& path, const std::string& text) const {
    const fs::path file = root_.string() + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << '\n';
  }
  Check find(const std::string& name) const {
    for (const Check& check : check_machine(source_)) {
      if (check.name == name) return check;
    }
    ADD_FAILURE() << "no check " << name;
    return {};
  }

  fs::path root_;
  DoctorSource source_;
};

TEST_F(DoctorTest, FindsNothingOnAGoodMachine) {
  for (const Check& check : check_machine(source_)) {
    EXPECT_EQ(check.level, Level::kOk) << check.name << ": " << check.finding;
    EXPECT_EQ(check.advice, "") << check.name;
    EXPECT_NE(check.finding, "") << check.name;
  }
}

TEST_F(DoctorTest, SaysWhatIsWrongAndWhatToDo) {
  struct Case {
    const char* name;
    std::function<void(DoctorSource&)> damage;
    const char* finding;
    const char* advice;
  };
  const Case cases[] = {
      {"isa", [](DoctorSource& s) { s.used = Isa{Isa::kAvx2}; }, "capped", "LANNER_MAX_ISA"},
      {"isa", [](DoctorSource& s) { s.used = s.detected = Isa{}; }, "scalar", "-cpu host"},
      {"amx", [](DoctorSource& s) { s.used = s.detected = Isa{Isa::kAvx2}; }, "permission",
       "Linux"},
      {"threads", [](DoctorSource& s) { s.topology.cpu_quota = 0.5; }, "4", "0.50 of a CPU"},
      {"threads", [](DoctorSource& s) { s.topology.cpu_quota = 2.5; }, "4", "2.50 CPUs"},
      {"open files", [](DoctorSource& s) { s.open_files = 256; }, "256", "ulimit"},
      {"memory", [](DoctorSource& s) { s.topology.available_bytes = 1 << 28; }, "256", "cgroup"},
      {"huge pages",
       [&](DoctorSource&) {
         put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]");
       },
       "[never]", "madvise"},
      {"governor",
       [&](DoctorSource&) {
         put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave");
       },
       "powersave (1)", "cpupower"},
      {"numa",
       [&](DoctorSource& s) {
         s.topology.cpus[3].numa_node = 1;
         put("/proc/sys/kernel/numa_balancing", "1");
       },
       "2 nodes", "numa_balancing=0"},
  };
  const DoctorSource good = source_;
  for (const Case& c : cases) {
    source_ = good;
    c.damage(source_);
    const Check check = find(c.name);
    EXPECT_EQ(check.level, Level::kWarn) << c.name;
    EXPECT_THAT(check.finding, HasSubstr(c.finding));
    EXPECT_THAT(check.advice, HasSubstr(c.advice));
  }
}

TEST_F(DoctorTest, LivesWithASystemThatSaysNothing) {
  fs::remove_all(root_);
  source_.topology.available_bytes = 0;
  source_.oneccl_problem = "liblanner_ccl.so: no such file";
  for (const Check& check : check_machine(source_)) EXPECT_NE(check.level, Level::kBad);
  EXPECT_THAT(find("huge pages").finding, HasSubstr("no transparent"));
  EXPECT_THAT(find("microcode").finding, HasSubstr("not told"));
  EXPECT_THAT(find("oneccl").finding, HasSubstr("liblanner_ccl.so: no such"));
  put("/proc/cpuinfo", "flags\t\t: fpu hypervisor\n");
  EXPECT_THAT(find("microcode").finding, HasSubstr("virtual machine"));
}

TEST(Doctor, ReadsTheLiveMachine) {
  Context context{.backend = {}, .out = std::cout, .err = std::cerr};
  context.backend.backend_problem = [](const std::string& name) { return "no " + name; };
  const DoctorSource source = read_doctor_source(context);
  EXPECT_EQ(source.oneccl_problem, "no oneccl");
  EXPECT_FALSE(source.threads.cpus.empty());
  EXPECT_GE(check_machine(source).size(), 10u);
}

}  // namespace
}  // namespace lanner::cli
