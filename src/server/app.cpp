// SPDX-License-Identifier: Apache-2.0
#include "server/app.h"

#include <algorithm>
#include <cctype>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <utility>

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "server/generation.h"
#include "server/routes.h"
#include "server/sse.h"
#include "server/status.h"

namespace lanner::server {
namespace {

constexpr int kWorkers = 4;
constexpr std::chrono::milliseconds kTick{500};

HttpServerOptions http_options(const ServerConfig& config) {
  using std::chrono::seconds;
  const Limits& limits = config.limits;
  return {.host = config.host,
          .port = config.port,
          .tls_certificate = config.tls_certificate,
          .tls_key = config.tls_key,
          .header_bytes = limits.header_bytes,
          .body_bytes = limits.body_bytes,
          .connections = limits.connections,
          .write_buffer_bytes = limits.write_buffer_bytes,
          .idle_timeout = seconds(limits.idle_timeout),
          .header_timeout = seconds(limits.header_timeout),
          .body_timeout = seconds(limits.body_timeout),
          .write_timeout = seconds(limits.write_timeout),
          .keep_alive_interval = seconds(config.keep_alive_seconds)};
}

// Without the port.
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) return std::string(host.substr(0, host.find(']') + 1));
  return std::string(host.substr(0, host.find(':')));
}

bool is_loopback_name(const std::string& name) {
  return name == "localhost" || name.starts_with("127.") || name == "[::1]" || name == "::1";
}

bool good_request_id(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

// What is no JSON is left to the parser.
bool nested_deeper(std::string_view json, int64_t most) {
  int64_t depth = 0;
  bool in_text = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_text) {
      if (c == '\\') ++i;
      if (c == '"') in_text = false;
    } else if (c == '"') {
      in_text = true;
    } else if (c == '[' || c == '{') {
      if (++depth > most) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Json parse_body(const std::string& text, const Limits& limits) {
  if (nested_deeper(text, limits.json_depth)) {
    throw HttpError::limit(
        400, "json_depth",
        fmt::format("the body is nested deeper than {} levels", limits.json_depth));
  }
  const JsonLimits json_limits{.max_bytes = static_cast<size_t>(limits.body_bytes),
                               .max_depth = static_cast<int>(limits.json_depth)};
  Json body = parse_json(text, "the body", json_limits);
  if (!body.is_object()) throw HttpError(400, "the body is no JSON object");
  return body;
}

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double open_fds() {
  std::error_code failure;
  double count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", failure), end; it != end;
       it.increment(failure)) {
    if (failure) break;
    ++count;
  }
  return count;
}

}  // namespace

App::App(ServerConfig config)
    : config_(std::move(config)), keys_(ApiKeys::load(config_.api_key_file, config_.api_keys)) {
  for (const ModelSource& source : config_.models) {
    auto model = std::make_unique<Model>();
    model->source = source;
    model->created = std::time(nullptr);
    if (!config_.llm.lora_merge) {
      for (const LoraSource& adapter : config_.llm.lora) model->lora.push_back(adapter.name);
    }
    models_.push_back(std::move(model));
  }
  id_prefix_ = fmt::format("{:08x}", std::random_device{}());
  http_ = std::make_unique<HttpServer>(http_options(config_), *this);
  workers_ = std::make_unique<WorkerPool>(kWorkers);
}

App::~App() {
  workers_.reset();
  // Engines before what their callbacks use.
  for (const auto& model : models_) model->llm.reset();
  generations_.clear();
}

const char* App::state() const { return draining_ ? "draining" : ready_ ? "ready" : "loading"; }

ServedModel App::model(const std::string& name) const {
  for (const auto& model : models_) {
    const bool is_adapter = std::ranges::find(model->lora, name) != model->lora.end();
    if (!name.empty() && model->source.name != name && !is_adapter) continue;
    if (!model->ready) {
      throw HttpError(503, fmt::format("model '{}' is loading", model->source.name), "model",
                      "model_loading")
          .retry_after(2);
    }
    return {.model = *model,
            .name = is_adapter ? name : model->source.name,
            .lora = is_adapter ? name : std::string()};
  }
  throw HttpError(404,
                  fmt::format("there is no model '{}' here; there is: {}", name,
                              fmt::join(model_names(), ", ")),
                  "model", "model_not_found");
}

