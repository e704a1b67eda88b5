// SPDX-License-Identifier: Apache-2.0
#include "cli/http_client.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

namespace lanner::cli {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;

class Socket {
 public:
  explicit Socket(const HttpTarget& target) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failure = ::getaddrinfo(target.host.c_str(), target.port.c_str(), &hints, &found);
    if (failure != 0) {
      throw_error(ErrorCode::kIo, "{}: {}", target.host, ::gai_strerror(failure));
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
    int error = 0;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      fd_ = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
      if (fd_ >= 0 && ::connect(fd_, at->ai_addr, at->ai_addrlen) == 0) {
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return;
      }
      error = errno;
      if (fd_ >= 0) ::close(fd_);
      fd_ = -1;
    }
    throw_error(ErrorCode::kIo, "cannot connect to {}:{}: {}", target.host, target.port,
                std::strerror(error));
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) throw_error(ErrorCode::kIo, "sending: {}", std::strerror(errno));
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // Empty: the end.
  std::string_view receive() {
    for (;;) {
      const auto got = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_error(ErrorCode::kIo, "receiving: {}", std::strerror(errno));
      return {buffer_.data(), static_cast<size_t>(got)};
    }
  }

 private:
  int fd_ = -1;
  std::array<char, 64 << 10> buffer_{};
};

// Takes a chunked body apart.
class Chunks {
 public:
  // True: that was the last chunk.
  bool push(std::string_view bytes, const std::function<void(std::string_view)>& on_body) {
    text_ += bytes;
    for (;;) {
      const size_t line = text_.find("\r\n");
      if (line == std::string::npos) return false;
      size_t size = 0;
      const auto [end, failure] = std::from_chars(text_.data(), text_.data() + line, size, 16);
      if (failure != std::errc())
        throw Error(ErrorCode::kIo, "the answer has a chunk without a size");
      if (size == 0) return true;
      if (text_.size() < line + 2 + size + 2) return false;
      on_body(std::string_view(text_).substr(line + 2, size));
      text_.erase(0, line + 2 + size + 2);
    }
  }

 private:
  std::string text_;
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::optional<std::string> header_value(const std::string& lower_headers, const std::string& name) {
  const size_t at = lower_headers.find("\r\n" + name + ":");
  if (at == std::string::npos) return std::nullopt;
  const size_t begin = lower_headers.find_first_not_of(' ', at + name.size() + 3);
  return lower_headers.substr(begin, lower_headers.find("\r\n", begin) - begin);
}

}  // namespace

HttpTarget parse_target(const std::string& url) {
  const std::string scheme = "http://";
  std::string rest = url.starts_with(scheme) ? url.substr(scheme.size()) : "";
  while (rest.ends_with('/')) rest.pop_back();
  check_argument(!rest.empty() && rest.find('/') == std::string::npos,
                 "'{}' is no URL like http://127.0.0.1:8080", url);
  HttpTarget target{rest, "80"};
  const size_t colon = rest.rfind(':');
  const bool in_brackets = colon != std::string::npos && rest.find(']', colon) != std::string::npos;
  if (colon != std::string::npos && !in_brackets) {
    target = {rest.substr(0, colon), rest.substr(colon + 1)};
  }
  if (target.host.starts_with('[') && target.host.ends_with(']')) {
    target.host = target.host.substr(1, target.host.size() - 2);
  }
  return target;
}

int http_request(const HttpTarget& target, const std::string& method, const std::string& path,
                 const std::string& authorization, const std::string& body,
                 const std::function<void(std::string_view piece)>& on_body) {
  Socket socket(target);
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n", method,
                                 path, target.host, target.port);
  if (!authorization.empty()) head += "Authorization: Bearer " + authorization + "\r\n";
  if (!body.empty()) {
    head += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  socket.send(head + "\r\n" + body);

  std::string headers;
  size_t end = std::string::npos;
  while (end == std::string::npos) {
    const std::string_view piece = socket.receive();
    if (piece.empty() || headers.size() > kMaxHeaderBytes) {
      throw Error(ErrorCode::kIo, "the answer breaks off in its headers");
    }
    headers += piece;
    end = headers.find("\r\n\r\n");
  }
  std::string rest = headers.substr(end + 4);
  headers = lower(headers.substr(0, end + 2));
  if (!headers.starts_with("http/1.") || headers.size() < 13) {
    throw Error(ErrorCode::kIo, "the answer is no HTTP");
  }
  const int status = std::stoi(headers.substr(9, 3));
  const bool chunked = header_value(headers, "transfer-encoding") == "chunked";
  const auto length_text = header_value(headers, "content-length");
  size_t left = length_text ? std::stoull(*length_text) : SIZE_MAX;
  Chunks chunks;
  std::string_view piece = rest;
  for (;;) {
    if (chunked && chunks.push(piece, on_body)) return status;
    if (!chunked) {
      piece = piece.substr(0, std::min(piece.size(), left));
      on_body(piece);
      if (left != SIZE_MAX) left -= piece.size();
      if (left == 0) return status;
    }
    piece = socket.receive();
    if (!piece.empty()) continue;
    if (chunked || left != SIZE_MAX) throw Error(ErrorCode::kIo, "the answer breaks off");
    return status;
  }
}

}  // namespace lanner::cli
