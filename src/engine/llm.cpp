// SPDX-License-Identifier: Apache-2.0
#include "lanner/llm.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/chat_plan.h"
#include "engine/chat_stream.h"
#include "engine/embedding.h"
#include "engine/engine_keeper.h"
#include "engine/model_text.h"
#include "engine/report.h"
#include "engine/request_stream.h"
#include "models/registry.h"
#include "text/grammar.h"
#include "text/tokenizer.h"
#include "weights/model_files.h"
#include "weights/safetensors.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// Collects the outputs of several requests for a caller that waits.
class Collector {
 public:
  // first[i]: where the answers of request i begin; the last entry is their number.
  explicit Collector(std::vector<size_t> first)
      : first_(std::move(first)), completions_(first_.back()), left_(first_.size() - 1) {}

  void add(size_t request, const RequestOutput& output) {
    const std::lock_guard lock(mutex_);
    Completion& completion = completions_[first_[request] + static_cast<size_t>(output.index)];
    completion.text += output.text;
    append(completion.token_ids, output.token_ids);
    append(completion.logprobs, output.logprobs);
    append(completion.prompt_logprobs, output.prompt_logprobs);
    completion.prompt_tokens = output.prompt_tokens;
    completion.truncated_tokens = output.truncated_tokens;
    completion.cached_tokens = output.cached_tokens;
    completion.finish_reason = output.finish_reason;
    if (output.finish_reason == FinishReason::kError && error_.empty()) error_ = output.error;
    if (output.is_last && --left_ == 0) done_.notify_all();
  }

  std::vector<Completion> wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
    if (!error_.empty()) throw Error(ErrorCode::kInternal, error_);
    return std::move(completions_);
  }

 private:
  template <typename T>
  static void append(std::vector<T>& to, const std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<size_t> first_;
  std::vector<Completion> completions_;
  size_t left_;
  std::string error_;
};

LoadedText load_text(const ModelFiles& files) {
  if (files.folder.empty()) return LoadedText::none(files.path);
  return files.is_gguf ? LoadedText::of_gguf(files.gguf_tokenizer, files.path)
                       : LoadedText::of_folder(files.folder, files.path);
}

// Models pad their vocabularies to different sizes: what counts is the tokenizer's tokens.
void check_same_vocabulary(const ModelFiles& model, const Tokenizer* tokenizer,
                           const ModelFiles& draft) {
  const LoadedText draft_text = load_text(draft);
  const auto size_of = [](const ModelFiles& files) {
    return read_model_info(files.config).vocab_size;
  };
  if (tokenizer == nullptr || draft_text.tokenizer() == nullptr) {
    check_argument(size_of(model) == size_of(draft),
                   "draft_model {}: its vocabulary has {} tokens, that of {} has {}", draft.path,
                   size_of(draft), model.path, size_of(model));
    return;
  }
  const Tokenizer& other = *draft_text.tokenizer();
  for (int id = 0; id < std::max(tokenizer->vocab_size(), other.vocab_size()); ++id) {
    const std::optional<std::string> expected = tokenizer->token(id);
    const std::optional<std::string> actual = other.token(id);
    check_argument(expected == actual,
                   "draft_model {}: its token {} is '{}', that of {} is '{}'; both models need the "
                   "same vocabulary",
                   draft.path, id, actual.value_or(""), model.path, expected.value_or(""));
  }
}

class LlmImpl final : public LLM {
 public:
  LlmImpl(const std::string& path, const LlmConfig& config, const ProgressCallback& progress)
      : start_(Clock::now()),
        files_(open_model(path, config)),
        draft_(open_draft_model(config)),
        text_(load_text(files_)) {
    if (draft_) check_same_vocabulary(files_, text_.tokenizer(), *draft_);
    keeper_ = std::make_unique<EngineKeeper>(files_, config, progress, draft_ ? &*draft_ : nullptr);
    load_seconds_ = std::chrono::duration<double>(Clock::now() - start_).count();
    remember(keeper_->engine()->runner());
  }

  RequestId submit(const Request& request, OutputCallback on_output) override {
    return submit(request, {}, std::nullopt, std::move(on_output));
  }

  void abort(RequestId id) override {
    if (const auto engine = keeper_->find()) engine->abort(id);
  }

