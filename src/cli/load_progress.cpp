// SPDX-License-Identifier: Apache-2.0
#include "cli/load_progress.h"

#include <algorithm>
#include <ostream>

#include <fmt/format.h>

#include "cli/text.h"

namespace lanner::cli {
namespace {

// No bar at all for what takes less: a line that flashes up helps nobody.
constexpr auto kFirstDraw = std::chrono::milliseconds(200);
constexpr auto kDrawInterval = std::chrono::milliseconds(100);
constexpr int kBarWidth = 30;

}  // namespace

LoadProgress::LoadProgress(std::ostream& terminal, const char* verb)
    : terminal_(terminal), verb_(verb), next_draw_(std::chrono::steady_clock::now() + kFirstDraw) {}

LoadProgress::~LoadProgress() {
  if (drawn_) terminal_ << "\r\033[K" << std::flush;
}

void LoadProgress::update(const char* stage, int64_t done, int64_t total) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + kDrawInterval;
  drawn_ = true;
  if (total <= 0 && done <= 0) {
    terminal_ << fmt::format("\r\033[Kwaiting for {}", stage) << std::flush;
    return;
  }
  if (total <= 0) {
    terminal_ << fmt::format("\r\033[K{} {}: {}", verb_, stage, format_bytes(done)) << std::flush;
    return;
  }
  const double part = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  const int full = static_cast<int>(part * kBarWidth);
  terminal_ << fmt::format("\r\033[K{} {} [{:#<{}}{:{}}] {:3.0f} %  {} of {}", verb_, stage, "",
                           full, "", kBarWidth - full, part * 100, format_bytes(done),
                           format_bytes(total))
            << std::flush;
}

std::unique_ptr<LLM> load_model(Context& context, const std::string& path,
                                const LlmConfig& config) {
  if (!context.err_is_terminal) return context.backend.load(path, config, {});
  LoadProgress bar(context.err, "loading");
  return context.backend.load(path, config, [&](const char* stage, int64_t done, int64_t total) {
    bar.update(stage, done, total);
  });
}

}  // namespace lanner::cli
