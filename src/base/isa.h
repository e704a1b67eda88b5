// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace lanner {

// A set of CPU features as bits: what a CPU has, or what a kernel needs.
class Isa {
 public:
  enum Feature : uint32_t {
    kAvx2 = 1u << 0,     // AVX2, FMA and F16C together
    kAvxVnni = 1u << 1,  // 256-bit VNNI in VEX encoding
    kAvx512 = 1u << 2,   // AVX-512 F, BW, DQ and VL together
    kAvx512Vnni = 1u << 3,
    kAvx512Bf16 = 1u << 4,
    kAvx512Fp16 = 1u << 5,
    kAmxTile = 1u << 6,  // with the system's permission to use the tile state
    kAmxInt8 = 1u << 7,
    kAmxBf16 = 1u << 8,
  };

  constexpr Isa() = default;
  constexpr Isa(std::initializer_list<Feature> features) {
    for (Feature feature : features) bits_ |= feature;
  }

  constexpr bool has(Isa needed) const { return (bits_ & needed.bits_) == needed.bits_; }
  constexpr bool has(Feature feature) const { return (bits_ & feature) != 0; }
  constexpr Isa operator|(Isa other) const { return from_bits(bits_ | other.bits_); }
  constexpr Isa operator&(Isa other) const { return from_bits(bits_ & other.bits_); }
  constexpr Isa without(Isa other) const { return from_bits(bits_ & ~other.bits_); }
  friend constexpr bool operator==(Isa, Isa) = default;

  // "avx2 avx512 avx512_vnni"; "scalar" for the empty set.
  std::string to_string() const;

 private:
  static constexpr Isa from_bits(uint32_t bits) {
    Isa isa;
    isa.bits_ = bits;
    return isa;
  }
  uint32_t bits_ = 0;
};

// A name for LANNER_MAX_ISA: the features that stay when an Isa is capped at it.
struct IsaCap {
  const char* name;  // "scalar", "avx2", …, "amx"
  Isa allowed;
};

// Every cap, weakest first.
std::span<const IsaCap> isa_caps();

// What CPUID reports and the operating system saves and restores (XCR0; for AMX the permission
// call).
Isa detect_isa();

// `isa` cut down to a cap by name. Throws Error(kInvalidArgument) for an unknown name (listing the
// known ones), or for a cap with features that `isa` lacks: a test that asks for AVX-512 must not
// pass on a machine without it.
Isa cap_isa(Isa isa, std::string_view cap);

// detect_isa() cut down to the environment's LANNER_MAX_ISA; looked up once.
Isa cpu_isa();

}  // namespace lanner
