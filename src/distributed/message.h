// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lanner {

// What goes before every message between ranks. The receiver trusts none of it.
struct MessageHeader {
  uint64_t magic = 0;
  uint64_t number = 0;  // messages of a job count from 1
  uint64_t bytes = 0;
  uint64_t checksum = 0;  // XXH3 of the body
};

// The longest message: a step's tokens and block tables take a few megabytes at most.
inline constexpr uint64_t kMaxMessageBytes = uint64_t{1} << 28;

// Throws Error(kInvalidArgument) for a body that is too long.
MessageHeader make_message_header(uint64_t number, std::span<const std::byte> body);

// Throw Error(kIo): not a message, not the expected number, too long; a body that is not the one
// that was sent.
void check_message_header(const MessageHeader& header, uint64_t expected_number);
void check_message_body(const MessageHeader& header, std::span<const std::byte> body);

}  // namespace lanner
