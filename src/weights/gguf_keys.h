// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "weights/gguf.h"

namespace lanner {

// The metadata keys of a file's architecture, "llama.block_count" for "block_count", with a record
// of those that somebody asked for: the others are refused at the end.
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string_view architecture);

  const GgufFile& file() const { return file_; }
  // The full key; it counts as used from now on.
  std::string use(std::string_view suffix);
  bool used(std::string_view suffix) const;
  // Throws Error(kUnsupported) naming the key.
  [[noreturn]] void refuse(std::string_view suffix) const;
  // Throws Error(kUnsupported) naming the keys that nobody used, unless they have no effect.
  void refuse_unknown() const;

 private:
  const GgufFile& file_;
  std::string prefix_;  // "llama."
  std::set<std::string, std::less<>> used_;
};

}  // namespace lanner
