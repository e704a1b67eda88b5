// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.h"

#include <atomic>
#include <csignal>

#include "base/error.h"
#include "cli/event_fd.h"

namespace lanner::cli {
namespace {

// A signal handler has no arguments to find its object by: the one guard alive.
std::atomic<const EventFd*> g_event{nullptr};
std::atomic<bool> g_pending{false};
static_assert(std::atomic<const EventFd*>::is_always_lock_free);

void on_interrupt(int) {
  if (g_pending.exchange(true)) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
    return;
  }
  if (const EventFd* event = g_event.load()) event->notify();
}

}  // namespace

struct InterruptGuard::Impl {
  EventFd event;
  struct sigaction before{};
};

InterruptGuard::InterruptGuard() : impl_(std::make_unique<Impl>()) {
  LANNER_CHECK(g_event.load() == nullptr);
  g_pending = false;
  g_event = &impl_->event;
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // the waiting is done by poll on fd(), which never restarts
  sigaction(SIGINT, &action, &impl_->before);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &impl_->before, nullptr);
  g_event = nullptr;
}

int InterruptGuard::fd() const { return impl_->event.fd(); }

bool InterruptGuard::take() {
  if (!impl_->event.take()) return false;
  g_pending = false;
  return true;
}

}  // namespace lanner::cli
