// SPDX-License-Identifier: Apache-2.0
#include "lanner/llm.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/engine.h"
#include "engine/model_text.h"
#include "engine/report.h"
#include "text/stop_string_matcher.h"
#include "text/tokenizer.h"
#include "weights/model_files.h"
#include "weights/safetensors.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// Text of one request: tokens in, whole characters up to a stop string out. Lives in the callback
// that the engine holds, so it is used by the engine's thread alone.
class TextStream {
 public:
  TextStream(RequestId id, const Tokenizer* tokenizer, const SamplingParams& sampling,
             int prompt_tokens, int truncated_tokens, OutputCallback on_output)
      : id_(id),
        prompt_tokens_(prompt_tokens),
        truncated_tokens_(truncated_tokens),
        stop_(sampling.stop),
        on_output_(std::move(on_output)) {
    if (tokenizer != nullptr) decoder_.emplace(*tokenizer, /*skip_special=*/true);
  }

  // False: a stop string has ended the request.
  bool push(const TokenOutput& news) {
    RequestOutput output;
    output.id = id_;
    output.token_ids = news.token_ids;
    output.finish_reason = news.finish_reason;
    output.error = news.error;
    output.prompt_tokens = prompt_tokens_;
    output.truncated_tokens = truncated_tokens_;
    output.output_tokens = news.output_tokens;
    std::string text;
    // Not after an error: it may have been the decoder's own.
    if (decoder_ && news.finish_reason != FinishReason::kError) {
      for (int32_t token : news.token_ids) text += decoder_->push(token);
      if (output.finished()) text += decoder_->flush();
    }
    auto [certain, stopped] = stop_.push(text);
    output.text = std::move(certain);
    if (!stopped && output.finished()) output.text += stop_.flush();
    if (stopped) output.finish_reason = FinishReason::kStop;
    output.is_last = output.finished();
    on_output_(output);
    return !stopped;
  }

 private:
  RequestId id_;
  int prompt_tokens_;
  int truncated_tokens_;
  std::optional<StreamDecoder> decoder_;
  StopStringMatcher stop_;
  OutputCallback on_output_;
};

// Collects the outputs of several requests for a caller that waits.
class Collector {
 public:
  explicit Collector(size_t count) : completions_(count), left_(count) {}

  void add(size_t index, const RequestOutput& output) {
    const std::lock_guard lock(mutex_);
    Completion& completion = completions_[index];
    completion.text += output.text;
    completion.token_ids.insert(completion.token_ids.end(), output.token_ids.begin(),
                                output.token_ids.end());
    completion.prompt_tokens = output.prompt_tokens;
    completion.truncated_tokens = output.truncated_tokens;
    completion.cached_tokens = output.cached_tokens;
    completion.finish_reason = output.finish_reason;
    if (!output.is_last) return;
    if (output.finish_reason == FinishReason::kError && error_.empty()) error_ = output.error;
    if (--left_ == 0) done_.notify_all();
  }

  std::vector<Completion> wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
    if (!error_.empty()) throw Error(ErrorCode::kInternal, error_);
    return std::move(completions_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<Completion> completions_;
  size_t left_;
  std::string error_;
};

class LlmImpl final : public LLM {
 public:
  LlmImpl(const std::string& path, const LlmConfig& config, const ProgressCallback& progress)
      : start_(Clock::now()), files_(open_model(path, config)), text_(load_text(files_)) {
    engine_ = std::make_unique<Engine>(files_, config, progress);
    load_seconds_ = std::chrono::duration<double>(Clock::now() - start_).count();
  }

  RequestId submit(const Request& request, OutputCallback on_output) override {
    if (request.sampling.structured.enabled()) {
      throw_error(ErrorCode::kUnsupported,
                  "[sampling] structured: not supported by this version of Lanner");
    }
    const RequestId id = next_id_++;
    std::vector<int32_t> prompt = prompt_tokens(request);
    const int truncated = request.truncate_prompt ? truncate(prompt, request.sampling) : 0;
    if (!request.sampling.stop.empty()) text_.required_tokenizer();  // stop strings need text
    auto stream = std::make_shared<TextStream>(id, text_.tokenizer(), request.sampling,
                                               static_cast<int>(prompt.size()), truncated,
                                               std::move(on_output));
    engine_->submit(id, std::move(prompt), request.sampling, request.priority,
                    [stream](const TokenOutput& news) { return stream->push(news); });
    return id;
  }

  void abort(RequestId id) override { engine_->abort(id); }

  std::vector<Completion> generate(const std::vector<Request>& requests) override {
    const auto collector = std::make_shared<Collector>(requests.size());
    if (requests.empty()) return {};
    check_argument(!engine_->is_engine_thread(),
                   "a callback cannot wait for another request: submit() it");
    std::vector<RequestId> submitted;
    try {
      for (size_t i = 0; i < requests.size(); ++i) {
        submitted.push_back(submit(requests[i], [collector, i](const RequestOutput& output) {
          collector->add(i, output);
        }));
      }
    } catch (...) {
      for (RequestId id : submitted) abort(id);
      throw;
    }
    return collector->wait();
  }

  RequestId submit_chat(const ChatRequest& chat, ChatCallback on_output) override {
    return submit(chat_request(chat),
                  [on_output = std::move(on_output)](const RequestOutput& step) {
                    on_output({.step = step, .content = step.text});
                  });
  }

