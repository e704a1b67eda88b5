// SPDX-License-Identifier: Apache-2.0
// Bytes on a connection to the whole server with a scripted model. Every answer must begin as one,
// none may be a defect's, the connection must end, and the server must go on.
#include <memory>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/testing/fuzz_target.h"
#include "server/server.h"
#include "server/testing/scripted_llm.h"

using namespace lanner;

namespace {

constexpr int kPatienceMs = 30'000;  // for the end of a connection; machines are slow at times
constexpr int kAnswerMs = 3;         // how long a client that sent all waits before it hangs up

// Never destroyed: what is left at the end of a run is not what is tested.
class RunningServer {
 public:
  RunningServer() {
    set_log_level(LogLevel::kOff);
    server::ServerConfig config;
    config.port = 0;
    config.models = {{.name = "tiny", .path = "scripted"}};
    config.limits.requests_per_key = 1 << 20;
    config.limits.max_tokens = 64;
    server::ScriptedModel model;
    model.sequences = 8;
    model.step = std::chrono::microseconds(0);
    server_ = new server::Server(config, server::scripted_load(model));
    std::thread([this] { server_->run(); }).detach();
    while (!ask("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 200")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  // What comes back until the server closes.
  std::string ask(std::string_view bytes) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      fuzz::defect("the server cannot be reached");
    // A server that has refused the request may close before it has read all of it.
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, kAnswerMs);
    ::shutdown(fd, SHUT_WR);
    std::string answer;
    for (;;) {
      if (::poll(&waiting, 1, kPatienceMs) != 1) fuzz::defect("the connection does not end");
      char buffer[4096];
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      answer.append(buffer, static_cast<size_t>(got));
    }
    ::close(fd);
    return answer;
  }

 private:
  server::Server* server_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* kServer = new RunningServer;
  static uint64_t count = 0;
  const std::string_view bytes = fuzz::as_text(data, size);
  const std::string answer = kServer->ask(bytes);
  if (!answer.empty() && !answer.starts_with("HTTP/1.1 ")) fuzz::defect("no HTTP: " + answer);
  // The scripted model fails when a prompt asks it to.
  const bool asked = bytes.find("THROW") != std::string_view::npos;
  if (answer.starts_with("HTTP/1.1 500") && !asked) fuzz::defect("a defect's answer: " + answer);
  if (++count % 64 == 0 && !kServer->ask("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                                .starts_with("HTTP/1.1 200")) {
    fuzz::defect("the server is not well any more");
  }
  return 0;
}
