// SPDX-License-Identifier: Apache-2.0
// The one file that includes Boost: Asio moves the bytes, Beast parses requests.
#include <algorithm>
#include <atomic>
#include <cctype>
#include <set>
#include <string>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "server/http.h"
#include "server/status.h"

namespace lanner::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
template <typename T>
using Awaitable = asio::awaitable<T>;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// Read ahead of the request that is being answered, so that a client that has gone is noticed.
constexpr size_t kReadAhead = 64 << 10;
constexpr std::chrono::seconds kLinger{2};
constexpr size_t kLingerBytes = 1 << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// A plain or a TLS connection; the session is compiled once for both.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Awaitable<error_code> handshake() = 0;
  virtual Awaitable<size_t> read(asio::mutable_buffer buffer) = 0;  // 0: the end, for any reason
  virtual Awaitable<error_code> write(asio::const_buffer buffer) = 0;
  virtual Awaitable<void> shutdown() = 0;  // no more is written
  virtual tcp::socket& socket() = 0;
};

class PlainStream final : public Stream {
 public:
  explicit PlainStream(tcp::socket socket) : socket_(std::move(socket)) {}
  Awaitable<error_code> handshake() override { co_return error_code{}; }
  Awaitable<size_t> read(asio::mutable_buffer buffer) override {
    auto [failure, bytes] = co_await socket_.async_read_some(buffer, kAwait);
    co_return failure ? 0 : bytes;
  }
  Awaitable<error_code> write(asio::const_buffer buffer) override {
    auto [failure, bytes] = co_await asio::async_write(socket_, buffer, kAwait);
    co_return failure;
  }
  Awaitable<void> shutdown() override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    co_return;
  }
  tcp::socket& socket() override { return socket_; }

 private:
  tcp::socket socket_;
};

class TlsStream final : public Stream {
 public:
  TlsStream(tcp::socket socket, asio::ssl::context& context) : tls_(std::move(socket), context) {}
  Awaitable<error_code> handshake() override {
    auto [failure] = co_await tls_.async_handshake(asio::ssl::stream_base::server, kAwait);
    co_return failure;
  }
  Awaitable<size_t> read(asio::mutable_buffer buffer) override {
    auto [failure, bytes] = co_await tls_.async_read_some(buffer, kAwait);
    co_return failure ? 0 : bytes;
  }
  Awaitable<error_code> write(asio::const_buffer buffer) override {
    auto [failure, bytes] = co_await asio::async_write(tls_, buffer, kAwait);
    co_return failure;
  }
  Awaitable<void> shutdown() override {
    error_code ignored;
    // The close_notify goes out with the next write at the latest; nobody is waited for.
    SSL_shutdown(tls_.native_handle());
    tls_.next_layer().shutdown(tcp::socket::shutdown_send, ignored);
    co_return;
  }
  tcp::socket& socket() override { return tls_.next_layer(); }

 private:
  asio::ssl::stream<tcp::socket> tls_;
};

class Connection;
using Connections = std::set<std::shared_ptr<Connection>>;

// What all connections share; used on the I/O thread, the counters from anywhere.
struct Shared {
  Shared(HttpServerOptions given, HttpHandler& given_handler)
      : options(std::move(given)), handler(given_handler) {}
  HttpServerOptions options;
  HttpHandler& handler;
  asio::io_context io{1};
  Connections connections;
  std::atomic<int64_t> count{0};
  std::atomic<int64_t> buffered{0};
  bool closing = false;
};

class Exchange;

