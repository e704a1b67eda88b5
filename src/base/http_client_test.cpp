// SPDX-License-Identifier: Apache-2.0
#include "base/http_client.h"

#include <thread>

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

namespace lanner {
namespace {

using testing::HasSubstr;

// Answers one connection on a port of its own with fixed bytes.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* where = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, where, size) != 0 || ::listen(listener_, 1) != 0 ||
        ::getsockname(listener_, where, &size) != 0) {
      throw std::runtime_error("no socket");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~OneAnswer() {
    thread_.join();
    ::close(listener_);
  }
  Url url(const std::string& path = "/") const {
    return parse_url(fmt::format("http://127.0.0.1:{}{}", port_, path));
  }
  const std::string& request() const { return request_; }

 private:
  void serve() {
    const int fd = ::accept(listener_, nullptr, nullptr);
    char buffer[4096];
    while (request_.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      request_.append(buffer, static_cast<size_t>(got));
    }
    ::send(fd, answer_.data(), answer_.size(), MSG_NOSIGNAL);
    ::close(fd);
  }

  std::string answer_;
  std::string request_;
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
};

struct Got {
  HttpHead head;
  std::string body;
};

Got get(const std::string& answer) {
  const OneAnswer server(answer);
  Got got;
  got.head = http_request({.url = server.url("/x?y")}, {}, {},
                          [&](std::string_view piece) { got.body += piece; });
  return got;
}

TEST(Url, IsTakenApart) {
  struct Case {
    const char* text;
    const char* host;
    const char* port;
    const char* target;
    bool tls;
  };
  for (const Case& c : {Case{"http://a.b", "a.b", "80", "/", false},
                        Case{"https://a.b:8443/x/y?z=1#f", "a.b", "8443", "/x/y?z=1", true},
                        Case{"http://[::1]:90?q", "::1", "90", "/?q", false},
                        Case{"http://[::1]/", "::1", "80", "/", false}}) {
    const Url url = parse_url(c.text);
    EXPECT_EQ(url.address.host, c.host);
    EXPECT_EQ(url.address.port, c.port);
    EXPECT_EQ(url.target, c.target);
    EXPECT_EQ(url.address.tls, c.tls);
    EXPECT_EQ(parse_url(url.text()).target, url.target);
  }
  for (const char* text : {"", "ftp://a", "http://", "http:///x", "http://a b", "http://a:0",
                           "http://a:99999", "http://me@a/", "http://a:x", "http://a\r\nHost: b"}) {
    EXPECT_THROW(parse_url(text), Error) << text;
  }
}

TEST(Url, FollowsLocations) {
  const Url base = parse_url("https://a.b/c/d?e");
  EXPECT_EQ(resolve_url(base, "/x").text(), "https://a.b/x");
  EXPECT_EQ(resolve_url(base, "x?y").text(), "https://a.b/c/x?y");
  EXPECT_EQ(resolve_url(base, "//o/x").text(), "https://o/x");
  EXPECT_EQ(resolve_url(base, "http://o:90/x").text(), "http://o:90/x");
  EXPECT_TRUE(base.same_origin(parse_url("https://A.B:443/")));
  EXPECT_FALSE(base.same_origin(parse_url("http://a.b/")));
  EXPECT_THROW(resolve_url(base, "/x y"), Error);
}

TEST(HttpClient, ReadsBodiesOfEveryKind) {
  struct Case {
    const char* answer;
    int status;
    const char* body;
  };
  for (const Case& c :
       {Case{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello", 200, "hello"},
        Case{"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end"},
        Case{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, ""},
        Case{"HTTP/1.0 200 OK\nContent-Length: 2\n\nok", 200, "ok"},
        Case{"HTTP/1.1 204 Nothing\r\nContent-Length: 3\r\n\r\n", 204, ""},
        Case{"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
             "Chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n"
             "0\r\nTrailer: 1\r\n\r\n",
             200, "abc0123456789"}}) {
    const Got got = get(c.answer);
    EXPECT_EQ(got.head.status, c.status);
    EXPECT_EQ(got.body, c.body);
  }
  EXPECT_EQ(get("HTTP/1.1 200 OK\r\nX-A:  b \r\n\r\n").head.header("x-a"), "b");
}

TEST(HttpClient, RefusesAnswersThatAreNone) {
  const std::string long_line(100'000, 'x');
  for (const std::string& answer :
       {std::string(), std::string("nonsense\r\n\r\n"), std::string("HTTP/1.1 200 OK\r\nX"),
        std::string("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), "HTTP/1.1 200 OK\r\nA: " + long_line,
        std::string("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"),
        std::string(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n")}) {
    try {
      get(answer);
      ADD_FAILURE() << answer.substr(0, 60);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo);
      EXPECT_THAT(error.what(), HasSubstr("127.0.0.1"));
    }
  }
}

TEST(HttpClient, SendsWhatItIsTold) {
  std::string request;
  {
    OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot read!");
    std::string body;
    http_request(
        {.method = "POST", .url = server.url("/p"), .headers = {{"A", "b"}}, .body = "{}"}, {},
        [](const HttpHead&) { return false; }, [&](std::string_view piece) { body += piece; });
    EXPECT_EQ(body, "");
    EXPECT_THROW(http_request({.url = server.url(), .headers = {{"A", "b\r\nC: d"}}}, {}, {}, {}),
                 Error);
    request = server.request();
  }
  EXPECT_THAT(request, testing::StartsWith("POST /p HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nA: b\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Length: 2\r\n"));
}

TEST(HttpClient, GivesUpAndStops) {
  // A listener that never answers.
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd, 4), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const Url url = parse_url(fmt::format("http://127.0.0.1:{}/", ntohs(address.sin_port)));
  const auto code_of = [&](const NetOptions& options) {
    try {
      http_request({.url = url}, options, {}, {});
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of({.timeout = std::chrono::milliseconds(150)}), ErrorCode::kIo);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop = true;
  });
  EXPECT_EQ(code_of({.stop = &stop}), ErrorCode::kCancelled);
  other.join();
  ::close(fd);
  EXPECT_EQ(code_of({}), ErrorCode::kIo);  // nobody listens
}

}  // namespace
}  // namespace lanner
