// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace lanner {

// What one sequence is bound to, token by token: a grammar. The engine calls prepare() while the
// model computes the logits, then the sampler asks for the allowed tokens and tells which one it
// has drawn. One caller at a time, from changing threads. What is thrown ends the sequence's
// request with that error.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Works out the allowed tokens of the next position.
  virtual void prepare() = 0;
  // Bit i % 32 of word i / 32: token i may come next. Tokens without a bit may not. Stays valid
  // until accept(). Prepares by itself where prepare() has not been called.
  virtual std::span<const uint32_t> allowed() = 0;
  // The sequence has got a token: an allowed one, or one that forced() named.
  virtual void accept(int32_t token) = 0;
  // The tokens that come next whatever the logits are; the sequence gets them unsampled. Empty
  // where there is a choice.
  virtual std::vector<int32_t> forced() = 0;
  // The same state for another sequence that goes on from here.
  virtual std::unique_ptr<TokenConstraint> clone() const = 0;
};

}  // namespace lanner