// Two coroutines: one reads ahead, one parses and answers. They meet at `wake`.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shared& shared, std::unique_ptr<Stream> stream)
      : shared_(shared), stream_(std::move(stream)), wake_(shared.io), read_wake_(shared.io) {
    error_code ignored;
    const auto peer = stream_->socket().remote_endpoint(ignored);
    peer_ = ignored ? "?" : peer.address().to_string();
    stream_->socket().set_option(tcp::no_delay(true), ignored);
  }

  static Awaitable<void> run(std::shared_ptr<Connection> self);
  void close();
  // The sweep: whoever has passed its deadline is told so.
  void check_deadline(Clock::time_point now);
  // Nothing under way: end it. A new connection may ask once, how the server is, say.
  void close_if_idle() {
    if (idle_ && served_) close();
  }

 private:
  friend class Exchange;
  struct Parsed {
    bool ok = false;
    HttpRequest request;
    bool keep_alive = false;
  };

  static Awaitable<void> read_ahead(std::shared_ptr<Connection> self);
  Awaitable<void> serve();
  Awaitable<Parsed> read_request(std::shared_ptr<Exchange>& exchange);
  Awaitable<void> refuse(const std::shared_ptr<Exchange>& exchange, HttpResponse response);
  Awaitable<bool> answer(const std::shared_ptr<Exchange>& exchange, bool keep_alive);
  Awaitable<bool> stream_body(const std::shared_ptr<Exchange>& exchange, bool chunked);
  Awaitable<bool> write(std::string_view bytes);
  // False: no more comes, or the time is over.
  Awaitable<bool> more_input();
  Awaitable<void> wait_wake(Clock::time_point until = Clock::time_point::max());
  Awaitable<void> linger();
  std::string header_text(const Exchange& exchange, const HttpResponse& response, bool keep_alive,
                          const std::string& framing);
  void set_deadline(std::chrono::seconds limit) { deadline_ = Clock::now() + limit; }
  void no_deadline() { deadline_ = Clock::time_point::max(); }

  Shared& shared_;
  std::unique_ptr<Stream> stream_;
  asio::steady_timer wake_;       // the serving coroutine waits here
  asio::steady_timer read_wake_;  // the reading one, for room
  std::string peer_;
  std::string input_;
  bool ended_ = false;  // the client sends no more, or the connection is closed
  bool timed_out_ = false;
  bool closed_ = false;
  bool handshaking_ = false;
  bool idle_ = false;
  bool served_ = false;  // one request at least
  bool discard_ = false;
  size_t discarded_ = 0;
  Clock::time_point deadline_ = Clock::time_point::max();
  std::weak_ptr<Exchange> current_;
};

// The handler's end of an answer.
class Exchange final : public HttpExchange, public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Shared& shared, const std::shared_ptr<Connection>& connection)
      : shared_(shared), connection_(connection) {}
  ~Exchange() override { shared_.buffered -= static_cast<int64_t>(pending_.size()); }

  const HttpRequest& request() const override { return request_; }
  void respond(HttpResponse response) override {
    run_on_io([response = std::move(response)](Exchange& self) mutable {
      if (self.answered_) return;
      self.answered_ = true;
      self.head_ = std::move(response);
      self.wake();
    });
  }
  void start_stream(HttpResponse head, std::string keep_alive) override {
    run_on_io([head = std::move(head), text = std::move(keep_alive)](Exchange& self) mutable {
      if (self.answered_) return;
      self.answered_ = self.streaming_ = true;
      self.head_ = std::move(head);
      self.keep_alive_text_ = std::move(text);
      self.wake();
    });
  }
  void write(std::string bytes) override {
    run_on_io([bytes = std::move(bytes)](Exchange& self) { self.append(bytes); });
  }
  void finish() override {
    run_on_io([](Exchange& self) {
      self.finished_ = true;
      self.wake();
    });
  }
  void on_gone(std::function<void()> callback) override {
    run_on_io([callback = std::move(callback)](Exchange& self) mutable {
      if (self.complete_) return;
      self.gone_callback_ = std::move(callback);
      if (self.outcome_.client_gone) self.abandon();
    });
  }

 private:
  friend class Connection;

  template <typename Function>
  void run_on_io(Function function) {
    asio::dispatch(shared_.io, [self = shared_from_this(),
                                function = std::move(function)]() mutable { function(*self); });
  }
  void wake() {
    if (auto connection = connection_.lock()) connection->wake_.cancel();
  }
  void append(const std::string& bytes) {
    if (abandoned_ || finished_) return;
    if (static_cast<int64_t>(pending_.size() + in_flight_ + bytes.size()) >
        shared_.options.write_buffer_bytes) {
      outcome_.slow_reader = true;
      shared_.handler.on_closed_by("write_buffer_bytes");
      gone();
      if (auto connection = connection_.lock()) connection->close();
      return;
    }
    pending_ += bytes;
    shared_.buffered += static_cast<int64_t>(bytes.size());
    wake();
  }
  std::string take_pending() {
    shared_.buffered -= static_cast<int64_t>(pending_.size());
    return std::exchange(pending_, {});
  }
  void gone() {
    if (outcome_.client_gone || complete_) return;
    outcome_.client_gone = true;
    if (gone_callback_) abandon();
  }
  // Somebody waits for a client that is not there: no answer will be made.
  void abandon() {
    abandoned_ = true;
    take_pending();
    std::exchange(gone_callback_, nullptr)();
    wake();
  }

  Shared& shared_;
  std::weak_ptr<Connection> connection_;
  HttpRequest request_;
  HttpResponse head_;
  HttpOutcome outcome_;
  std::string keep_alive_text_;
  std::string pending_;
  size_t in_flight_ = 0;
  std::function<void()> gone_callback_;
  bool abandoned_ = false;
  bool answered_ = false;
  bool streaming_ = false;
  bool finished_ = false;
  bool complete_ = false;
};

