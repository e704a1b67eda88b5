// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "base/buffer.h"
#include "base/tensor.h"

namespace lanner {

// Scratch memory of one forward pass: grows to what the largest step needs, then allocates nothing.
// Memory is handed out in stack order: what a Scope took is free again when it ends. Not
// thread-safe: ops allocate before they start a parallel region.
class Workspace {
 public:
  // Everything allocated after its construction is given back by its destruction.
  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(workspace), chunk_(workspace.chunk_), used_(workspace.used_) {}
    ~Scope() {
      workspace_.chunk_ = chunk_;
      workspace_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    size_t chunk_;
    size_t used_;
  };

  // Uninitialised, 64-byte aligned; valid until the Scope around it ends.
  std::byte* allocate(size_t bytes);
  Tensor tensor(DType dtype, Shape shape);

  size_t capacity() const;

 private:
  std::vector<Buffer> chunks_;
  size_t chunk_ = 0;  // index of the chunk in use
  size_t used_ = 0;   // bytes used of it
};

}  // namespace lanner