  std::vector<Completion> generate(const std::vector<Request>& requests) override {
    if (requests.empty()) return {};
    std::vector<size_t> first = {0};
    for (const Request& request : requests) {
      request.sampling.validate();
      first.push_back(first.back() + static_cast<size_t>(request.sampling.n));
    }
    const auto collector = std::make_shared<Collector>(std::move(first));
    check_argument(!is_engine_thread(), "a callback cannot wait for another request: submit() it");
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
    const ChatPlan plan = plan_chat(text_, chat);
    plan.request.sampling.validate();
    const auto stream = std::make_shared<ChatStream>(plan, std::move(on_output));
    return submit(plan.request, plan.shown_tokens, plan.form_after,
                  [stream](const RequestOutput& step) { stream->push(step); });
  }

  std::vector<ChatCompletion> chat(const ChatRequest& chat) override {
    check_argument(!is_engine_thread(), "a callback cannot wait for a chat: submit_chat() it");
    chat.sampling.validate();
    struct Wait {
      std::vector<ChatCompletion> answers;
      std::promise<std::string> error;
      std::string first_error;
    };
    const auto wait = std::make_shared<Wait>();
    wait->answers.resize(static_cast<size_t>(chat.sampling.n));
    for (ChatCompletion& answer : wait->answers) answer.message.role = "assistant";
    submit_chat(chat, [wait](const ChatOutput& output) {
      append(output, wait->answers[static_cast<size_t>(output.step.index)]);
      if (wait->first_error.empty()) wait->first_error = output.step.error;
      if (output.step.is_last) wait->error.set_value(wait->first_error);
    });
    const std::string error = wait->error.get_future().get();
    if (!error.empty()) throw Error(ErrorCode::kInternal, error);
    return std::move(wait->answers);
  }

  RequestId submit_embedding(const EmbeddingRequest& request,
                             EmbeddingCallback on_output) override {
    const RequestId id = next_id_++;
    EmbeddingOutput output{.id = id};
    std::vector<int32_t> prompt = prompt_tokens(request.input, /*has_special_tokens=*/false);
    output.embedding.truncated_tokens =
        request.truncate ? std::max(static_cast<int>(prompt.size()) - max_context(), 0) : 0;
    prompt.resize(prompt.size() - static_cast<size_t>(output.embedding.truncated_tokens));
    output.embedding.prompt_tokens = static_cast<int>(prompt.size());
    keeper_->engine()->submit(id,
                              {.prompt = std::move(prompt),
                               .priority = request.priority,
                               .cache_salt = request.cache_salt,
                               .adapter = adapter_index(request.lora),
                               .pooling = request.pooling},
                              [output = std::move(output), normalized = request.normalized,
                               on_output = std::move(on_output)](const TokenOutput& news) mutable {
                                take_embedding(news, normalized, output);
                                on_output(output);
                                return true;
                              });
    return id;
  }

  std::vector<TextEmbedding> embed(const std::vector<EmbeddingRequest>& requests) override {
    if (requests.empty()) return {};
    check_argument(!is_engine_thread(),
                   "a callback cannot wait for embeddings: submit_embedding() them");
    const auto collector = std::make_shared<EmbeddingCollector>(requests.size());
    std::vector<RequestId> submitted;
    try {
      for (size_t i = 0; i < requests.size(); ++i) {
        submitted.push_back(submit_embedding(
            requests[i],
            [collector, i](const EmbeddingOutput& output) { collector->add(i, output); }));
      }
    } catch (...) {
      for (RequestId id : submitted) abort(id);
      throw;
    }
    return collector->wait();
  }

  std::vector<int32_t> tokenize(const std::string& text, bool with_special) const override {
    return text_.tokenize(text, with_special);
  }
  std::string detokenize(const std::vector<int32_t>& ids, bool skip_special) const override {
    return text_.detokenize(ids, skip_special);
  }
  std::string render(const ChatRequest& chat) const override { return text_.render(chat); }
  bool has_chat_template() const override { return text_.has_chat_template(); }