void Connection::close() {
  if (closed_) return;
  closed_ = ended_ = true;
  error_code ignored;
  stream_->socket().close(ignored);
  if (auto exchange = current_.lock()) exchange->gone();
  wake_.cancel();
  read_wake_.cancel();
}

void Connection::check_deadline(Clock::time_point now) {
  if (now < deadline_) return;
  no_deadline();
  timed_out_ = true;
  // Within a handshake, or while an answer is written, there is nobody to tell.
  if (handshaking_) {
    shared_.handler.on_closed_by("header_timeout");
    return close();
  }
  if (const auto exchange = current_.lock(); exchange && exchange->answered_) {
    exchange->outcome_.slow_reader = true;
    shared_.handler.on_closed_by("write_timeout");
    return close();
  }
  wake_.cancel();
}

Awaitable<void> Connection::wait_wake(Clock::time_point until) {
  wake_.expires_at(until);
  co_await wake_.async_wait(kAwait);
}

Awaitable<void> Connection::read_ahead(std::shared_ptr<Connection> self) {
  std::array<char, 16 << 10> buffer;
  while (!self->ended_) {
    if (self->input_.size() >= kReadAhead) {
      self->read_wake_.expires_at(Clock::time_point::max());
      co_await self->read_wake_.async_wait(kAwait);
      continue;
    }
    const size_t bytes = co_await self->stream_->read(asio::buffer(buffer));
    if (bytes == 0) {
      self->ended_ = true;
      if (auto exchange = self->current_.lock()) exchange->gone();
    } else if (!self->discard_) {
      self->input_.append(buffer.data(), bytes);
    } else if ((self->discarded_ += bytes) > kLingerBytes) {
      self->close();
    }
    self->wake_.cancel();
  }
}

Awaitable<bool> Connection::more_input() {
  const size_t before = input_.size();
  while (input_.size() == before && !ended_ && !timed_out_ && !closed_) co_await wait_wake();
  co_return input_.size() > before;
}

Awaitable<void> Connection::run(std::shared_ptr<Connection> self) {
  self->set_deadline(self->shared_.options.header_timeout);
  self->handshaking_ = true;
  const error_code failure = co_await self->stream_->handshake();
  self->handshaking_ = false;
  if (!failure && !self->closed_) {
    asio::co_spawn(self->shared_.io, read_ahead(self), asio::detached);
    co_await self->serve();
  }
  self->close();
  self->shared_.connections.erase(self);
  --self->shared_.count;
}

Awaitable<void> Connection::serve() {
  while (!ended_ || !input_.empty()) {
    auto exchange = std::make_shared<Exchange>(shared_, shared_from_this());
    Parsed parsed = co_await read_request(exchange);
    if (!parsed.ok) break;
    no_deadline();
    current_ = exchange;
    if (ended_) exchange->gone();  // sent and left
    shared_.handler.on_request(exchange);
    const bool complete = co_await answer(exchange, parsed.keep_alive);
    current_.reset();
    if (!complete) exchange->gone();
    exchange->outcome_.client_gone = !complete;
    exchange->complete_ = true;
    exchange->gone_callback_ = nullptr;
    shared_.handler.on_done(*exchange, exchange->outcome_);
    served_ = true;
    if (!complete) co_return;
    if (!parsed.keep_alive || exchange->head_.close || shared_.closing) break;
  }
  co_await linger();
}

