// SPDX-License-Identifier: Apache-2.0
#include "base/net_stream.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// How long NetOptions::stop may go unnoticed.
constexpr int kPollMilliseconds = 100;

std::string openssl_error() {
  const unsigned long code = ::ERR_get_error();
  if (code == 0) return "unknown error";
  const char* reason = ::ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown error";
}

bool is_ip_address(const std::string& host) {
  std::array<unsigned char, 16> address{};
  return ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

}  // namespace

// TLS runs over two buffers in memory and the socket by itself, so that no write of OpenSSL's can
// raise SIGPIPE.
struct NetStream::Impl {
  Impl(const NetAddress& where, const NetOptions& how) : address(where), options(how) {
    try {
      connect();
      if (address.tls) start_tls();
    } catch (...) {
      close();
      throw;
    }
  }
  ~Impl() { close(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void close() noexcept {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw_error(ErrorCode::kIo, "{}:{}: {}", address.host, address.port,
                fmt::format(format, std::forward<Args>(args)...));
  }

  void check_stop() const {
    if (options.stop == nullptr || !*options.stop) return;
    throw_error(ErrorCode::kCancelled, "{}:{}: stopped", address.host, address.port);
  }

  // Until the socket can be read or written. Throws when it takes too long, or is told to stop.
  void wait(short events) const {
    const auto end = Clock::now() + options.timeout;
    for (;;) {
      check_stop();
      pollfd entry{fd, events, 0};
      const int ready = ::poll(&entry, 1, kPollMilliseconds);
      if (ready > 0) return;
      if (ready < 0 && errno != EINTR) fail("{}", std::strerror(errno));
      if (options.timeout.count() > 0 && Clock::now() >= end) {
        fail("no answer within {} ms", options.timeout.count());
      }
    }
  }

  void connect() {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failure = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
    if (failure != 0) fail("{}", ::gai_strerror(failure));
    const std::unique_ptr<addrinfo, Deleter<::freeaddrinfo>> list(found);
    int error = 0;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      fd = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
      if (fd < 0) {
        error = errno;
        continue;
      }
      error = ::connect(fd, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
      if (error == EINPROGRESS) {
        wait(POLLOUT);
        socklen_t size = sizeof error;
        ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      }
      if (error == 0) {
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return;
      }
      close();
    }
    fail("cannot connect: {}", std::strerror(error));
  }

  size_t receive(char* buffer, size_t size) const {
    check_stop();  // also where bytes come without a pause
    for (;;) {
      const ssize_t got = ::recv(fd, buffer, size, 0);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait(POLLIN);
      } else if (errno != EINTR) {
        fail("receiving: {}", std::strerror(errno));
      }
    }
  }

  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait(POLLOUT);
      } else if (errno != EINTR) {
        fail("sending: {}", std::strerror(errno));
      }
    }
  }

  void start_tls() {
    ::ERR_clear_error();
    context.reset(::SSL_CTX_new(::TLS_client_method()));
    if (context == nullptr) fail("TLS: {}", openssl_error());
    ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    if (::SSL_CTX_set_default_verify_paths(context.get()) != 1) {
      fail("TLS: no certificates of authorities: {}", openssl_error());
    }
    ssl.reset(::SSL_new(context.get()));
    incoming = ::BIO_new(::BIO_s_mem());
    outgoing = ::BIO_new(::BIO_s_mem());
    if (ssl == nullptr || incoming == nullptr || outgoing == nullptr) {
      fail("TLS: {}", openssl_error());
    }
    ::SSL_set_bio(ssl.get(), incoming, outgoing);  // now theirs
    const bool named = is_ip_address(address.host)
                           ? ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl.get()),
                                                             address.host.c_str()) == 1
                           : ::SSL_set1_host(ssl.get(), address.host.c_str()) == 1 &&
                                 ::SSL_set_tlsext_host_name(ssl.get(), address.host.c_str()) == 1;
    if (!named) fail("TLS: {}", openssl_error());
    run_tls("the TLS handshake fails", [&] { return ::SSL_connect(ssl.get()); });
  }

  // Repeats an operation of OpenSSL's until it has what it wants from the socket. Its positive
  // result, or 0 at the end of the stream.
  template <typename Operation>
  int run_tls(const char* what, Operation operation) {
    std::array<char, 16 << 10> buffer;
    for (;;) {
      ::ERR_clear_error();
      const int result = operation();
      const int error = ::SSL_get_error(ssl.get(), result);
      flush_tls();
      if (result > 0) return result;
      if (error == SSL_ERROR_ZERO_RETURN) return 0;
      if (error == SSL_ERROR_WANT_WRITE) continue;
      if (error != SSL_ERROR_WANT_READ) {
        const long verified = ::SSL_get_verify_result(ssl.get());
        if (verified != X509_V_OK) {
          fail("its certificate is not trusted: {}", ::X509_verify_cert_error_string(verified));
        }
        fail("{}: {}", what, openssl_error());
      }
      const size_t got = receive(buffer.data(), buffer.size());
      if (got == 0) {
        if (!::SSL_is_init_finished(ssl.get())) fail("{}: the connection was closed", what);
        return 0;  // whether the message was whole, its length says
      }
      ::BIO_write(incoming, buffer.data(), static_cast<int>(got));
    }
  }

  void flush_tls() const {
    std::array<char, 16 << 10> buffer;
    int bytes = 0;
    while ((bytes = ::BIO_read(outgoing, buffer.data(), static_cast<int>(buffer.size()))) > 0) {
      send({buffer.data(), static_cast<size_t>(bytes)});
    }
  }

  NetAddress address;
  NetOptions options;
  int fd = -1;
  std::unique_ptr<SSL_CTX, Deleter<::SSL_CTX_free>> context;
  std::unique_ptr<SSL, Deleter<::SSL_free>> ssl;
  BIO* incoming = nullptr;
  BIO* outgoing = nullptr;
};

NetStream::NetStream(const NetAddress& address, const NetOptions& options)
    : impl_(std::make_unique<Impl>(address, options)) {}
NetStream::~NetStream() = default;

size_t NetStream::read(char* buffer, size_t size) {
  if (!impl_->address.tls) return impl_->receive(buffer, size);
  const int most = static_cast<int>(std::min<size_t>(size, 1 << 20));
  return static_cast<size_t>(impl_->run_tls(
      "reading over TLS", [&] { return ::SSL_read(impl_->ssl.get(), buffer, most); }));
}

void NetStream::write(std::string_view bytes) {
  if (!impl_->address.tls) return impl_->send(bytes);
  while (!bytes.empty()) {
    const int most = static_cast<int>(std::min<size_t>(bytes.size(), 1 << 20));
    const int sent = impl_->run_tls(
        "writing over TLS", [&] { return ::SSL_write(impl_->ssl.get(), bytes.data(), most); });
    if (sent == 0) impl_->fail("the connection was closed");
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

}  // namespace lanner