  void write_logits(const std::vector<int32_t>& tokens, const std::string& path,
                    const std::string& lora) override {
    const int adapter = adapter_index(lora);
    const int64_t vocab_size = info_.vocab_size;
    keeper_->engine()->call([&](ModelRunner& runner) {
      SafetensorsWriter writer(
          path, {{"logits", DType::kF32, Shape{static_cast<int64_t>(tokens.size()), vocab_size}}});
      runner.logits(
          tokens, /*chunk_tokens=*/0, [&](const Tensor& rows) { writer.append(rows); }, adapter);
      writer.finish();
    });
  }

  void logits(const std::vector<int32_t>& tokens, const LogitsCallback& on_rows,
              const std::string& lora) override {
    const int adapter = adapter_index(lora);
    keeper_->engine()->call([&](ModelRunner& runner) {
      int64_t first = 0;
      const auto hand_over = [&](const Tensor& rows) {
        const auto values = static_cast<size_t>(rows.num_rows() * rows.size(-1));
        on_rows(first, {rows.row<float>(0), values});
        first += rows.num_rows();
      };
      runner.logits(tokens, /*chunk_tokens=*/0, hand_over, adapter);
    });
  }

  std::vector<std::string> lora_adapters() const override {
    std::vector<std::string> names;
    for (const LoraAdapter& adapter : files_.lora) names.push_back(adapter.name);
    return names;
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
  int embedding_size() const override { return static_cast<int>(info_.hidden_size); }
  int max_context() const override { return memory_.max_context; }

  LlmStats stats() const override {
    const EngineStats steps = keeper_->stats();
    const auto bytes = [](uint64_t count) { return static_cast<int64_t>(count); };
    return {.load_seconds = load_seconds_,
            .peak_memory_bytes = peak_memory(),
            .weight_bytes = weight_bytes_,
            .kv_cache_bytes = memory_.kv_bytes,
            .prefill_tokens = steps.prefill_tokens,
            .prefill_seconds = steps.prefill_seconds,
            .decode_tokens = steps.decode_tokens,
            .decode_seconds = steps.decode_seconds,
            .steps = steps.steps,
            .step_seconds = steps.step_seconds,
            .forward_seconds = steps.forward_seconds,
            .draft_tokens = steps.draft_tokens,
            .accepted_tokens = steps.accepted_tokens,
            .draft_seconds = steps.draft_seconds,
            .preemptions = steps.preemptions,
            .prompt_lookup_tokens = steps.prompt_lookup_tokens,
            .prompt_hit_tokens = steps.prompt_hit_tokens,
            .cache_evictions = steps.cache_evictions,
            .running_sequences = steps.running_sequences,
            .waiting_sequences = steps.waiting_sequences,
            .used_kv_blocks = steps.used_blocks,
            .kv_blocks = steps.num_blocks,
            .ranks = steps.ranks,
            .communicator = communicator_,
            .rank_restarts = keeper_->restarts(),
            .computed_tokens = steps.computed_tokens,
            .reduced_bytes = bytes(steps.ranks_sent.sum_bytes),
            .copied_bytes = bytes(steps.ranks_sent.sum_bytes_copied),
            .gathered_bytes = bytes(steps.ranks_sent.gathered_bytes),
            .broadcast_bytes = bytes(steps.ranks_sent.broadcast_bytes)};
  }

  std::string report() const override { return report_; }

 private:
  bool is_engine_thread() const {
    const auto engine = keeper_->find();
    return engine != nullptr && engine->is_engine_thread();
  }

  // What is asked for also while there is no engine. The next one has the same model and settings.
  void remember(const ModelRunner& runner) {
    info_ = runner.info();
    memory_ = runner.plan().memory;
    weight_bytes_ = runner.model().weights().bytes;
    communicator_ = runner.communicator().backend();
    Json report = describe_machine(runner.topology(), runner.thread_plan());
    report["model"] = describe_model(files_, runner.plan());
    report["model"]["loaded"] = describe_loaded(runner);
    report["model"]["ranks"] = runner.num_ranks();
    report_ = report.dump(2);
  }

  // shown_tokens: special tokens that are text in the answer. form_after: the token after which the
  // form of the answer begins, if not at its start.
  RequestId submit(const Request& request, const std::vector<int32_t>& shown_tokens,
                   std::optional<int32_t> form_after, OutputCallback on_output) {
    const RequestId id = next_id_++;
    const int adapter = adapter_index(request.lora);
    std::vector<int32_t> prompt = prompt_tokens(request.prompt, request.prompt_has_special_tokens);
    const int truncated = request.truncate_prompt ? truncate(prompt, request.sampling) : 0;
    SamplingParams sampling = request.sampling;
    sampling.validate();
    if (!sampling.stop.empty()) text_.required_tokenizer();  // stop strings need text
    add_bad_words(sampling);
    std::unique_ptr<TokenConstraint> constraint;
    if (sampling.structured.enabled()) {
      check_argument(!sampling.ignore_eos && sampling.min_tokens == 0,
                     "[sampling] structured ends an answer where its form is complete; ignore_eos "
                     "and min_tokens cannot be combined with it");
      constraint = grammar_compiler().compile(sampling.structured, form_after);
    }
    const auto stream = std::make_shared<RequestStream>(id, text_.tokenizer(), sampling,
                                                        static_cast<int>(prompt.size()), truncated,
                                                        shown_tokens, std::move(on_output));
    keeper_->engine()->submit(id,
                              {.prompt = std::move(prompt),
                               .sampling = std::move(sampling),
                               .priority = request.priority,
                               .cache_salt = request.cache_salt,
                               .adapter = adapter,
                               .constraint = std::move(constraint)},
                              [stream](const TokenOutput& news) { return stream->push(news); });
    return id;
  }

  int adapter_index(const std::string& name) const {
    if (name.empty()) return -1;
    const auto found = std::ranges::find(files_.lora, name, &LoraAdapter::name);
    check_argument(
        found != files_.lora.end(),
        "lora '{}' is none of the adapters that the model was loaded with: {}", name,
        files_.lora.empty() ? "there are none" : fmt::to_string(fmt::join(lora_adapters(), ", ")));
    return static_cast<int>(found - files_.lora.begin());
  }

  // Made when the first form asks for it: it takes a fraction of a second.
  const GrammarCompiler& grammar_compiler() {
    const std::lock_guard lock(grammar_mutex_);
    if (grammar_compiler_ == nullptr) {
      const ModelInfo& info = info_;
      std::vector<int32_t> eos = info.eos_token_ids;
      eos.insert(eos.end(), files_.generation.eos_token_ids.begin(),
                 files_.generation.eos_token_ids.end());
      grammar_compiler_ =
          std::make_unique<GrammarCompiler>(text_.required_tokenizer(), info.vocab_size, eos);
    }
    return *grammar_compiler_;
  }

  std::vector<int32_t> prompt_tokens(const std::variant<std::string, std::vector<int32_t>>& prompt,
                                     bool has_special_tokens) const {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) return *ids;
    const std::string& text = std::get<std::string>(prompt);
    return has_special_tokens ? text_.required_tokenizer().encode(text, /*add_special=*/false,
                                                                  SpecialInText::kRecognise)
                              : text_.required_tokenizer().encode(text, /*add_special=*/true);
  }

