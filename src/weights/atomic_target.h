// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lanner {

// A file or folder that appears under its name whole or not at all: what is written to path() until
// commit(), beside the target, goes with the object otherwise.
class AtomicTarget {
 public:
  enum class Kind { kFile, kFolder };

  // Throws Error(kInvalidArgument) where `target` is there and may not be replaced, Error(kIo)
  // where its folder cannot be written; both name it. Of a kFolder the folder is made.
  AtomicTarget(std::string target, Kind kind, bool overwrite);
  ~AtomicTarget();
  AtomicTarget(const AtomicTarget&) = delete;
  AtomicTarget& operator=(const AtomicTarget&) = delete;

  const std::string& path() const { return partial_; }
  // Puts it in the target's place in one step, and removes what was there. Throws Error(kIo).
  void commit();

 private:
  std::string target_;
  std::string partial_;
  bool replaces_ = false;
};

}  // namespace lanner