std::vector<std::string> App::model_names() const {
  std::vector<std::string> names;
  for (const auto& model : models_) {
    names.push_back(model->source.name);
    names.insert(names.end(), model->lora.begin(), model->lora.end());
  }
  return names;
}

ServedModel App::model_of(const Json& body) const {
  const auto found = body.find("model");
  if (found == body.end() || found->is_null()) return model("");
  if (!found->is_string() || found->get_ref<const std::string&>().empty()) {
    throw HttpError(400, "'model' is no name", "model");
  }
  return model(found->get_ref<const std::string&>());
}

void App::add(const std::shared_ptr<Generation>& generation) {
  const std::lock_guard lock(generations_mutex_);
  generations_.insert(generation);
  if (std::exchange(ticking_, true)) return;
  http_->after(kTick, [this] { tick_generations(); });
}

// While there are any: an idle server sleeps.
void App::tick_generations() {
  std::set<std::shared_ptr<Generation>> all;
  {
    const std::lock_guard lock(generations_mutex_);
    all = generations_;
    ticking_ = !all.empty();
  }
  if (all.empty()) return;
  const auto now = std::chrono::steady_clock::now();
  for (const auto& generation : all) generation->tick(now);
  http_->after(kTick, [this] { tick_generations(); });
}

void App::remove(const Generation* generation) {
  std::shared_ptr<Generation> last;  // destroyed outside the lock
  const std::lock_guard lock(generations_mutex_);
  const auto found = std::find_if(generations_.begin(), generations_.end(),
                                  [&](const auto& other) { return other.get() == generation; });
  if (found == generations_.end()) return;
  last = *found;
  generations_.erase(found);
}

int App::active_generations() const {
  const std::lock_guard lock(generations_mutex_);
  return static_cast<int>(generations_.size());
}

void App::cancel_generations() {
  std::set<std::shared_ptr<Generation>> all;
  {
    const std::lock_guard lock(generations_mutex_);
    all = generations_;
  }
  for (const auto& generation : all) generation->stop();
}

HttpResponse App::error_response(const std::exception_ptr& thrown) {
  const HttpError error = to_http_error(thrown);
  if (!error.limit_name().empty()) {
    metrics_.count("lanner_limit_rejections_total", label("limit", error.limit_name()));
  }
  if (error.code() == kFormCode) metrics_.count("lanner_structured_output_refusals_total");
  return error.response();
}

std::string App::new_request_id(const HttpRequest& request) {
  const std::string* given = request.header("x-request-id");
  if (given != nullptr && good_request_id(*given)) return *given;
  return fmt::format("req-{}-{}", id_prefix_, next_id_++);
}

HttpHeaders App::common_headers(const HttpExchange& exchange) {
  HttpHeaders headers = {
      {"X-Request-Id", exchange.id}, {"X-Content-Type-Options", "nosniff"}, {"Server", "lanner"}};
  const HttpRequest& request = exchange.request();
  if (const std::string* origin = request.header("origin");
      origin != nullptr && !config_.cors_origins.empty() && origin_allowed(request)) {
    headers.emplace_back("Access-Control-Allow-Origin", *origin);
    headers.emplace_back("Vary", "Origin");
    headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id");
  }
  return headers;
}

// Names that a browser may have been tricked into resolving to this machine are not ours.
void App::check_host(const HttpRequest& request) const {
  const std::string* host = request.header("host");
  if (host == nullptr) {
    if (request.http10) return;
    throw HttpError(400, "the Host header is missing");
  }
  const std::string name = host_name(*host);
  const auto& allowed = config_.allowed_hosts;
  if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) return;
  const bool loopback = is_loopback_name(config_.host);
  if (!loopback && allowed.empty()) return;
  if (is_loopback_name(name)) return;
  throw HttpError(421,
                  fmt::format("'{}' is no name of this server (--allowed-host adds one)", name));
}

bool App::origin_allowed(const HttpRequest& request) const {
  const std::string* origin = request.header("origin");
  if (origin == nullptr) return true;
  for (const std::string& allowed : config_.cors_origins) {
    if (allowed == "*" || allowed == *origin) return true;
  }
  const std::string* host = request.header("host");
  const size_t scheme = origin->find("://");
  return host != nullptr && scheme != std::string::npos && origin->substr(scheme + 3) == *host;
}