// Parses one request out of input_, refusing it as early as possible. ok = false: the connection
// ends, after an answer where there was something to answer.
Awaitable<Connection::Parsed> Connection::read_request(std::shared_ptr<Exchange>& exchange) {
  const HttpServerOptions& options = shared_.options;
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<uint32_t>(options.header_bytes));
  parser.body_limit(static_cast<uint64_t>(options.body_bytes));
  parser.eager(false);
  Parsed parsed;
  timed_out_ = false;
  idle_ = true;
  set_deadline(options.idle_timeout);
  bool header_seen = false;
  while (!parser.is_done()) {
    if (!input_.empty()) {
      if (idle_) {
        idle_ = false;
        exchange->begin = Clock::now();
        set_deadline(options.header_timeout);
      }
      error_code failure;
      const size_t used = parser.put(asio::buffer(input_), failure);
      input_.erase(0, used);
      read_wake_.cancel();
      if (failure == http::error::need_more) {
        failure = {};
      } else if (failure) {
        const bool header_limit = failure == http::error::header_limit;
        const bool body_limit = failure == http::error::body_limit;
        const int status = header_limit ? 431 : body_limit ? 413 : 400;
        const char* limit = header_limit ? "header_bytes" : body_limit ? "body_bytes" : "";
        const std::string what =
            header_limit ? fmt::format("the headers have more than {} bytes", options.header_bytes)
            : body_limit ? fmt::format("the body has more than {} bytes", options.body_bytes)
                         : "this is no valid HTTP request: " + failure.message();
        co_await refuse(exchange, shared_.handler.on_bad_request(status, limit, what));
        co_return parsed;
      }
      if (parser.is_header_done() && !header_seen) {
        header_seen = true;
        const auto& message = parser.get();
        HttpRequest& request = exchange->request_;
        request.method = std::string(message.method_string());
        const std::string_view target(message.target().data(), message.target().size());
        request.path = std::string(target.substr(0, target.find('?')));
        if (request.path.size() < target.size())
          request.query = target.substr(request.path.size() + 1);
        for (const auto& field : message) {
          request.headers.emplace_back(lower(std::string_view(field.name_string())),
                                       std::string(field.value()));
        }
        request.peer = peer_;
        request.http10 = message.version() < 11;
        exchange->id = shared_.handler.new_request_id(request);
        if (auto refusal = shared_.handler.on_header(request, *exchange)) {
          co_await refuse(exchange, std::move(*refusal));
          co_return parsed;
        }
        if (const std::string* expect = request.header("expect");
            expect != nullptr && !parser.is_done()) {
          if (lower(*expect) == "100-continue") co_await write("HTTP/1.1 100 Continue\r\n\r\n");
        }
        parser.eager(true);
        set_deadline(options.body_timeout);
      }
      if (used > 0) continue;
    }
    if (parser.is_done()) break;
    if (co_await more_input()) continue;
    if (timed_out_ && idle_ && !closed_) shared_.handler.on_closed_by("idle_timeout");
    if (timed_out_ && !idle_ && !closed_) {
      co_await refuse(exchange, shared_.handler.on_bad_request(
                                    408, header_seen ? "body_timeout" : "header_timeout",
                                    "the request did not arrive in time"));
    }
    co_return parsed;
  }
  parsed.keep_alive = parser.get().keep_alive();
  exchange->request_.body = std::move(parser.get().body());
  parsed.ok = true;
  co_return parsed;
}

// Answers a request whose rest is not read; the connection ends after it.
Awaitable<void> Connection::refuse(const std::shared_ptr<Exchange>& exchange,
                                   HttpResponse response) {
  if (exchange->id.empty()) exchange->id = shared_.handler.new_request_id(exchange->request_);
  response.close = true;
  exchange->answered_ = true;
  exchange->head_ = std::move(response);
  current_ = exchange;
  const bool complete = co_await answer(exchange, false);
  current_.reset();
  exchange->outcome_.client_gone = !complete;
  exchange->complete_ = true;
  shared_.handler.on_done(*exchange, exchange->outcome_);
  if (complete) co_await linger();
}

std::string Connection::header_text(const Exchange& exchange, const HttpResponse& response,
                                    bool keep_alive, const std::string& framing) {
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\n", response.status, status_reason(response.status));
  if (!response.content_type.empty()) text += "Content-Type: " + response.content_type + "\r\n";
  for (const auto& [name, value] : response.headers) text += name + ": " + value + "\r\n";
  for (const auto& [name, value] : shared_.handler.common_headers(exchange)) {
    text += name + ": " + value + "\r\n";
  }
  text += framing;
  text += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return text;
}

