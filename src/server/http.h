// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lanner::server {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // "GET"
  std::string path;     // without the query, as sent
  std::string query;    // after '?', as sent
  HttpHeaders headers;  // names in lower case
  std::string body;
  std::string peer;  // the client's address
  bool http10 = false;
  // The value of the first header of that name (lower case), or nullptr.
  const std::string* header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers = {};
  std::string body = {};
  bool close = false;  // end the connection after it
};

// One request and its answer. The answer is given from any thread: `respond` once, or
// `start_stream`, `write` any number of times, `finish`. What is given after the client is gone is
// thrown away.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual void respond(HttpResponse response) = 0;
  // Status line and headers; the body follows in pieces. `keep_alive` is written whenever nothing
  // else was for the interval of the options; "" writes nothing.
  virtual void start_stream(HttpResponse head, std::string keep_alive) = 0;
  // Never blocks: what the client does not take yet is kept, up to the limit of the options. Beyond
  // it the client counts as gone.
  virtual void write(std::string bytes) = 0;
  virtual void finish() = 0;
  // Calls back, on the I/O thread, if the client goes away before the answer is complete; at once
  // if it has gone already. One callback; it is dropped when the answer is complete.
  virtual void on_gone(std::function<void()> callback) = 0;

  // For the access log and the response headers.
  std::string id;
  std::string log_fields;  // ` key=value` pairs, set before the answer ends
  std::string route;       // the row of the router it matched
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
};

struct HttpOutcome {
  int status = 0;  // 0: nothing was sent
  int64_t bytes = 0;
  bool client_gone = false;
  bool slow_reader = false;
};

// Called on the I/O thread; must not block.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // A request begins: gives it an id.
  virtual std::string new_request_id(const HttpRequest& request) = 0;
  // The headers are there, the body not yet: an answer refuses the request.
  virtual std::optional<HttpResponse> on_header(const HttpRequest& request,
                                                HttpExchange& exchange) = 0;
  virtual void on_request(const std::shared_ptr<HttpExchange>& exchange) = 0;
  // The bytes are no HTTP, or beyond a limit: the answer to it. `limit` names the row of the limits
  // table, "" for none.
  virtual HttpResponse on_bad_request(int status, std::string_view limit,
                                      const std::string& what) = 0;
  // Headers that every answer carries.
  virtual HttpHeaders common_headers(const HttpExchange& exchange) = 0;
  virtual void on_done(const HttpExchange& exchange, const HttpOutcome& outcome) = 0;
  // A connection is closed without an answer, or in one, because of this row of the limits table.
  virtual void on_closed_by(std::string_view limit) = 0;
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;              // 0: any free one
  std::string tls_certificate;  // PEM files; both or none
  std::string tls_key;
  int64_t header_bytes = 16 << 10;
  int64_t body_bytes = 8 << 20;
  int64_t connections = 1024;
  int64_t write_buffer_bytes = 1 << 20;
  std::chrono::seconds idle_timeout{75};
  std::chrono::seconds header_timeout{20};
  std::chrono::seconds body_timeout{60};
  std::chrono::seconds write_timeout{30};
  std::chrono::seconds keep_alive_interval{15};
};

// Connections, HTTP/1.1 parsing, TLS: everything that touches sockets. One thread calls run(); the
// handler is called there. The other methods may be called from any thread.
class HttpServer {
 public:
  // Listens. Throws Error(kIo) naming the address, Error(kInvalidArgument) naming a TLS file.
  HttpServer(HttpServerOptions options, HttpHandler& handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  void run();
  // Ends run(); open connections are closed.
  void stop();
  // Runs a task on the I/O thread, soon or after a time.
  void post(std::function<void()> task);
  void after(std::chrono::milliseconds delay, std::function<void()> task);
  // After the answer that is under way, if any, every connection ends.
  void close_when_idle();
  int64_t connections() const;
  int64_t write_buffer_bytes() const;  // waiting for slow clients, all together

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lanner::server