std::string App::client_of(const HttpRequest& request) const {
  if (keys_.empty()) return request.peer;
  const std::string* authorization = request.header("authorization");
  const auto key = authorization == nullptr ? std::nullopt : ApiKeys::from_header(*authorization);
  return key ? keys_.check(*key).value_or("") : "";
}

// Throws HttpError for what is to be refused before its body is read.
void App::check_header(const HttpRequest& request, HttpExchange& exchange) const {
  if (static_cast<int64_t>(request.headers.size()) > limits().header_count) {
    throw HttpError::limit(431, "header_count",
                           fmt::format("more than {} headers", limits().header_count));
  }
  check_host(request);
  if (!origin_allowed(request)) {
    throw HttpError(403, "requests from other origins are not allowed (--cors-origin adds one)");
  }
  const RouteMatch match = find_route(request.method, request.path);
  if (match.route != nullptr) exchange.route = match.route->path;
  const bool is_public = match.route != nullptr && match.route->access == Access::kPublic;
  if (!is_public && !keys_.empty() && client_of(request).empty()) {
    throw HttpError(401, "a valid API key is needed: Authorization: Bearer KEY", {},
                    "invalid_api_key");
  }
  if (match.allowed.empty()) throw HttpError(404, fmt::format("there is no {} here", request.path));
  if (match.route == nullptr) {
    throw HttpError(405, fmt::format("{} allows {}", request.path, match.allowed));
  }
  if (const std::string* encoding = request.header("content-encoding");
      encoding != nullptr && *encoding != "identity") {
    throw HttpError(415, fmt::format("Content-Encoding '{}' is not supported", *encoding));
  }
  if (match.route->request_schema == nullptr) return;
  const std::string* type = request.header("content-type");
  if (type == nullptr || !type->starts_with("application/json")) {
    throw HttpError(415, "the body must be JSON: Content-Type: application/json");
  }
}

std::optional<HttpResponse> App::on_header(const HttpRequest& request, HttpExchange& exchange) {
  const std::string* origin = request.header("origin");
  if (request.method == "OPTIONS" && origin != nullptr && !config_.cors_origins.empty() &&
      origin_allowed(request)) {
    // A browser asks before it sends what it has a key for.
    return HttpResponse{
        .status = 204,
        .content_type = "",
        .headers = {{"Access-Control-Allow-Methods", "GET, POST"},
                    {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id"},
                    {"Access-Control-Max-Age", "600"}}};
  }
  try {
    check_header(request, exchange);
  } catch (...) {
    HttpResponse response = error_response(std::current_exception());
    if (response.status == 405) {
      response.headers.emplace_back("Allow", find_route(request.method, request.path).allowed);
    }
    // The page's visitor is a person with a browser: let it ask for the key.
    if (response.status == 401 && exchange.route == "/") {
      response.headers = {
          {"WWW-Authenticate", "Basic realm=\"Lanner: any name, API key as password\""}};
    }
    return response;
  }
  return std::nullopt;
}

void App::on_request(const std::shared_ptr<HttpExchange>& exchange) {
  const HttpRequest& request = exchange->request();
  const RouteMatch match = find_route(request.method, request.path);
  auto call = std::make_shared<Call>(
      Call{*this, exchange, *match.route, match.argument, client_of(request)});
  auto handle = [call] {
    try {
      if (call->route.request_schema != nullptr) {
        call->body = parse_body(call->exchange->request().body, call->app.limits());
      }
      call->route.handle(call);
    } catch (...) {
      call->exchange->respond(call->app.error_response(std::current_exception()));
    }
  };
  if (match.route->runs == Runs::kOnIo) return handle();
  if (draining_) {
    return exchange->respond(error_response(
        std::make_exception_ptr(HttpError(503, "the server is stopping").retry_after(5))));
  }
  workers_->run(handle);
}

HttpResponse App::on_bad_request(int status, std::string_view limit, const std::string& what) {
  if (!limit.empty()) {
    return error_response(
        std::make_exception_ptr(HttpError::limit(status, std::string(limit).c_str(), what)));
  }
  return error_response(std::make_exception_ptr(HttpError(status, what)));
}

void App::on_done(const HttpExchange& exchange, const HttpOutcome& outcome) {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - exchange.begin;
  const std::string route = exchange.route.empty() ? "none" : exchange.route;
  // As proxies do: nobody was there to take the answer.
  const int status = outcome.client_gone && outcome.status == 0 ? 499 : outcome.status;
  metrics_.count("lanner_http_requests_total",
                 label("route", route) + "," + label("status", std::to_string(status)));
  metrics_.observe("lanner_http_request_seconds", seconds.count(), label("route", route));
  if (outcome.slow_reader) metrics_.count("lanner_slow_readers_total");
  if (config_.access_log) log_access(exchange, outcome, seconds.count());
}

void App::on_closed_by(std::string_view limit) {
  metrics_.count("lanner_limit_rejections_total", label("limit", std::string(limit)));
}

void App::log_access(const HttpExchange& exchange, const HttpOutcome& outcome,
                     double seconds) const {
  const HttpRequest& request = exchange.request();
  const auto now = std::chrono::system_clock::now();
  const std::time_t time = std::chrono::system_clock::to_time_t(now);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&time, &utc);
  char stamp[32];
  std::strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
  std::string line = fmt::format(
      R"({{"time":"{}.{:03}Z","id":{},"peer":{},"method":{},"path":{},"status":{},"ms":{:.1f},"bytes":{})",
      stamp, ms, json_text(exchange.id), json_text(request.peer), json_text(request.method),
      json_text(request.path), outcome.status, seconds * 1e3, outcome.bytes);
  if (outcome.client_gone) line += R"(,"client_gone":true)";
  if (outcome.slow_reader) line += R"(,"slow_reader":true)";
  line += exchange.log_fields;
  if (config_.log_prompts && !request.body.empty()) line += ",\"body\":" + json_text(request.body);
  config_.access_log(line + "}");
}