// False: the client is gone.
Awaitable<bool> Connection::answer(const std::shared_ptr<Exchange>& exchange, bool keep_alive) {
  while (!exchange->answered_) {
    if (exchange->abandoned_ || closed_) co_return false;
    co_await wait_wake();
  }
  HttpResponse& head = exchange->head_;
  const bool http10 = exchange->request_.http10;
  keep_alive = keep_alive && !head.close && !shared_.closing;
  const bool chunked = exchange->streaming_ && !http10;
  if (exchange->streaming_ && http10) head.close = true;  // the end of the connection ends the body
  const bool no_body = head.status == 204 || head.status == 304;
  const std::string framing = chunked ? "Transfer-Encoding: chunked\r\n"
                              : exchange->streaming_ || no_body
                                  ? ""
                                  : fmt::format("Content-Length: {}\r\n", head.body.size());
  std::string text = header_text(*exchange, head, keep_alive && !head.close, framing);
  if (!exchange->streaming_ && exchange->request_.method != "HEAD") text += head.body;
  exchange->outcome_.status = head.status;
  exchange->outcome_.bytes = static_cast<int64_t>(text.size());
  if (!co_await write(text)) co_return false;
  if (!exchange->streaming_) co_return true;
  co_return co_await stream_body(exchange, chunked);
}

Awaitable<bool> Connection::stream_body(const std::shared_ptr<Exchange>& exchange, bool chunked) {
  const auto interval = shared_.options.keep_alive_interval;
  auto next_comment = Clock::now() + interval;
  for (;;) {
    if (exchange->abandoned_ || closed_) co_return false;
    if (exchange->pending_.empty() && exchange->finished_) {
      if (!chunked) co_return true;  // not `||`: g++ 12 awaits its right side in any case
      co_return co_await write("0\r\n\r\n");
    }
    if (exchange->pending_.empty() && Clock::now() >= next_comment) {
      exchange->append(exchange->keep_alive_text_);
      next_comment = Clock::now() + interval;
    }
    if (exchange->pending_.empty()) {
      co_await wait_wake(next_comment);
      continue;
    }
    std::string piece = exchange->take_pending();
    if (chunked) piece = fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);
    exchange->in_flight_ = piece.size();
    const bool written = co_await write(piece);
    exchange->in_flight_ = 0;
    if (!written) co_return false;
    exchange->outcome_.bytes += static_cast<int64_t>(piece.size());
    next_comment = Clock::now() + interval;
  }
}

Awaitable<bool> Connection::write(std::string_view bytes) {
  set_deadline(shared_.options.write_timeout);
  const error_code failure = co_await stream_->write(asio::buffer(bytes.data(), bytes.size()));
  no_deadline();
  co_return !failure && !closed_;
}

// Closing a socket with unread input resets the connection, and the client may lose the answer:
// read what it still sends, for a while.
Awaitable<void> Connection::linger() {
  if (closed_) co_return;
  co_await stream_->shutdown();
  discard_ = true;
  input_.clear();
  read_wake_.cancel();
  const auto until = Clock::now() + kLinger;
  while (!ended_ && !closed_ && Clock::now() < until) co_await wait_wake(until);
}

}  // namespace

const std::string* HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

struct HttpServer::Impl {
  Impl(HttpServerOptions options, HttpHandler& handler)
      : shared(std::move(options), handler), acceptor(shared.io), sweep(shared.io) {}

  void listen();
  Awaitable<void> accept();
  Awaitable<void> turn_away(tcp::socket socket);
  Awaitable<void> sweep_deadlines();

  Shared shared;
  tcp::acceptor acceptor;
  asio::steady_timer sweep;
  std::optional<asio::ssl::context> tls;
};

void HttpServer::Impl::listen() {
  const HttpServerOptions& options = shared.options;
  if (!options.tls_certificate.empty()) {
    tls.emplace(asio::ssl::context::tls_server);
    tls->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
    error_code failure;
    tls->use_certificate_chain_file(options.tls_certificate, failure);
    check_argument(!failure, "TLS certificate {}: {}", options.tls_certificate, failure.message());
    tls->use_private_key_file(options.tls_key, asio::ssl::context::pem, failure);
    check_argument(!failure, "TLS key {}: {}", options.tls_key, failure.message());
  }
  error_code failure;
  tcp::resolver resolver(shared.io);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, failure);
  if (failure)
    throw_error(ErrorCode::kIo, "cannot listen on {}: {}", options.host, failure.message());
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), failure);
  if (!failure) acceptor.set_option(tcp::acceptor::reuse_address(true), failure);
  if (!failure) acceptor.bind(endpoint, failure);
  if (!failure) acceptor.listen(1024, failure);
  if (failure) {
    throw_error(ErrorCode::kIo, "cannot listen on {} port {}: {}", options.host, options.port,
                failure.message());
  }
}

