// SPDX-License-Identifier: Apache-2.0
#include "base/http_client.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>

#include "base/error.h"

namespace lanner {
namespace {

constexpr size_t kMaxHeadBytes = 64 << 10;
constexpr size_t kMaxChunkLine = 1 << 10;

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<uint64_t> number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// One answer, read from a connection.
class Answer {
 public:
  Answer(const HttpRequest& request, NetStream& stream)
      : host_(request.url.address.host), is_head_(request.method == "HEAD"), stream_(stream) {}

  HttpHead read(const HttpHeadCallback& on_head, const HttpBodyCallback& on_body) {
    do read_head();
    while (head_.status / 100 == 1);
    if (on_head && !on_head(head_)) return head_;
    if (is_head_ || head_.status == 204 || head_.status == 304) return head_;
    if (lower(head_.header("transfer-encoding").value_or("")) == "chunked") {
      read_chunks(on_body);
    } else if (const auto length = head_.header("content-length")) {
      const auto bytes = number(*length, 10);
      if (!bytes) fail(fmt::format("the answer has the Content-Length '{}'", *length));
      read_exactly(*bytes, on_body);
    } else {
      do pass_on(on_body, SIZE_MAX);
      while (fill());
    }
    return head_;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw_error(ErrorCode::kIo, "{}: {}", host_, what);
  }

  // More bytes into text_; false at the end.
  bool fill() {
    const size_t got = stream_.read(buffer_.data(), buffer_.size());
    text_.append(buffer_.data(), got);
    return got > 0;
  }

  // A line without its end, of at most `most` bytes.
  std::string line(size_t most) {
    for (;;) {
      const size_t end = text_.find('\n');
      if (end == std::string::npos ? text_.size() > most : end > most) {
        fail("the answer has a line that is too long");
      }
      if (end != std::string::npos) {
        std::string result = text_.substr(0, end);
        text_.erase(0, end + 1);
        if (result.ends_with('\r')) result.pop_back();
        return result;
      }
      if (!fill()) fail("the answer breaks off");
    }
  }

  void read_head() {
    const std::string status = line(kMaxHeadBytes);
    const auto code = status.size() >= 12 ? number(status.substr(9, 3), 10) : std::nullopt;
    if (!status.starts_with("HTTP/1.") || !code) fail("the answer is no HTTP");
    head_ = {static_cast<int>(*code), {}};
    size_t bytes = 0;
    for (std::string text = line(kMaxHeadBytes); !text.empty(); text = line(kMaxHeadBytes)) {
      bytes += text.size();
      const size_t colon = text.find(':');
      if (colon == std::string::npos || bytes > kMaxHeadBytes)
        fail("the answer's head is malformed");
      head_.headers[lower(text.substr(0, colon))] =
          std::string(trimmed(std::string_view(text).substr(colon + 1)));
    }
  }

  // Up to `most` of the bytes at hand.
  size_t pass_on(const HttpBodyCallback& on_body, size_t most) {
    const size_t bytes = std::min(most, text_.size());
    if (bytes > 0) on_body(std::string_view(text_).substr(0, bytes));
    text_.erase(0, bytes);
    return bytes;
  }

  void read_exactly(uint64_t bytes, const HttpBodyCallback& on_body) {
    for (;;) {
      bytes -= pass_on(on_body, static_cast<size_t>(std::min<uint64_t>(bytes, SIZE_MAX)));
      if (bytes == 0) return;
      if (!fill()) fail(fmt::format("the answer breaks off, {} bytes before its end", bytes));
    }
  }

  void read_chunks(const HttpBodyCallback& on_body) {
    for (;;) {
      std::string size = line(kMaxChunkLine);
      size = std::string(trimmed(std::string_view(size).substr(0, size.find(';'))));
      const auto bytes = number(size, 16);
      if (!bytes) fail("the answer has a chunk without a size");
      if (*bytes == 0) break;
      read_exactly(*bytes, on_body);
      if (!line(kMaxChunkLine).empty()) fail("the answer has a chunk that is longer than it says");
    }
    size_t trailers = 0;
    for (std::string text = line(kMaxChunkLine); !text.empty(); text = line(kMaxChunkLine)) {
      if (++trailers > 100) fail("the answer has too many trailers");
    }
  }

