// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace lanner {

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): random bits as
// a function of key and counter, so there is no state that depends on what else was drawn before.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// What a random number is for: those of one step are independent of each other.
enum class Draw : uint32_t {
  kToken,   // the token of the step
  kDraft,   // a proposal for it
  kAccept,  // whether the proposal is taken
};

// The random number in [0, 1) that belongs to a step of a sequence: 53 bits. `stream` tells the
// sequences of one seed apart.
double uniform_at(uint64_t seed, uint64_t step, uint32_t stream = 0, Draw draw = Draw::kToken);

}  // namespace lanner
