// SPDX-License-Identifier: Apache-2.0
#include "cli/serve.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <ostream>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"
#include "cli/event_fd.h"
#include "cli/failure.h"
#include "cli/load_progress.h"
#include "cli/service_notify.h"
#include "server/server.h"

namespace lanner::cli {
namespace {

// SIGINT and SIGTERM as something to poll. They are blocked in this thread and in all that it
// starts from here on.
class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd_ < 0) throw_error(ErrorCode::kIo, "signalfd: {}", std::strerror(errno));
    std::signal(SIGPIPE, SIG_IGN);  // a log reader that has gone is no reason to end
  }
  ~Signals() {
    ::close(fd_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // False: `end` was notified.
  bool wait(const EventFd& end) const {
    pollfd fds[2] = {{.fd = fd_, .events = POLLIN, .revents = 0},
                     {.fd = end.fd(), .events = POLLIN, .revents = 0}};
    while (::poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    if (fds[1].revents != 0) return false;
    signalfd_siginfo info{};
    return ::read(fd_, &info, sizeof info) == sizeof info;
  }

 private:
  int fd_ = -1;
  sigset_t before_{};
};

// Lines for the access log, whole ones.
class AccessLog {
 public:
  explicit AccessLog(const std::string& where) {
    if (where == "off") return;
    if (where == "stderr" || where == "stdout") {
      fd_ = where == "stderr" ? STDERR_FILENO : STDOUT_FILENO;
      return;
    }
    fd_ = ::open(where.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd_ < 0) throw_error(ErrorCode::kIo, "access log {}: {}", where, std::strerror(errno));
    owned_ = true;
  }
  ~AccessLog() {
    if (owned_) ::close(fd_);
  }
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  bool enabled() const { return fd_ >= 0; }
  void write(std::string_view line) const {
    const std::string text = std::string(line) + "\n";
    // A log that takes nothing costs its lines, not the server.
    [[maybe_unused]] const auto written = ::write(fd_, text.data(), text.size());
  }

 private:
  int fd_ = -1;
  bool owned_ = false;
};

// "Llama-3.2-1B" of "~/models/Llama-3.2-1B/" and of "Llama-3.2-1B.gguf".
std::string name_of(const std::string& path) {
  std::filesystem::path file(path);
  if (file.filename().empty()) file = file.parent_path();
  return file.extension() == ".gguf" ? file.stem().string() : file.filename().string();
}

std::vector<server::ModelSource> model_sources(const ServeOptions& options,
                                               const Context& context) {
  std::vector<server::ModelSource> sources;
  if (options.path || options.models.empty()) {
    const std::string path = resolve_model(options.path, context);
    sources.push_back({name_of(path), path});
  }
  for (const std::string& given : options.models) {
    const size_t equals = given.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == given.size()) {
      throw usage_failure(fmt::format("--model {}: expected NAME=PATH", given));
    }
    sources.push_back({given.substr(0, equals), given.substr(equals + 1)});
  }
  return sources;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace

int serve_command(const ServeOptions& options, Context& context) {
  const Environment environment = read_environment();
  const AccessLog access_log(options.access_log);
  std::mutex mutex;
  const auto say = [&](const std::string& text) {
    const std::lock_guard lock(mutex);
    context.err << text << std::endl;
  };

  server::ServerConfig config;
  config.host = options.host;
  config.port = options.port;
  config.models = model_sources(options, context);
  config.llm = to_config(options.model, context);
  config.llm.max_sequences = options.max_sequences;
  config.llm.restart_ranks = options.restart_ranks;
  if (config.models.size() > 1 && (!config.llm.hosts.empty() || !config.llm.rendezvous.empty())) {
    throw usage_failure("several models cannot be served by ranks of several machines");
  }
  config.tls_certificate = options.tls_certificate;
  config.tls_key = options.tls_key;
  config.api_key_file = options.api_key_file;
  config.api_keys = environment.api_keys;
  config.cors_origins = options.cors_origins;
  config.allowed_hosts = options.allowed_hosts;
  for (const std::string& limit : options.limits) server::set_limit(config.limits, limit);
  config.grace_seconds = options.grace;
  config.keep_alive_seconds = options.keep_alive;
  config.log_prompts = options.log_prompts;
  config.version = context.backend.version;
  if (access_log.enabled()) {
    config.access_log = [&](std::string_view line) { access_log.write(line); };
  }
  const std::string& manager = environment.notify_socket;
  config.on_ready = [&] {
    say("ready");
    notify_service_manager(manager, "READY=1\nSTATUS=serving");
  };
  config.on_drain = [&] {
    notify_service_manager(manager, "STOPPING=1\nSTATUS=finishing requests");
  };
  if (!manager.empty()) config.on_alive = [&] { notify_service_manager(manager, "WATCHDOG=1"); };

  const bool keys = !options.api_key_file.empty() || !environment.api_keys.empty();
  const Signals signals;  // before any other thread
  server::Server server(std::move(config), [&](const std::string& path, const LlmConfig& llm_config,
                                               const ProgressCallback&) {
    return load_model(context, path, llm_config);
  });
  const std::string scheme = options.tls_certificate.empty() ? "http" : "https";
  const std::string shown =
      options.host.find(':') == std::string::npos ? options.host : "[" + options.host + "]";
  say(fmt::format("listening on {}://{}:{} (chat page at /, API at /v1)", scheme, shown,
                  server.port()));
  if (!keys && !is_loopback(options.host)) {
    say("warning: anybody who reaches this address may use it; --api-key-file or LANNER_API_KEYS "
        "asks for keys");
  }

  const EventFd end;
  std::thread watcher([&] {
    if (!signals.wait(end)) return;
    say("finishing the requests under way; once more ends at once");
    server.drain();
    if (!signals.wait(end)) return;
    say("ended");
    std::signal(SIGTERM, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    std::raise(SIGTERM);
  });
  const auto stop_watcher = [&] {
    end.notify();
    watcher.join();
  };
  try {
    server.run();
  } catch (...) {
    stop_watcher();
    throw;
  }
  stop_watcher();
  return kExitOk;
}

}  // namespace lanner::cli
