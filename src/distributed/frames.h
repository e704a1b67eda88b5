// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"

namespace lanner {

// What goes over a connection of a Rendezvous.

// kOtherLeft: rank 0 passes on a kLeave.
enum class FrameKind : uint32_t { kBeat = 1, kData, kFailure, kLeave, kOtherLeft, kWake, kPublish };

struct FrameHeader {
  FrameKind kind;
  uint32_t bytes;  // of the body, which an HMAC follows
  uint64_t number;
};

template <typename T>
void append_value(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Reads what append_value and append wrote. Throws Error(kIo) where there is less.
class FrameReader {
 public:
  explicit FrameReader(const std::string& text) : text_(text) {}
  uint32_t number() {
    uint32_t value;
    std::memcpy(&value, take(sizeof(value)).data(), sizeof(value));
    return value;
  }
  std::string_view take(size_t bytes) {
    if (bytes > text_.size() - position_) {
      throw_error(ErrorCode::kIo, "[distributed] a message of the ranks is too short");
    }
    position_ += bytes;
    return std::string_view(text_).substr(position_ - bytes, bytes);
  }
  std::string_view rest() { return take(text_.size() - position_); }

 private:
  const std::string& text_;
  size_t position_ = 0;
};

}  // namespace lanner
