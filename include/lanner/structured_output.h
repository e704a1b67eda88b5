// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace lanner {

// A form that the output must have: tokens that would leave it are never drawn, whatever the other
// sampling parameters say, and the generation ends where the form is complete and nothing may
// follow. Needs the model's tokenizer.
//
// A form is compiled when the request is submitted, within limits on its size, depth, states and
// time; what is beyond them, or not understood, is refused with a sentence that names it. The
// limits and the supported keywords: docs/structured-output.md.
struct StructuredOutput {
  enum class Kind {
    kNone,        // any text
    kJsonObject,  // any JSON object
    kJsonSchema,  // JSON text that is valid against the JSON schema in `source`
    kRegex,       // text that the regular expression in `source` matches as a whole (syntax of the
                  // Rust crate `regex`; no look-around, no back-references)
    kChoice,      // one of `choices`
    kLark,        // text that the Lark grammar in `source` derives from its rule `start`
  };

  Kind kind = Kind::kNone;
  std::string source;
  std::vector<std::string> choices;

  bool enabled() const { return kind != Kind::kNone; }
};

}  // namespace lanner
