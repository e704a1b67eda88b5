// SPDX-License-Identifier: Apache-2.0
#include "server/generation.h"

#include <algorithm>

#include <fmt/format.h>

#include "server/sse.h"
#include "server/status.h"

namespace lanner::server {
namespace {

constexpr const char* kKeepAlive = ": keep-alive\n\n";

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

std::string Formatter::error(const HttpError& error) { return sse_data(error.body()); }

Generation::Generation(std::shared_ptr<Call> call, GenerationPlan plan)
    : call_(std::move(call)), plan_(std::move(plan)), app_(call_->app) {
  const size_t answers = plan_.prompts.size() * static_cast<size_t>(plan_.answers_per_prompt);
  last_token_.resize(answers);
  usage_.resize(answers);
}

void Generation::start(const std::shared_ptr<Call>& call, GenerationPlan plan) {
  Admission& admission = *plan.model->admission;
  const int asked = plan.slots_per_prompt * static_cast<int>(plan.prompts.size());
  const int slots = plan.may_wait ? std::min(asked, admission.slots()) : asked;
  if (slots > admission.slots()) {
    throw HttpError(400, fmt::format("this asks for {} sequences at once; the server runs {}",
                                     slots, admission.slots()));
  }
  const auto self = std::make_shared<Generation>(call, std::move(plan));
  self->app_.add(self);
  try {
    // The ticket is known under the lock, so that whoever is granted at once has it.
    const std::lock_guard lock(self->mutex_);
    self->ticket_ = admission.enter(slots, call->client, [weak = std::weak_ptr(self)] {
      if (const auto granted = weak.lock()) {
        granted->app_.workers().run([granted] { granted->granted(); });
      }
    });
  } catch (...) {
    self->app_.remove(self.get());
    throw;
  }
  call->exchange->on_gone([self] { self->cancel(); });
}

void Generation::granted() {
  app_.metrics().observe("lanner_queue_seconds", seconds_since(queued_));
  {
    const std::lock_guard lock(mutex_);
    granted_at_ = Clock::now();
  }
  submit();
}

void Generation::tick(Clock::time_point now) {
  Admission::Ticket ticket = 0;
  std::optional<Clock::time_point> granted_at;
  {
    const std::lock_guard lock(mutex_);
    ticket = ticket_;
    granted_at = granted_at_;
  }
  if (!granted_at) {
    const auto wait = std::chrono::seconds(app_.limits().queue_timeout);
    if (now - queued_ < wait || !plan_.model->admission->leave_queue(ticket)) return;
    fail(HttpError::limit(503, "queue_timeout",
                          fmt::format("the model was busy for {} s", wait.count())));
    return release();
  }
  // A long prompt: the client hears that it is under way.
  const auto silence = std::chrono::seconds(app_.config().keep_alive_seconds);
  if (!plan_.stream || answered_ || now - *granted_at < silence) return;
  begin_stream();
  call_->exchange->write(kKeepAlive);
}

void Generation::submit() {
  std::exception_ptr failure;
  for (size_t i = 0; i < plan_.prompts.size() && !failure; ++i) {
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) break;
      ++submitted_;
    }
    try {
      const RequestId id = plan_.prompts[i](
          *plan_.model->llm,
          [self = shared_from_this(), i](const News& news) { self->receive(i, news); });
      const std::lock_guard lock(mutex_);
      ids_.push_back(id);
    } catch (...) {
      failure = std::current_exception();
      const std::lock_guard lock(mutex_);
      --submitted_;
    }
  }
  if (failure) {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  bool all_ended = false;
  std::vector<RequestId> to_abort;
  {
    const std::lock_guard lock(mutex_);
    all_submitted_ = true;
    all_ended = ended_ == submitted_;
    if (cancelled_) to_abort = ids_;
  }
  for (const RequestId id : to_abort) plan_.model->llm->abort(id);
  if (failure) {
    app_.http().post([self = shared_from_this(), failure] { self->fail(failure); });
  }
  if (!all_ended) return;
  // The engine was quicker than this thread: the last news had nobody to see that it was the last.
  app_.http().post([self = shared_from_this()] {
    self->complete();
    self->release();
  });
}

// On the engine's thread: takes the news along, and one wake-up of the I/O thread for all of it.
void Generation::receive(size_t prompt, const News& news) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.emplace_back(prompt, news);
    if (inbox_posted_) return;
    inbox_posted_ = true;
  }
  app_.http().post([self = shared_from_this()] { self->drain_inbox(); });
}

void Generation::drain_inbox() {
  std::vector<std::pair<size_t, News>> inbox;
  {
    const std::lock_guard lock(mutex_);
    inbox.swap(inbox_);
    inbox_posted_ = false;
  }
  for (const auto& [prompt, news] : inbox) handle(prompt, news);
}