Awaitable<void> HttpServer::Impl::accept() {
  for (;;) {
    auto [failure, socket] = co_await acceptor.async_accept(kAwait);
    if (failure == asio::error::operation_aborted) co_return;
    if (failure) {
      // Out of file descriptors, say: the connections that end give some back.
      log_warn("accept: {}", failure.message());
      asio::steady_timer pause(shared.io, std::chrono::milliseconds(100));
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (shared.count >= shared.options.connections) {
      asio::co_spawn(shared.io, turn_away(std::move(socket)), asio::detached);
      continue;
    }
    std::unique_ptr<Stream> stream;
    if (tls) {
      stream = std::make_unique<TlsStream>(std::move(socket), *tls);
    } else {
      stream = std::make_unique<PlainStream>(std::move(socket));
    }
    auto connection = std::make_shared<Connection>(shared, std::move(stream));
    if (shared.connections.empty()) sweep.cancel();  // starts it again
    shared.connections.insert(connection);
    ++shared.count;
    asio::co_spawn(shared.io, Connection::run(std::move(connection)), asio::detached);
  }
}

Awaitable<void> HttpServer::Impl::turn_away(tcp::socket socket) {
  const HttpResponse response = shared.handler.on_bad_request(
      503, "connections", fmt::format("more than {} connections", shared.options.connections));
  const std::string text = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
      "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
      response.body.size(), response.body);
  if (tls) co_return;  // a handshake costs what there is too little of
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(text), ignored);
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

// Once a second while there are connections: a server without any sleeps.
Awaitable<void> HttpServer::Impl::sweep_deadlines() {
  for (;;) {
    if (shared.connections.empty()) {
      sweep.expires_at(Clock::time_point::max());
    } else {
      sweep.expires_after(std::chrono::seconds(1));
    }
    co_await sweep.async_wait(kAwait);
    if (!acceptor.is_open()) co_return;
    const Connections copy = shared.connections;  // a closed one takes itself out
    for (const auto& connection : copy) connection->check_deadline(Clock::now());
  }
}

HttpServer::HttpServer(HttpServerOptions options, HttpHandler& handler)
    : impl_(std::make_unique<Impl>(std::move(options), handler)) {
  impl_->listen();
}

HttpServer::~HttpServer() = default;

int HttpServer::port() const { return impl_->acceptor.local_endpoint().port(); }

void HttpServer::run() {
  asio::co_spawn(impl_->shared.io, impl_->accept(), asio::detached);
  asio::co_spawn(impl_->shared.io, impl_->sweep_deadlines(), asio::detached);
  for (;;) {
    try {
      impl_->shared.io.run();
      return;
    } catch (const std::exception& e) {
      // Out of memory, at worst: the connection it happened on is lost, not the others.
      log_warn("the I/O thread: {}", e.what());
    }
  }
}

void HttpServer::stop() {
  post([this] {
    error_code ignored;
    impl_->acceptor.close(ignored);
    const Connections copy = impl_->shared.connections;
    for (const auto& connection : copy) connection->close();
    impl_->shared.io.stop();
  });
}

void HttpServer::post(std::function<void()> task) { asio::post(impl_->shared.io, std::move(task)); }

void HttpServer::after(std::chrono::milliseconds delay, std::function<void()> task) {
  post([this, delay, task = std::move(task)]() mutable {
    auto timer = std::make_shared<asio::steady_timer>(impl_->shared.io, delay);
    timer->async_wait([timer, task = std::move(task)](error_code failure) {
      if (!failure) task();
    });
  });
}

void HttpServer::close_when_idle() {
  post([this] {
    impl_->shared.closing = true;
    const Connections copy = impl_->shared.connections;
    for (const auto& connection : copy) connection->close_if_idle();
  });
}

int64_t HttpServer::connections() const { return impl_->shared.count; }
int64_t HttpServer::write_buffer_bytes() const { return impl_->shared.buffered; }

}  // namespace lanner::server
