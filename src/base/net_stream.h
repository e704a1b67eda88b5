// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace lanner {

struct NetAddress {
  std::string host;  // a name or an address, without brackets
  std::string port;
  bool tls = false;
};

struct NetOptions {
  // Without a byte from the other side; 0: for ever.
  std::chrono::milliseconds timeout{30'000};
  // Set to true by another thread: whatever waits here ends with Error(kCancelled) soon after.
  const std::atomic<bool>* stop = nullptr;
};

// A client's TCP connection, over TLS (1.2 and up) where the address says so: the certificate must
// be signed by an authority that OpenSSL trusts (SSL_CERT_FILE, SSL_CERT_DIR, the system's) and be
// that of the host. For one thread at a time. The methods throw Error(kIo) naming host and port,
// Error(kCancelled).
class NetStream {
 public:
  NetStream(const NetAddress& address, const NetOptions& options);
  ~NetStream();
  NetStream(const NetStream&) = delete;
  NetStream& operator=(const NetStream&) = delete;

  // Bytes that have come, at most `size`; 0: the other side has ended.
  size_t read(char* buffer, size_t size);
  void write(std::string_view bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lanner
