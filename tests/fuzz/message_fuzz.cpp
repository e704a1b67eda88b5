// SPDX-License-Identifier: Apache-2.0
// What one rank receives from another: header and body, of which nothing is trusted. Eight bytes
// with the number that is due go before them.
#include <cstring>
#include <span>

#include "base/testing/fuzz_target.h"
#include "distributed/message.h"

using namespace lanner;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint64_t due = 0;
  MessageHeader header;
  if (size < sizeof due + sizeof header) return 0;
  std::memcpy(&due, data, sizeof due);
  std::memcpy(&header, data + sizeof due, sizeof header);
  const size_t begin = sizeof due + sizeof header;
  const auto body = std::as_bytes(std::span(data + begin, size - begin));
  const bool accepted = fuzz::attempt([&] {
    check_message_header(header, due);
    check_message_body(header, body);
  });
  // Accepted is what a rank would have sent, and nothing else.
  const MessageHeader right = make_message_header(due, body);
  const bool same = std::memcmp(&right, &header, sizeof header) == 0;
  if (accepted != same) fuzz::defect(accepted ? "a wrong message is taken" : "a right one is not");
  return 0;
}
