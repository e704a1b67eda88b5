// SPDX-License-Identifier: Apache-2.0
#include "base/isa.h"

#include <array>
#include <utility>
#include <vector>

#include <cpuid.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"

namespace lanner {
namespace {

struct FeatureName {
  Isa::Feature feature;
  const char* name;
};

constexpr std::array<FeatureName, 9> kFeatureNames = {{
    {Isa::kAvx2, "avx2"},
    {Isa::kAvxVnni, "avx_vnni"},
    {Isa::kAvx512, "avx512"},
    {Isa::kAvx512Vnni, "avx512_vnni"},
    {Isa::kAvx512Bf16, "avx512_bf16"},
    {Isa::kAvx512Fp16, "avx512_fp16"},
    {Isa::kAmxTile, "amx_tile"},
    {Isa::kAmxInt8, "amx_int8"},
    {Isa::kAmxBf16, "amx_bf16"},
}};

// A cap stands for a CPU generation: "avx512" is Skylake-SP, which has neither kind of VNNI.
constexpr Isa kAvx512VnniLevel{Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vnni};
constexpr std::array<IsaCap, 8> kCaps = {{
    {"scalar", Isa{}},
    {"avx2", Isa{Isa::kAvx2}},
    {"avx_vnni", Isa{Isa::kAvx2, Isa::kAvxVnni}},
    {"avx512", Isa{Isa::kAvx2, Isa::kAvx512}},
    {"avx512_vnni", kAvx512VnniLevel},
    {"avx512_bf16", kAvx512VnniLevel | Isa{Isa::kAvx512Bf16}},
    {"avx512_fp16", kAvx512VnniLevel | Isa{Isa::kAvx512Bf16, Isa::kAvx512Fp16}},
    {"amx", kAvx512VnniLevel | Isa{Isa::kAvx512Bf16, Isa::kAvx512Fp16, Isa::kAmxTile, Isa::kAmxInt8,
                                   Isa::kAmxBf16}},
}};

// What a CPU must have for a cap to mean what it says. avx_vnni is no part of the AVX-512 levels
// (Ice Lake lacks it), nor fp16 of amx.
constexpr Isa required_by(const IsaCap& cap) {
  const std::string_view name = cap.name;
  if (name == "avx512_vnni") return Isa{Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni};
  if (name == "avx512_bf16")
    return Isa{Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16};
  if (name == "avx512_fp16")
    return Isa{Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Fp16};
  if (name == "amx")
    return Isa{Isa::kAvx2, Isa::kAvx512, Isa::kAmxTile, Isa::kAmxInt8, Isa::kAmxBf16};
  return cap.allowed;
}

struct CpuidResult {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidResult cpuid(uint32_t leaf, uint32_t subleaf) {
  CpuidResult r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;  // zeros for a leaf that the CPU does not know
}

bool bit(uint32_t value, int index) { return ((value >> index) & 1u) != 0; }

// Which register states the operating system saves on a context switch. Without it a CPU that has
// AVX-512 faults on its first use.
uint64_t read_xcr0() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux hands out the 8 KiB of AMX tile state only to a process that asks (arch_prctl(2)).
bool request_amx_permission() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

}  // namespace

std::string Isa::to_string() const {
  std::vector<const char*> names;
  for (const FeatureName& f : kFeatureNames) {
    if (has(f.feature)) names.push_back(f.name);
  }
  return names.empty() ? "scalar" : fmt::format("{}", fmt::join(names, " "));
}

std::span<const IsaCap> isa_caps() { return kCaps; }

Isa detect_isa() {
  const CpuidResult leaf1 = cpuid(1, 0);
  // Without it the system does not save wide registers, and XGETBV is an illegal instruction.
  const bool osxsave = bit(leaf1.ecx, 27);
  if (!osxsave) return Isa{};
  const uint64_t xcr0 = read_xcr0();
  const bool ymm_saved = (xcr0 & 0x6) == 0x6;
  const bool zmm_saved = (xcr0 & 0xe6) == 0xe6;
  const bool tiles_saved = (xcr0 & 0x60000) == 0x60000;

  const CpuidResult leaf7 = cpuid(7, 0);
  const CpuidResult leaf7_1 = leaf7.eax >= 1 ? cpuid(7, 1) : CpuidResult{};
  Isa isa;
  const auto add = [&](Isa::Feature feature, bool present) {
    if (present) isa = isa | Isa{feature};
  };
  const bool avx2 = ymm_saved && bit(leaf1.ecx, 28) && bit(leaf1.ecx, 12) && bit(leaf1.ecx, 29) &&
                    bit(leaf7.ebx, 5);
  const bool avx512 = avx2 && zmm_saved && bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) &&
                      bit(leaf7.ebx, 30) && bit(leaf7.ebx, 31);
  add(Isa::kAvx2, avx2);
  add(Isa::kAvxVnni, avx2 && bit(leaf7_1.eax, 4));
  add(Isa::kAvx512, avx512);
  add(Isa::kAvx512Vnni, avx512 && bit(leaf7.ecx, 11));
  add(Isa::kAvx512Bf16, avx512 && bit(leaf7_1.eax, 5));
  add(Isa::kAvx512Fp16, avx512 && bit(leaf7.edx, 23));
  if (tiles_saved && bit(leaf7.edx, 24) && request_amx_permission()) {
    add(Isa::kAmxTile, true);
    add(Isa::kAmxInt8, bit(leaf7.edx, 25));
    add(Isa::kAmxBf16, bit(leaf7.edx, 22));
  }
  return isa;
}

Isa cap_isa(Isa isa, std::string_view name) {
  std::vector<const char*> names;
  for (const IsaCap& cap : kCaps) {
    if (name == cap.name) {
      if (!isa.has(required_by(cap))) {
        throw_error(ErrorCode::kInvalidArgument,
                    "LANNER_MAX_ISA={}: this CPU lacks some of '{}'; it has '{}'", name,
                    required_by(cap).to_string(), isa.to_string());
      }
      return isa & cap.allowed;
    }
    names.push_back(cap.name);
  }
  throw_error(ErrorCode::kInvalidArgument, "LANNER_MAX_ISA={} is unknown; known: {}", name,
              fmt::join(names, ", "));
}

Isa cpu_isa() {
  static const Isa isa = [] {
    const Isa detected = detect_isa();
    const auto cap = read_environment().max_isa;
    return cap ? cap_isa(detected, *cap) : detected;
  }();
  return isa;
}

}  // namespace lanner