std::string App::metrics_text() {
  for (const auto& model : models_) {
    const std::string labels = label("model", model->source.name);
    metrics_.set("lanner_model_ready", labels, model->ready ? 1 : 0);
    if (!model->ready) continue;
    metrics_.set("lanner_requests_running", labels, model->admission->running());
    metrics_.set("lanner_requests_waiting", labels, model->admission->waiting());
    const LlmStats stats = model->llm->stats();
    metrics_.set("lanner_model_load_seconds", labels, stats.load_seconds);
    metrics_.set("lanner_weight_bytes", labels, static_cast<double>(stats.weight_bytes));
    metrics_.set("lanner_kv_cache_bytes", labels, static_cast<double>(stats.kv_cache_bytes));
    metrics_.set("lanner_prefill_tokens_total", labels, static_cast<double>(stats.prefill_tokens));
    metrics_.set("lanner_prefill_seconds_total", labels, stats.prefill_seconds);
    metrics_.set("lanner_decode_tokens_total", labels, static_cast<double>(stats.decode_tokens));
    metrics_.set("lanner_decode_seconds_total", labels, stats.decode_seconds);
    const std::pair<const char*, double> more[] = {
        {"lanner_kv_blocks_total", static_cast<double>(stats.kv_blocks)},
        {"lanner_kv_blocks_used", static_cast<double>(stats.used_kv_blocks)},
        {"lanner_prefix_cache_lookups_total", static_cast<double>(stats.prompt_lookup_tokens)},
        {"lanner_prefix_cache_hits_total", static_cast<double>(stats.prompt_hit_tokens)},
        {"lanner_prefix_cache_evictions_total", static_cast<double>(stats.cache_evictions)},
        {"lanner_draft_tokens_proposed_total", static_cast<double>(stats.draft_tokens)},
        {"lanner_draft_tokens_accepted_total", static_cast<double>(stats.accepted_tokens)},
        {"lanner_draft_seconds_total", stats.draft_seconds},
        {"lanner_preemptions_total", static_cast<double>(stats.preemptions)},
    };
    for (const auto& [name, value] : more) metrics_.set(name, labels, value);
  }
  metrics_.set("lanner_http_connections", {}, static_cast<double>(http_->connections()));
  metrics_.set("lanner_http_write_buffer_bytes", {},
               static_cast<double>(http_->write_buffer_bytes()));
  metrics_.set("lanner_process_resident_bytes", {}, resident_bytes());
  metrics_.set("lanner_process_cpu_seconds_total", {}, cpu_seconds());
  metrics_.set("lanner_process_open_fds", {}, open_fds());
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - start_;
  metrics_.set("lanner_uptime_seconds", {}, uptime.count());
  return metrics_.text();
}

void Call::respond(const Json& json, int status) const {
  exchange->respond({.status = status, .body = json_text(json)});
}

}  // namespace lanner::server
