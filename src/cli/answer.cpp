// SPDX-License-Identifier: Apache-2.0
#include "cli/answer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <ostream>

#include <fmt/format.h>
#include <poll.h>

#include "base/error.h"
#include "cli/event_fd.h"
#include "cli/interrupt.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct News {
  RequestOutput output;
  Clock::time_point time;
};

// From the engine's thread to ours. Shared with the callback, which may outlive an exception here.
class Mailbox {
 public:
  void put(const RequestOutput& output) {
    {
      const std::lock_guard lock(mutex_);
      news_.push_back({output, Clock::now()});
    }
    event_.notify();
  }
  std::vector<News> take() {
    event_.take();
    const std::lock_guard lock(mutex_);
    return std::exchange(news_, {});
  }
  int fd() const { return event_.fd(); }

 private:
  EventFd event_;
  std::mutex mutex_;
  std::vector<News> news_;
};

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Waits until one of them is readable; fds of -1 are left out.
std::array<bool, 2> wait_for(int first, int second) {
  std::array<pollfd, 2> waits = {pollfd{first, POLLIN, 0}, pollfd{second, POLLIN, 0}};
  while (::poll(waits.data(), waits.size(), -1) < 0) {
    if (errno != EINTR) throw_error(ErrorCode::kIo, "poll: {}", std::strerror(errno));
  }
  return {waits[0].revents != 0, waits[1].revents != 0};
}

void add_further(Answer& answer, const RequestOutput& output) {
  const auto index = static_cast<size_t>(output.index);
  if (answer.further.size() < index) answer.further.resize(index);
  Completion& further = answer.further[index - 1];
  further.text += output.text;
  further.token_ids.insert(further.token_ids.end(), output.token_ids.begin(),
                           output.token_ids.end());
  further.logprobs.insert(further.logprobs.end(), output.logprobs.begin(), output.logprobs.end());
  further.finish_reason = output.finish_reason;
}

}  // namespace

Answer stream_answer(LLM& llm, const Request& request, InterruptGuard& interrupts,
                     const std::function<void(std::string_view text)>& on_text) {
  const auto mailbox = std::make_shared<Mailbox>();
  const Clock::time_point start = Clock::now();
  const RequestId id =
      llm.submit(request, [mailbox](const RequestOutput& output) { mailbox->put(output); });

  Answer answer;
  bool ended = false;
  std::exception_ptr failure;
  Clock::time_point first_token{};
  Clock::time_point last_token{};
  while (!ended) {
    const auto [has_news, has_interrupt] =
        wait_for(mailbox->fd(), answer.interrupted ? -1 : interrupts.fd());
    if (has_interrupt) {
      answer.interrupted = true;
      llm.abort(id);
    }
    if (!has_news) continue;
    for (News& news : mailbox->take()) {
      RequestOutput& output = news.output;
      ended = output.is_last;
      if (output.index > 0) {
        add_further(answer, output);
        continue;
      }
      if (!output.token_ids.empty()) {
        if (answer.token_ids.empty()) first_token = news.time;
        last_token = news.time;
      }
      answer.token_ids.insert(answer.token_ids.end(), output.token_ids.begin(),
                              output.token_ids.end());
      answer.text += output.text;
      answer.logprobs.insert(answer.logprobs.end(), output.logprobs.begin(), output.logprobs.end());
      answer.prompt_tokens = output.prompt_tokens;
      answer.truncated_tokens = output.truncated_tokens;
      answer.cached_tokens = output.cached_tokens;
      answer.output_tokens = output.output_tokens;
      answer.finish_reason = output.finish_reason;
      answer.error = std::move(output.error);
      if (output.text.empty() || failure) continue;
      try {
        on_text(output.text);
      } catch (...) {
        failure = std::current_exception();
        llm.abort(id);
      }
    }
  }
  // Only now: a second Ctrl-C before the request has ended finds the first one and ends the
  // program.
  if (answer.interrupted) interrupts.take();
  if (failure) std::rethrow_exception(failure);
  if (!answer.token_ids.empty()) {
    answer.ttft_seconds = seconds(first_token - start);
    const auto further = static_cast<double>(answer.token_ids.size() - 1);
    if (further > 0) answer.tpot_seconds = seconds(last_token - first_token) / further;
  }
  return answer;
}

void print_stats(std::ostream& out, const Answer& answer, const LlmStats& stats) {
  const auto row = [&](std::string_view name, const std::string& value) {
    out << fmt::format("  {:<15}{}\n", name, value);
  };
  const auto rate = [](int64_t tokens, double duration) {
    const double per_second = duration > 0 ? static_cast<double>(tokens) / duration : 0;
    return fmt::format("{:.1f} tok/s ({} tokens in {})", per_second, tokens,
                       format_seconds(duration));
  };
  row("load", format_seconds(stats.load_seconds));
  row("prompt tokens", fmt::format("{}", answer.prompt_tokens));
  if (answer.cached_tokens > 0) row("  of them cached", fmt::format("{}", answer.cached_tokens));
  if (answer.truncated_tokens > 0) row("left out", fmt::format("{}", answer.truncated_tokens));
  row("output tokens", fmt::format("{}", answer.output_tokens));
  row("TTFT", format_seconds(answer.ttft_seconds));
  row("TPOT", format_seconds(answer.tpot_seconds));
  row("prefill", rate(stats.prefill_tokens, stats.prefill_seconds));
  row("decode", rate(stats.decode_tokens, stats.decode_seconds));
  if (stats.draft_tokens > 0) {
    row("speculation",
        fmt::format("{} of {} tokens right", stats.accepted_tokens, stats.draft_tokens));
  }
  if (stats.ranks > 1) {
    const auto per_token = [&](int64_t bytes) {
      const auto tokens = std::max<int64_t>(stats.computed_tokens, 1);
      return static_cast<double>(bytes) / static_cast<double>(tokens);
    };
    row("ranks", fmt::format("{} ({})", stats.ranks, stats.communicator));
    row("sent per token",
        fmt::format("{:.0f} B of sums ({:.0f} B copied), {:.0f} B of logits, {:.0f} B of steps",
                    per_token(stats.reduced_bytes), per_token(stats.copied_bytes),
                    per_token(stats.gathered_bytes), per_token(stats.broadcast_bytes)));
  }
  row("weights", format_bytes(stats.weight_bytes));
  row("KV cache", format_bytes(stats.kv_cache_bytes));
  row("peak memory", format_bytes(stats.peak_memory_bytes));
}

std::string terminal_text(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
    // U+0080 to U+009F, which some terminals obey too.
    const bool c1 = byte == 0xC2 && i + 1 < text.size() &&
                    static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) <= 0x9F;
    if (c1) ++i;
    if (c0 || c1) {
      safe += "\xEF\xBF\xBD";
    } else {
      safe += text[i];
    }
  }
  return safe;
}

}  // namespace lanner::cli