void Generation::handle(size_t prompt, const News& news) {
  const int answer = static_cast<int>(prompt) * plan_.answers_per_prompt + news.step.index;
  measure(answer, news);
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    cancelled = cancelled_;
  }
  if (!cancelled) {
    if (news.step.finish_reason == FinishReason::kError) {
      // What the ranks have lost can be asked for again once they are back.
      const bool is_lost = news.step.error.starts_with("[distributed]");
      HttpError error(is_lost ? 503 : 500, news.step.error, {}, "generation_failed");
      if (is_lost) error.retry_after(1);
      fail(error);
    } else if (news.step.finish_reason == FinishReason::kAborted) {
      fail(HttpError(503, "the server is stopping").retry_after(1));
    } else {
      if (plan_.stream && !answered_) begin_stream();
      const std::string bytes = plan_.formatter->on_news(answer, news);
      if (!bytes.empty()) call_->exchange->write(bytes);
    }
  }
  if (news.step.is_last) end_prompt();
}

void Generation::measure(int answer, const News& news) {
  const auto now = Clock::now();
  const auto index = static_cast<size_t>(answer);
  Metrics& metrics = app_.metrics();
  if (!news.step.token_ids.empty()) {
    if (!first_token_) {
      first_token_ = true;
      const double ttft = seconds_since(call_->exchange->begin);
      metrics.observe("lanner_time_to_first_token_seconds", ttft);
      call_->exchange->log_fields += fmt::format(",\"ttft_ms\":{:.1f}", ttft * 1e3);
    }
    if (last_token_[index] != Clock::time_point()) {
      const std::chrono::duration<double> gap = now - last_token_[index];
      metrics.observe("lanner_inter_token_seconds",
                      gap.count() / static_cast<double>(news.step.token_ids.size()));
    }
    last_token_[index] = now;
    metrics.count("lanner_generated_tokens_total", {},
                  static_cast<double>(news.step.token_ids.size()));
  }
  usage_[index] = {news.step.prompt_tokens, news.step.output_tokens, news.step.cached_tokens};
  if (news.step.finished()) {
    metrics.count("lanner_finished_total",
                  label("reason", finish_reason_text(news.step.finish_reason)));
    if (plan_.formatter->has_tokens()) {
      metrics.observe("lanner_output_tokens", news.step.output_tokens);
    }
  }
}

void Generation::begin_stream() {
  if (answered_) return;
  answered_ = streaming_ = true;
  call_->exchange->start_stream(
      {.content_type = "text/event-stream; charset=utf-8",
       .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}},
      kKeepAlive);
  const std::string bytes = plan_.formatter->begin();
  if (!bytes.empty()) call_->exchange->write(bytes);
}

void Generation::end_prompt() {
  bool all_ended = false;
  {
    const std::lock_guard lock(mutex_);
    ++ended_;
    all_ended = all_submitted_ && ended_ == submitted_;
  }
  if (!all_ended) return;
  complete();
  release();
}

// Every prompt has its last news.
void Generation::complete() {
  Usage usage;
  for (size_t i = 0; i < usage_.size(); ++i) {
    usage.output_tokens += usage_[i].output_tokens;
    if (i % static_cast<size_t>(plan_.answers_per_prompt) != 0) continue;
    usage.prompt_tokens += usage_[i].prompt_tokens;
    usage.cached_tokens += usage_[i].cached_tokens;
  }
  app_.metrics().count("lanner_prompt_tokens_total", {}, usage.prompt_tokens);
  app_.metrics().count("lanner_cached_tokens_total", {}, usage.cached_tokens);
  call_->exchange->log_fields +=
      fmt::format(",\"prompt_tokens\":{},\"cached_tokens\":{},\"output_tokens\":{}",
                  usage.prompt_tokens, usage.cached_tokens, usage.output_tokens);
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return;
  }
  if (plan_.stream) {
    call_->exchange->write(plan_.formatter->end(usage));
    call_->exchange->finish();
  } else {
    call_->respond(plan_.formatter->result(usage));
  }
}

void Generation::fail(const std::exception_ptr& thrown) { fail(to_http_error(thrown)); }

// On the I/O thread: the client gets the error, what still runs is ended.
void Generation::fail(const HttpError& error) {
  if (streaming_) {
    call_->exchange->write(plan_.formatter->error(error));
    call_->exchange->finish();
  } else if (!answered_) {
    answered_ = true;
    call_->exchange->respond(app_.error_response(std::make_exception_ptr(error)));
  }
  abort_prompts();
}

bool Generation::abort_prompts() {
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return false;
    cancelled_ = true;
    ids = ids_;
  }
  for (const RequestId id : ids) plan_.model->llm->abort(id);
  if (plan_.model->admission->leave_queue(ticket_)) release();
  return true;
}

void Generation::cancel() {
  if (abort_prompts()) app_.metrics().count("lanner_client_disconnects_total");
}

void Generation::stop() {
  if (abort_prompts()) fail(HttpError(503, "the server is stopping").retry_after(1));
}

void Generation::release() {
  {
    const std::lock_guard lock(mutex_);
    if (released_) return;
    released_ = true;
  }
  plan_.model->admission->leave(ticket_);
  app_.remove(this);
}

}  // namespace lanner::server
