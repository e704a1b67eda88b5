// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lanner/structured_output.h"
#include "sampling/token_constraint.h"
#include "text/tokenizer.h"

// Opaque type of the Rust library; only rust_api.cpp knows more.
struct LannerTextGrammarCompiler;

namespace lanner {

// Turns forms (StructuredOutput) into constraints over a model's vocabulary. Owns the vocabulary as
// a trie: a fraction of a second to build, once per model. Immutable: any number of threads may use
// one. What it makes may outlive it.
class GrammarCompiler {
 public:
  // vocab_size: the number of logits, which may exceed the tokenizer's. eos_ids: the tokens that
  // end a sequence. Throws Error(kUnsupported) for a tokenizer that does not tell the bytes of its
  // tokens, or a model without an end token.
  GrammarCompiler(const Tokenizer& tokenizer, int64_t vocab_size, std::span<const int32_t> eos_ids);

  // The constraint of a sequence that is to have the form; null for none. With `after`, the form is
  // that of what follows this token, and before it anything may come but an end. Throws
  // Error(kInvalidArgument) for a form that is malformed, beyond the limits, or one that no text
  // has; Error(kUnsupported) for what is right, but not understood. Either in well under a second.
  std::unique_ptr<TokenConstraint> compile(const StructuredOutput& form,
                                           std::optional<int32_t> after = std::nullopt) const;

 private:
  struct Deleter {
    void operator()(LannerTextGrammarCompiler* compiler) const;
  };

  std::unique_ptr<LannerTextGrammarCompiler, Deleter> compiler_;
  size_t num_words_;  // of a mask
  std::vector<int32_t> eos_ids_;
};

}  // namespace lanner
