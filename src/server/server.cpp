// SPDX-License-Identifier: Apache-2.0
#include "server/server.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "server/app.h"

namespace lanner::server {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kDrainPoll{50};
constexpr std::chrono::seconds kLastBytes{3};   // for answers that are being written
constexpr std::chrono::seconds kAfterGrace{5};  // for answers to those that were ended

ServerConfig checked(ServerConfig config) {
  check_argument(!config.models.empty(), "no model to serve");
  std::set<std::string> names;
  for (const ModelSource& source : config.models) {
    check_argument(!source.name.empty() && source.name.size() <= 256,
                   "a model name has 1 to 256 characters: '{}'", source.name);
    check_argument(names.insert(source.name).second, "two models are named '{}'", source.name);
  }
  check_argument(config.llm.lora.empty() || config.models.size() == 1,
                 "adapters are of one model; {} are to be served", config.models.size());
  for (const LoraSource& adapter : config.llm.lora) {
    check_argument(!adapter.name.empty() && adapter.name.size() <= 256,
                   "an adapter's name has 1 to 256 characters: '{}'", adapter.name);
    check_argument(names.insert(adapter.name).second,
                   "an adapter is named '{}', like the model or another adapter", adapter.name);
  }
  check_argument(config.tls_certificate.empty() == config.tls_key.empty(),
                 "TLS needs both a certificate and a key");
  return config;
}

}  // namespace

struct Server::Impl {
  Impl(ServerConfig config, LoadFunction given_load)
      : app(checked(std::move(config))), load(std::move(given_load)) {}

  void load_models();
  void watch_drain();
  void tick();

  App app;
  LoadFunction load;
  std::thread loader;
  std::exception_ptr failure;
  std::atomic<bool> loaded{false};
  Clock::time_point drain_begin;
  Clock::time_point last_active;
  bool drain_started = false;
  bool ended_all = false;
};

void Server::Impl::load_models() {
  try {
    for (const auto& model : app.models()) {
      auto llm = load(model->source.path, app.config().llm, {});
      model->admission = std::make_unique<Admission>(app.config().llm.max_sequences, app.limits());
      model->llm = std::move(llm);
      model->ready = true;
      log_info("model '{}' is ready", model->source.name);
      if (app.draining()) break;
    }
  } catch (...) {
    failure = std::current_exception();
    loaded = true;
    app.http().stop();
    return;
  }
  loaded = true;
  app.set_ready();
  if (app.config().on_ready) app.config().on_ready();
}

// On the I/O thread, while requests finish.
void Server::Impl::watch_drain() {
  const auto grace = std::chrono::seconds(app.config().grace_seconds);
  const auto now = Clock::now();
  if (app.active_generations() > 0) {
    last_active = now;
  } else if (app.http().connections() == 0 || now - last_active > kLastBytes) {
    return app.http().stop();
  }
  if (now - drain_begin > grace && !ended_all) {
    ended_all = true;
    log_warn("{} requests did not finish in {} s and are ended", app.active_generations(),
             grace.count());
  }
  if (ended_all) app.cancel_generations();
  if (now - drain_begin > grace + kAfterGrace) return app.http().stop();
  app.http().after(kDrainPoll, [this] { watch_drain(); });
}

void Server::Impl::tick() {
  app.config().on_alive();
  app.http().after(std::chrono::seconds(1), [this] { tick(); });
}

Server::Server(ServerConfig config, LoadFunction load)
    : impl_(std::make_unique<Impl>(std::move(config), std::move(load))) {}

Server::~Server() {
  if (impl_->loader.joinable()) impl_->loader.join();
}

int Server::port() const { return impl_->app.http().port(); }

void Server::run() {
  impl_->loader = std::thread([this] { impl_->load_models(); });
  if (impl_->app.config().on_alive) impl_->app.http().post([this] { impl_->tick(); });
  impl_->app.http().run();
  impl_->loader.join();
  if (impl_->failure) std::rethrow_exception(impl_->failure);
}

void Server::drain() {
  impl_->app.begin_drain();
  impl_->app.http().post([this] {
    if (std::exchange(impl_->drain_started, true)) return;
    if (impl_->app.config().on_drain) impl_->app.config().on_drain();
    impl_->drain_begin = impl_->last_active = Clock::now();
    impl_->app.http().close_when_idle();
    impl_->watch_drain();
  });
}

void Server::stop() { impl_->app.http().stop(); }

}  // namespace lanner::server