  // Texts as token ids, at the start of a word and inside one: the tokenizer may spell them
  // differently.
  void add_bad_words(SamplingParams& sampling) const {
    for (const std::string& word : sampling.bad_words) {
      for (const std::string& text : {word, " " + word}) {
        std::vector<int32_t> ids = text_.required_tokenizer().encode(text, /*add_special=*/false,
                                                                     SpecialInText::kRecognise);
        const auto same = std::ranges::find(sampling.bad_word_ids, ids);
        if (!ids.empty() && same == sampling.bad_word_ids.end()) {
          sampling.bad_word_ids.push_back(std::move(ids));
        }
      }
    }
    sampling.bad_words.clear();
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
  std::optional<ModelFiles> draft_;
  LoadedText text_;
  ModelInfo info_;
  MemoryPlan memory_;
  int64_t weight_bytes_ = 0;
  std::string communicator_;
  std::string report_;
  double load_seconds_ = 0;
  std::atomic<RequestId> next_id_{1};
  std::mutex grammar_mutex_;
  std::unique_ptr<GrammarCompiler> grammar_compiler_;
  std::unique_ptr<EngineKeeper> keeper_;  // last: its threads use the others
};

}  // namespace

std::unique_ptr<LLM> LLM::load(const std::string& path, const LlmConfig& config,
                               const ProgressCallback& progress) {
  return std::make_unique<LlmImpl>(path, config, progress);
}

}  // namespace lanner