  std::string host_;
  bool is_head_;
  NetStream& stream_;
  HttpHead head_;
  std::string text_;  // received, and not yet used
  std::array<char, 64 << 10> buffer_{};
};

}  // namespace

bool Url::same_origin(const Url& other) const {
  return address.tls == other.address.tls && address.port == other.address.port &&
         lower(address.host) == lower(other.address.host);
}

std::string Url::text() const {
  const bool standard = address.port == (address.tls ? "443" : "80");
  const bool brackets = address.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}{}{}", address.tls ? "https" : "http", brackets ? "[" : "",
                     address.host, brackets ? "]" : "",
                     standard ? std::string() : fmt::format(":{}", address.port), target);
}

Url parse_url(std::string_view text) {
  const auto check = [&](bool condition) {
    check_argument(condition, "'{}' is no URL like https://example.org/path", text.substr(0, 200));
  };
  Url url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.address.tls = true;
    rest.remove_prefix(8);
  } else {
    check(rest.starts_with("http://"));
    rest.remove_prefix(7);
  }
  check(std::ranges::none_of(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; }));
  rest = rest.substr(0, rest.find('#'));
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view host = rest.substr(0, end);
  check(!host.empty() && host.find('@') == std::string_view::npos);
  if (end < rest.size()) url.target = std::string(rest.substr(end));
  if (url.target.front() == '?') url.target = fmt::format("/{}", url.target);
  url.address.port = url.address.tls ? "443" : "80";
  const size_t bracket = host.find(']');
  const size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    const auto port = number(host.substr(colon + 1), 10);
    check(port && *port >= 1 && *port <= 65535);
    url.address.port = std::to_string(*port);
    host = host.substr(0, colon);
  }
  if (host.starts_with('[')) {
    check(host.ends_with(']'));
    host = host.substr(1, host.size() - 2);
  }
  check(!host.empty());
  url.address.host = std::string(host);
  return url;
}

Url resolve_url(const Url& base, std::string_view location) {
  if (location.starts_with("http://") || location.starts_with("https://")) {
    return parse_url(location);
  }
  if (location.starts_with("//")) {
    return parse_url(fmt::format("{}:{}", base.address.tls ? "https" : "http", location));
  }
  Url url = base;
  if (location.starts_with('/')) {
    url.target.clear();
    return parse_url(fmt::format("{}{}", url.text(), location));
  }
  url.target = url.target.substr(0, url.target.find('?'));
  url.target.erase(url.target.rfind('/') + 1);
  return parse_url(fmt::format("{}{}", url.text(), location));
}

std::optional<std::string> HttpHead::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::nullopt : std::optional(found->second);
}

HttpHead http_request(const HttpRequest& request, const NetOptions& options,
                      const HttpHeadCallback& on_head, const HttpBodyCallback& on_body) {
  const NetAddress& address = request.url.address;
  NetStream stream(address, options);
  const bool brackets = address.host.find(':') != std::string::npos;
  std::string head = fmt::format(
      "{} {} HTTP/1.1\r\nHost: {}{}{}:{}\r\nConnection: close\r\nUser-Agent: lanner\r\n",
      request.method, request.url.target, brackets ? "[" : "", address.host, brackets ? "]" : "",
      address.port);
  for (const auto& [name, value] : request.headers) {
    check_argument(value.find_first_of("\r\n") == std::string::npos, "the header {} has a line end",
                   name);
    head += fmt::format("{}: {}\r\n", name, value);
  }
  if (!request.body.empty()) head += fmt::format("Content-Length: {}\r\n", request.body.size());
  stream.write(head + "\r\n" + request.body);
  return Answer(request, stream).read(on_head, on_body);
}

}  // namespace lanner
