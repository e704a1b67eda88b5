// SPDX-License-Identifier: Apache-2.0
#include "distributed/tcp_socket.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kConnectAgainAfter{100};

int poll_timeout(Deadline deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

// Whether `events` came before the deadline.
bool wait_for(int descriptor, short events, Deadline deadline) {
  for (;;) {
    pollfd entry = {.fd = descriptor, .events = events, .revents = 0};
    const int count = poll(&entry, 1, poll_timeout(deadline));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return false;
    if (Clock::now() >= deadline) return false;
  }
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

// Empty, with the reason, where the name has no address.
Addresses resolve(const HostPort& address, int flags, std::string& reason) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  const int status = getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                 std::to_string(address.port).c_str(), &hints, &list);
  if (status != 0) reason = gai_strerror(status);
  return Addresses(status == 0 ? list : nullptr);
}

bool is_literal(const std::string& host) {
  in6_addr unused;
  return inet_pton(AF_INET, host.c_str(), &unused) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &unused) == 1;
}

// The IP address in bytes, IPv4 ones that came over an IPv6 socket as IPv4.
std::string address_bytes(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return std::string(reinterpret_cast<const char*>(&v4->sin_addr), sizeof(v4->sin_addr));
  }
  if (address->sa_family != AF_INET6) return "";
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  const std::string bytes(reinterpret_cast<const char*>(&v6->sin6_addr), sizeof(v6->sin6_addr));
  return IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) ? bytes.substr(12) : bytes;
}

}  // namespace

HostPort parse_host_port(std::string_view text) {
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon == std::string_view::npos ? 0 : colon);
  const bool in_brackets = host.starts_with('[') && host.ends_with(']');
  if (in_brackets) host = host.substr(1, host.size() - 2);
  const std::string_view digits =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  uint16_t port = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  const bool is_number =
      !digits.empty() && failure == std::errc() && end == digits.data() + digits.size();
  check_argument(
      !host.empty() && is_number && (in_brackets || host.find(':') == std::string_view::npos),
      "'{}' is no address: expected HOST:PORT or [IPV6]:PORT", text);
  return {.host = std::string(host), .port = port};
}

TcpSocket::TcpSocket(int descriptor) : descriptor_(descriptor) {
  const int on = 1;
  // Messages are small and waited for. The options only make things better: no error if refused.
  setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(descriptor_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

TcpSocket::~TcpSocket() { close(); }

TcpSocket::TcpSocket(TcpSocket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

TcpSocket& TcpSocket::operator=(TcpSocket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void TcpSocket::close() {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

TcpSocket TcpSocket::connect(const HostPort& address, Deadline deadline) {
  std::string reason = "no answer";
  do {
    const Addresses addresses = resolve(address, AI_ADDRCONFIG, reason);
    for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
      const int descriptor =
          socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
      if (descriptor < 0) continue;
      TcpSocket connection(descriptor);
      int error = ::connect(descriptor, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
      if (error == EINPROGRESS) {
        error = ETIMEDOUT;
        if (wait_for(descriptor, POLLOUT, deadline)) {
          socklen_t length = sizeof(error);
          getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
        }
      }
      if (error == 0) return connection;
      reason = std::strerror(error);
    }
    std::this_thread::sleep_for(kConnectAgainAfter);
  } while (Clock::now() < deadline);
  throw_error(ErrorCode::kIo, "[distributed] cannot reach {}:{}: {}", address.host, address.port,
              reason);
}

void TcpSocket::send_all(std::span<const std::byte> data, Deadline deadline) {
  while (!data.empty()) {
    const ssize_t sent = ::send(descriptor_, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      data = data.subspan(static_cast<size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    const bool is_full = errno == EAGAIN || errno == EWOULDBLOCK;
    if (is_full && wait_for(descriptor_, POLLOUT, deadline)) continue;
    throw_error(ErrorCode::kIo, "[distributed] cannot send to {}: {}", peer_name(),
                is_full ? "it does not read" : std::strerror(errno));
  }
}

void TcpSocket::receive_all(std::span<std::byte> data, Deadline deadline) {
  while (!data.empty()) {
    if (!wait_for(descriptor_, POLLIN, deadline)) {
      throw_error(ErrorCode::kIo, "[distributed] {} does not answer", peer_name());
    }
    const auto received = receive_some(data);
    if (!received) {
      throw_error(ErrorCode::kIo, "[distributed] {} has closed the connection", peer_name());
    }
    data = data.subspan(*received);
  }
}

std::optional<size_t> TcpSocket::receive_some(std::span<std::byte> data) {
  const ssize_t received = ::recv(descriptor_, data.data(), data.size(), 0);
  if (received > 0) return static_cast<size_t>(received);
  if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
  return std::nullopt;
}

std::string TcpSocket::peer_name() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getpeername(descriptor_, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof(host), port,
                  sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "?";
  }
  return std::string(host) + ":" + port;
}

std::string TcpSocket::interface() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  ifaddrs* list = nullptr;
  if (getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      getifaddrs(&list) != 0) {
    return "";
  }
  const std::string own = address_bytes(reinterpret_cast<const sockaddr*>(&address));
  std::string name;
  for (const ifaddrs* i = list; i != nullptr && name.empty(); i = i->ifa_next) {
    if (i->ifa_addr != nullptr && !own.empty() && address_bytes(i->ifa_addr) == own) {
      name = i->ifa_name;
    }
  }
  freeifaddrs(list);
  return name;
}

TcpListener::TcpListener(const HostPort& address) {
  HostPort bound = address;
  if (!is_literal(address.host) && address.host != "localhost") bound.host.clear();
  std::string reason;
  const Addresses addresses = resolve(bound, AI_PASSIVE, reason);
  // An IPv6 socket on all interfaces serves IPv4 too.
  for (const int family : {AF_INET6, AF_INET}) {
    for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
      if (a->ai_family != family || (address.host == "localhost" && family == AF_INET6)) continue;
      const int descriptor =
          socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
      if (descriptor < 0) continue;
      const int on = 1, off = 0;
      setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
      if (family == AF_INET6) {
        setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
      }
      if (bind(descriptor, a->ai_addr, a->ai_addrlen) == 0 && listen(descriptor, 128) == 0) {
        descriptor_ = descriptor;
        return;
      }
      reason = std::strerror(errno);
      ::close(descriptor);
    }
  }
  throw_error(ErrorCode::kIo, "[distributed] cannot listen on {}:{}: {}", address.host,
              address.port, reason);
}

TcpListener::~TcpListener() { ::close(descriptor_); }

uint16_t TcpListener::port() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.ss_family == AF_INET
                   ? reinterpret_cast<const sockaddr_in*>(&address)->sin_port
                   : reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
}

std::optional<TcpSocket> TcpListener::accept() {
  const int descriptor = accept4(descriptor_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  return TcpSocket(descriptor);
}

}  // namespace lanner
