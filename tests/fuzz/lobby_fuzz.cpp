// SPDX-License-Identifier: Apache-2.0
// What a stranger says on the port where ranks meet: to rank 0, which turns it away, and as rank 0
// to a rank that joins. The first byte says which.
#include <chrono>
#include <optional>
#include <span>
#include <thread>

#include "base/log.h"
#include "base/testing/fuzz_target.h"
#include "distributed/lobby.h"

using namespace lanner;
using std::chrono::milliseconds;

namespace {

constexpr const char* kSecret = "a secret that no input knows";

Deadline soon() { return std::chrono::steady_clock::now() + milliseconds(100); }

RendezvousOptions options_of(int rank, uint16_t port) {
  return {.address = {.host = "127.0.0.1", .port = port},
          .secret = kSecret,
          .rank = rank,
          .size = 2,
          .version = "1",
          .timeout = milliseconds(10)};
}

// Either side may have gone while the bytes are sent.
void try_send(TcpSocket& socket, std::span<const std::byte> bytes) {
  try {
    socket.send_all(bytes, soon());
  } catch (const Error&) {
    socket.close();
  }
}

// Whether rank 0 took the stranger for a rank.
bool tell_rank_0(std::span<const std::byte> bytes) {
  TcpSocket stranger;
  RendezvousOptions options = options_of(0, 0);
  options.on_listening = [&](uint16_t port) {
    stranger = TcpSocket::connect({.host = "127.0.0.1", .port = port}, soon());
    try_send(stranger, bytes);
  };
  return fuzz::attempt([&] { wait_for_ranks(options); });
}

// Whether a rank took the stranger for rank 0.
bool tell_a_rank(std::span<const std::byte> bytes) {
  TcpListener listener({.host = "127.0.0.1", .port = 0});
  const std::jthread stranger([&](const std::stop_token& stop) {
    std::optional<TcpSocket> socket;
    while (!socket && !stop.stop_requested()) socket = listener.accept();
    if (!socket) return;
    try_send(*socket, bytes);
    // Waits for more until the rank gives up.
    while (!stop.stop_requested()) std::this_thread::sleep_for(milliseconds(1));
  });
  return fuzz::attempt([&] { join_ranks(options_of(1, listener.port())); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  set_log_level(LogLevel::kOff);
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const bool is_taken = data[0] % 2 == 0 ? tell_rank_0(bytes) : tell_a_rank(bytes);
  if (is_taken) fuzz::defect("a stranger without the secret is taken for a rank");
  return 0;
}