  std::vector<ChatCompletion> chat(const ChatRequest& chat) override {
    std::vector<ChatCompletion> answers;
    for (Completion& completion : generate({chat_request(chat)})) {
      ChatMessage message{.role = "assistant", .content = completion.text};
      answers.push_back({std::move(message), std::move(completion)});
    }
    return answers;
  }

  std::vector<int32_t> tokenize(const std::string& text, bool with_special) const override {
    return text_.tokenize(text, with_special);
  }
  std::string detokenize(const std::vector<int32_t>& ids, bool skip_special) const override {
    return text_.detokenize(ids, skip_special);
  }
  std::string render(const ChatRequest& chat) const override { return text_.render(chat); }
  bool has_chat_template() const override { return text_.has_chat_template(); }

  void write_logits(const std::vector<int32_t>& tokens, const std::string& path) override {
    const int64_t vocab_size = engine_->runner().info().vocab_size;
    engine_->call([&](ModelRunner& runner) {
      SafetensorsWriter writer(
          path, {{"logits", DType::kF32, Shape{static_cast<int64_t>(tokens.size()), vocab_size}}});
      runner.logits(tokens, /*chunk_tokens=*/0, [&](const Tensor& rows) { writer.append(rows); });
      writer.finish();
    });
  }

  void logits(const std::vector<int32_t>& tokens, const LogitsCallback& on_rows) override {
    engine_->call([&](ModelRunner& runner) {
      int64_t first = 0;
      runner.logits(tokens, /*chunk_tokens=*/0, [&](const Tensor& rows) {
        const auto values = static_cast<size_t>(rows.num_rows() * rows.size(-1));
        on_rows(first, {rows.row<float>(0), values});
        first += rows.num_rows();
      });
    });
  }

  SamplingParams default_sampling_params() const override {
    const GenerationConfig& given = files_.generation;
    SamplingParams params;
    params.repetition_penalty = given.repetition_penalty.value_or(1.0);
    if (!given.do_sample.value_or(given.temperature.has_value())) return params;
    params.temperature = given.temperature.value_or(1.0);
    params.top_k = given.top_k.value_or(0);
    params.top_p = given.top_p.value_or(1.0);
    params.min_p = given.min_p.value_or(0.0);
    return params;
  }
  int max_context() const override { return engine_->runner().plan().memory.max_context; }

  LlmStats stats() const override {
    const EngineStats steps = engine_->stats();
    return {.load_seconds = load_seconds_,
            .peak_memory_bytes = peak_memory(),
            .weight_bytes = engine_->runner().model().weights().bytes,
            .kv_cache_bytes = engine_->runner().plan().memory.kv_bytes,
            .prefill_tokens = steps.prefill_tokens,
            .prefill_seconds = steps.prefill_seconds,
            .decode_tokens = steps.decode_tokens,
            .decode_seconds = steps.decode_seconds};
  }

  std::string report() const override {
    const ModelRunner& runner = engine_->runner();
    Json report = describe_machine(runner.topology(), runner.thread_plan());
    report["model"] = describe_model(files_, runner.plan());
    report["model"]["loaded"] = describe_loaded(runner);
    return report.dump(2);
  }

 private:
  static LoadedText load_text(const ModelFiles& files) {
    if (files.folder.empty()) return LoadedText::none(files.path);
    return files.is_gguf ? LoadedText::of_gguf(files.gguf_tokenizer, files.path)
                         : LoadedText::of_folder(files.folder, files.path);
  }

  Request chat_request(const ChatRequest& chat) const {
    return {.prompt = render(chat),
            .sampling = chat.sampling,
            .prompt_has_special_tokens = true,
            .truncate_prompt = chat.truncate_prompt,
            .priority = chat.priority,
            .cache_salt = chat.cache_salt};
  }

  std::vector<int32_t> prompt_tokens(const Request& request) const {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt)) return *ids;
    const std::string& text = std::get<std::string>(request.prompt);
    return request.prompt_has_special_tokens
               ? text_.required_tokenizer().encode(text, /*add_special=*/false,
                                                   SpecialInText::kRecognise)
               : text_.required_tokenizer().encode(text, /*add_special=*/true);
  }

  // Request::truncate_prompt; returns the tokens left out.
  int truncate(std::vector<int32_t>& prompt, const SamplingParams& sampling) const {
    const int context = max_context();
    const int answer =
        std::clamp(sampling.max_tokens.value_or(context / 4), 1, std::max(context / 2, 1));
    const int64_t excess = static_cast<int64_t>(prompt.size()) - (context - answer);
    if (excess <= 0) return 0;
    prompt.erase(prompt.begin(), prompt.begin() + excess);
    return checked_cast<int>(excess, "number of truncated tokens");
  }

  Clock::time_point start_;
  ModelFiles files_;
  LoadedText text_;
  double load_seconds_ = 0;
  std::atomic<RequestId> next_id_{1};
  std::unique_ptr<Engine> engine_;  // last: its thread uses the others
};

}  // namespace

std::unique_ptr<LLM> LLM::load(const std::string& path, const LlmConfig& config,
                               const ProgressCallback& progress) {
  return std::make_unique<LlmImpl>(path, config, progress);
}

}  // namespace lanner
