// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lanner {

using Deadline = std::chrono::steady_clock::time_point;

struct HostPort {
  std::string host;  // a name or an address, IPv6 without its brackets
  uint16_t port = 0;
};

// "HOST:PORT" or "[IPV6]:PORT". Throws Error(kInvalidArgument) naming what is wrong.
HostPort parse_host_port(std::string_view text);

// A connected TCP socket, closed with the object. Nothing here waits without a deadline. Errors are
// Error(kIo).
class TcpSocket {
 public:
  TcpSocket() = default;
  explicit TcpSocket(int descriptor);
  ~TcpSocket();
  TcpSocket(TcpSocket&& other) noexcept;
  TcpSocket& operator=(TcpSocket&& other) noexcept;

  // Tries again until the deadline where nobody listens yet.
  static TcpSocket connect(const HostPort& address, Deadline deadline);

  bool is_open() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }
  void close();

  void send_all(std::span<const std::byte> data, Deadline deadline);
  void receive_all(std::span<std::byte> data, Deadline deadline);
  // What is there now, without waiting: the bytes read, 0 for none yet; empty when the other side
  // has closed the connection or it is broken.
  std::optional<size_t> receive_some(std::span<std::byte> data);

  // "10.0.0.2:41234"; "?" where there is none.
  std::string peer_name() const;
  // Name of the network interface of this side, "eth0"; empty if it cannot be told.
  std::string interface() const;

 private:
  int descriptor_ = -1;
};

class TcpListener {
 public:
  // A literal address and "localhost" are bound as they are. Another name is only for the others to
  // find this machine by (/etc/hosts often maps it to 127.0.1.1 here): all interfaces are bound.
  // Port 0: any free one. Throws Error(kIo) with the system's reason.
  explicit TcpListener(const HostPort& address);
  ~TcpListener();
  TcpListener(const TcpListener&) = delete;
  TcpListener& operator=(const TcpListener&) = delete;

  int descriptor() const { return descriptor_; }
  uint16_t port() const;
  // A waiting connection, if there is one.
  std::optional<TcpSocket> accept();

 private:
  int descriptor_ = -1;
};

}  // namespace lanner
