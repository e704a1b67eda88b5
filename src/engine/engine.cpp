// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <future>
#include <utility>

#include "base/error.h"
#include "engine/engine_loop.h"

namespace lanner {
namespace {

[[noreturn]] void throw_stopping() {
  throw_error(ErrorCode::kCancelled, "the engine is being destroyed");
}

void check_token(int32_t token, int64_t vocab_size, const char* what) {
  check_argument(token >= 0 && token < vocab_size, "{} {} is outside the vocabulary of {} tokens",
                 what, token, vocab_size);
}

void check_tokens(const EngineRequest& request, int64_t vocab_size) {
  const SamplingParams& sampling = request.sampling;
  for (int32_t token : request.prompt) check_token(token, vocab_size, "token id");
  for (int32_t token : sampling.stop_token_ids) check_token(token, vocab_size, "stop token id");
  for (const LogitBias& entry : sampling.logit_bias) {
    check_token(entry.token_id, vocab_size, "logit_bias token id");
  }
  for (const auto& word : sampling.bad_word_ids) {
    for (int32_t token : word) check_token(token, vocab_size, "bad_word_ids token id");
  }
}

void check_beams(const EngineRequest& request, int64_t vocab_size) {
  const SamplingParams& sampling = request.sampling;
  if (sampling.beam_width == 0) return;
  check_argument(sampling.stop.empty(),
                 "[sampling] stop strings cannot end beams; use stop_token_ids with beam_width");
  if (request.constraint != nullptr) {
    throw_error(ErrorCode::kUnsupported,
                "[sampling] structured output and beam_width cannot be combined");
  }
  check_argument(2 * int64_t{sampling.beam_width} <= vocab_size,
                 "[sampling] beam_width is {}, the vocabulary has only {} tokens",
                 sampling.beam_width, vocab_size);
}

}  // namespace

Engine::Engine(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress,
               const ModelFiles* draft, std::function<void()> on_lost)
    : loop_(std::make_unique<EngineLoop>(files, config, progress, draft, std::move(on_lost))) {}

Engine::~Engine() = default;

void Engine::submit(RequestId id, EngineRequest request, TokenCallback on_output) {
  if (const std::string lost = failure(); !lost.empty()) throw Error(ErrorCode::kCancelled, lost);
  request.sampling.validate();
  check_argument(!request.prompt.empty(), "the prompt has no tokens");
  const int64_t vocab_size = runner().info().vocab_size;
  check_tokens(request, vocab_size);
  check_beams(request, vocab_size);
  find_prefix(runner().info(), request.prompt);
  const int context = loop_->max_context();
  if (request.pooling) {
    check_argument(std::ssize(request.prompt) <= context,
                   "the text has {} tokens; the context holds {}", request.prompt.size(), context);
    LANNER_CHECK(request.constraint == nullptr);
  }
  check_argument(request.pooling || std::ssize(request.prompt) < context,
                 "the prompt has {} tokens; the context holds {} and an answer needs at least one",
                 request.prompt.size(), context);
  loop_->check(request);
  // Shared, as a std::function must be copyable.
  const auto shared = std::make_shared<EngineRequest>(std::move(request));
  const bool posted =
      loop_->post([loop = loop_.get(), id, shared, on_output = std::move(on_output)]() mutable {
        loop->start(id, std::move(*shared), std::move(on_output));
      });
  if (!posted) throw_stopping();
}

void Engine::abort(RequestId id) {
  loop_->post([loop = loop_.get(), id] { loop->abort(id); });
}

void Engine::call(const std::function<void(ModelRunner&)>& task) {
  if (is_engine_thread()) return task(loop_->runner());
  // Shared: the waiting thread may be through before set_value() is.
  const auto done = std::make_shared<std::promise<void>>();
  const bool posted = loop_->post([&task, done, loop = loop_.get()] {
    try {
      task(loop->runner());
      done->set_value();
    } catch (...) {
      done->set_exception(std::current_exception());
    }
  });
  if (!posted) throw_stopping();
  done->get_future().get();
}

bool Engine::is_engine_thread() const { return loop_->is_own_thread(); }

const ModelRunner& Engine::runner() const { return loop_->runner(); }

std::string Engine::failure() const { return loop_->failure(); }

EngineStats Engine::stats() const { return loop_->stats(); }

}  // namespace lanner
