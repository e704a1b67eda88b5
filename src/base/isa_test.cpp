// SPDX-License-Identifier: Apache-2.0
#include "base/isa.h"

#include <fstream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>

#include "base/env.h"
#include "base/error.h"

namespace lanner {
namespace {

using ::testing::HasSubstr;

constexpr Isa kEverything{Isa::kAvx2,       Isa::kAvxVnni,    Isa::kAvx512,
                          Isa::kAvx512Vnni, Isa::kAvx512Bf16, Isa::kAvx512Fp16,
                          Isa::kAmxTile,    Isa::kAmxInt8,    Isa::kAmxBf16};
constexpr Isa kHaswell{Isa::kAvx2};
constexpr Isa kIceLake{Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni};

std::string refusal(Isa isa, const char* cap) {
  try {
    cap_isa(isa, cap);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    return e.what();
  }
  return "not refused";
}

TEST(Isa, IsASet) {
  const Isa avx512{Isa::kAvx2, Isa::kAvx512};
  EXPECT_TRUE(avx512.has(Isa::kAvx512));
  EXPECT_TRUE(avx512.has(kHaswell));
  EXPECT_FALSE(kHaswell.has(avx512));
  EXPECT_TRUE(Isa{}.has(Isa{})) << "a scalar kernel runs everywhere";
  EXPECT_EQ(kHaswell | Isa{Isa::kAvx512}, avx512);
  EXPECT_EQ(avx512 & kHaswell, kHaswell);
}

TEST(Isa, HasAName) {
  EXPECT_EQ(Isa{}.to_string(), "scalar");
  EXPECT_EQ(kIceLake.to_string(), "avx2 avx512 avx512_vnni");
  EXPECT_EQ(kEverything.to_string(),
            "avx2 avx_vnni avx512 avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16");
}

TEST(IsaCaps, AllowMoreFromCapToCapExceptTheSideBranchOfAvxVnni) {
  std::set<std::string> names;
  Isa last;
  for (const IsaCap& cap : isa_caps()) {
    EXPECT_TRUE(names.insert(cap.name).second) << cap.name;
    if (std::string(cap.name) == "avx_vnni") continue;
    EXPECT_TRUE(cap.allowed.has(last)) << cap.name;
    last = cap.allowed;
  }
  EXPECT_STREQ(isa_caps().front().name, "scalar");
  EXPECT_EQ(last, kEverything);
}

TEST(IsaCaps, CutACpuDown) {
  EXPECT_EQ(cap_isa(kEverything, "scalar"), Isa{});
  EXPECT_EQ(cap_isa(kEverything, "avx2"), kHaswell);
  EXPECT_EQ(cap_isa(kEverything, "avx_vnni"), (Isa{Isa::kAvx2, Isa::kAvxVnni}));
  EXPECT_EQ(cap_isa(kEverything, "avx512"), (Isa{Isa::kAvx2, Isa::kAvx512}));
  EXPECT_EQ(cap_isa(kEverything, "amx"), kEverything);
  EXPECT_EQ(cap_isa(kIceLake, "avx512_vnni"), kIceLake) << "Ice Lake has no AVX-VNNI, and may";
}

TEST(IsaCaps, EveryOneIsRefusedByACpuThatLacksIt) {
  for (const IsaCap& cap : isa_caps()) {
    if (cap.allowed == Isa{}) continue;
    EXPECT_THAT(refusal(Isa{}, cap.name), HasSubstr("this CPU lacks some of")) << cap.name;
    EXPECT_EQ(cap_isa(kEverything, cap.name), cap.allowed);
  }
  EXPECT_THAT(refusal(kHaswell, "avx512"), HasSubstr("it has 'avx2'"));
  EXPECT_THAT(refusal(kIceLake, "avx512_bf16"), HasSubstr("avx512_bf16"));
}

TEST(IsaCaps, AnUnknownNameIsRefusedWithTheKnownOnes) {
  EXPECT_THAT(refusal(kEverything, "avx9"),
              HasSubstr("LANNER_MAX_ISA=avx9 is unknown; known: scalar, avx2, avx_vnni, avx512, "));
  EXPECT_THAT(refusal(kEverything, "AVX2"), HasSubstr("is unknown"));
  EXPECT_THAT(refusal(kEverything, ""), HasSubstr("is unknown"));
}

TEST(DetectIsa, AgreesWithTheKernelsOwnList) {
  std::set<std::string> flags;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;) flags.insert(word);
    break;
  }
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo lists no flags";
  const auto all = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (!flags.contains(name)) return false;
    }
    return true;
  };
  const Isa isa = detect_isa();
  const bool avx512 = all({"avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"});
  EXPECT_EQ(isa.has(Isa::kAvx2), all({"avx2", "fma", "f16c"}));
  EXPECT_EQ(isa.has(Isa::kAvxVnni), all({"avx2", "avx_vnni"}));
  EXPECT_EQ(isa.has(Isa::kAvx512), avx512);
  EXPECT_EQ(isa.has(Isa::kAvx512Vnni), avx512 && all({"avx512_vnni"}));
  EXPECT_EQ(isa.has(Isa::kAvx512Bf16), avx512 && all({"avx512_bf16"}));
  EXPECT_EQ(isa.has(Isa::kAvx512Fp16), avx512 && all({"avx512_fp16"}));
  EXPECT_LE(isa.has(Isa::kAmxTile), all({"amx_tile"})) << "the system may refuse its use";
}

// Run under each cap by ctest: shows that the cap took.
TEST(CpuIsa, IsTheDetectedOneCutDownToTheEnvironment) {
  const auto cap = read_environment().max_isa;
  EXPECT_EQ(cpu_isa(), cap ? cap_isa(detect_isa(), *cap) : detect_isa());
  if (cap == "scalar") {
    EXPECT_EQ(cpu_isa(), Isa{});
  }
  if (cap == "avx2") {
    EXPECT_EQ(cpu_isa(), kHaswell);
  }
}

}  // namespace
}  // namespace lanner
