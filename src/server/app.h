// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "server/api_keys.h"
#include "server/config.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/model.h"
#include "server/worker_pool.h"

namespace lanner::server {

class Generation;
struct Route;

// Everything that requests share: the models, the metrics, the rules on who may ask what. Decides
// on each request before its body is read, then hands it to its route. The endpoints use it from
// the I/O thread and the workers.
class App final : public HttpHandler {
 public:
  // Listens from here on. Throws what HttpServer and ApiKeys::load throw.
  explicit App(ServerConfig config);
  ~App() override;

  const ServerConfig& config() const { return config_; }
  const Limits& limits() const { return config_.limits; }
  Metrics& metrics() { return metrics_; }
  HttpServer& http() { return *http_; }
  WorkerPool& workers() { return *workers_; }
  const std::vector<std::unique_ptr<Model>>& models() const { return models_; }
  // What clients may ask for: models and their adapters.
  std::vector<std::string> model_names() const;
  // By the name a client gave; "" is the first one. Throws HttpError: 404, 503 while it loads.
  ServedModel model(const std::string& name) const;
  // Of a request's `model` member.
  ServedModel model_of(const Json& body) const;

  // "ready", "loading" or "draining".
  const char* state() const;
  void set_ready() { ready_ = true; }
  void begin_drain() { draining_ = true; }
  bool draining() const { return draining_; }

  // Requests under way, so that a drain knows whom to wait for and whom to end.
  void add(const std::shared_ptr<Generation>& generation);
  void remove(const Generation* generation);
  int active_generations() const;
  void cancel_generations();

  // Fills in the gauges that are only looked at when somebody asks.
  std::string metrics_text();

  // An answer for whatever was thrown; counts it where it is a limit.
  HttpResponse error_response(const std::exception_ptr& thrown);

  std::string new_request_id(const HttpRequest& request) override;
  std::optional<HttpResponse> on_header(const HttpRequest& request,
                                        HttpExchange& exchange) override;
  void on_request(const std::shared_ptr<HttpExchange>& exchange) override;
  HttpResponse on_bad_request(int status, std::string_view limit, const std::string& what) override;
  HttpHeaders common_headers(const HttpExchange& exchange) override;
  void on_done(const HttpExchange& exchange, const HttpOutcome& outcome) override;
  void on_closed_by(std::string_view limit) override;

 private:
  void tick_generations();
  void check_header(const HttpRequest& request, HttpExchange& exchange) const;
  void check_host(const HttpRequest& request) const;
  bool origin_allowed(const HttpRequest& request) const;
  std::string client_of(const HttpRequest& request) const;
  void log_access(const HttpExchange& exchange, const HttpOutcome& outcome, double seconds) const;

  const ServerConfig config_;
  ApiKeys keys_;
  Metrics metrics_;
  std::vector<std::unique_ptr<Model>> models_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> draining_{false};
  std::atomic<uint64_t> next_id_{1};
  std::string id_prefix_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  mutable std::mutex generations_mutex_;
  std::set<std::shared_ptr<Generation>> generations_;
  bool ticking_ = false;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<WorkerPool> workers_;  // last: its tasks use the others
};

// One request on its way through its endpoint.
struct Call {
  App& app;
  std::shared_ptr<HttpExchange> exchange;
  const Route& route;
  std::string argument;  // what stands for {…} in the route's path, percent-decoded
  std::string client;    // whose request it is, for accounting
  Json body = {};        // of a POST

  void respond(const Json& json, int status = 200) const;
};

}  // namespace lanner::server
