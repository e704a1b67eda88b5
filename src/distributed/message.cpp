// SPDX-License-Identifier: Apache-2.0
#include "distributed/message.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"

namespace lanner {
namespace {

constexpr uint64_t kMagic = 0x3147534d4e4e414c;  // "LANNMSG1"

uint64_t checksum(std::span<const std::byte> body) { return XXH3_64bits(body.data(), body.size()); }

}  // namespace

MessageHeader make_message_header(uint64_t number, std::span<const std::byte> body) {
  check_argument(body.size() <= kMaxMessageBytes,
                 "[distributed] a message of {} bytes; the longest may have {}", body.size(),
                 kMaxMessageBytes);
  return {.magic = kMagic, .number = number, .bytes = body.size(), .checksum = checksum(body)};
}

void check_message_header(const MessageHeader& header, uint64_t expected_number) {
  if (header.magic != kMagic) {
    throw_error(ErrorCode::kIo, "[distributed] what came is no message of this version of Lanner");
  }
  if (header.number != expected_number) {
    throw_error(ErrorCode::kIo, "[distributed] message {} came where {} was due", header.number,
                expected_number);
  }
  if (header.bytes > kMaxMessageBytes) {
    throw_error(ErrorCode::kIo, "[distributed] a message claims {} bytes; the longest may have {}",
                header.bytes, kMaxMessageBytes);
  }
}

void check_message_body(const MessageHeader& header, std::span<const std::byte> body) {
  if (body.size() != header.bytes || checksum(body) != header.checksum) {
    throw_error(ErrorCode::kIo, "[distributed] message {} was damaged on its way", header.number);
  }
}

}  // namespace lanner
