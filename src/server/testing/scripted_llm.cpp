// SPDX-License-Identifier: Apache-2.0
#include "server/testing/scripted_llm.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"

namespace lanner::server {
namespace {

constexpr int32_t kFirstByte = 3;
constexpr int kEmbeddingSize = 8;

std::string answer_to(const std::string& prompt) {
  std::string text = prompt;
  if (text.ends_with("<assistant>")) text.resize(text.size() - std::string("<assistant>").size());
  while (text.ends_with('\n')) text.pop_back();
  const size_t line = text.find_last_of("\n>");
  text = line == std::string::npos ? text : text.substr(line + 1);
  // Backwards by whole characters.
  std::string out;
  for (size_t end = text.size(); end > 0;) {
    size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    out += text.substr(begin, end - begin);
    end = begin;
  }
  return out + " ";
}

class ScriptedLlm final : public LLM {
 public:
  explicit ScriptedLlm(const ScriptedModel& model) : model_(model) {
    thread_ = std::thread([this] { loop(); });
  }
  ~ScriptedLlm() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  RequestId submit(const Request& request, OutputCallback on_output) override {
    const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt);
    const std::string prompt =
        ids != nullptr ? detokenize(*ids, true) : std::get<std::string>(request.prompt);
    const int tokens = static_cast<int>(ids != nullptr ? ids->size() : prompt.size());
    check_argument(tokens > 0, "the prompt is empty");
    check_argument(tokens < model_.max_context, "the prompt has {} tokens, the context {}", tokens,
                   model_.max_context);
    if (prompt.find("THROW") != std::string::npos)
      throw_error(ErrorCode::kInternal, "asked to throw");
    Running running;
    running.prompt_tokens = tokens;
    running.text = answer_to(prompt);
    if (!request.lora.empty()) running.text = "[" + request.lora + "] " + running.text;
    running.max_tokens = request.sampling.max_tokens.value_or(64);
    running.fails = prompt.find("FAIL") != std::string::npos;
    running.not_before = std::chrono::steady_clock::now();
    if (prompt.find("SLOW") != std::string::npos) running.not_before += std::chrono::seconds(2);
    running.on_output = std::move(on_output);
    running.left = std::make_shared<int>(request.sampling.n);
    running.top = request.sampling.logprobs;
    const std::lock_guard lock(mutex_);
    running.id = next_id_++;
    for (running.index = 0; running.index < request.sampling.n; ++running.index) {
      waiting_.push_back(running);
    }
    wake_.notify_all();
    return next_id_ - 1;
  }
  RequestId submit_chat(const ChatRequest& chat, ChatCallback on_output) override {
    const Request request{.prompt = render(chat), .sampling = chat.sampling, .lora = chat.lora};
    const bool calls = chat.tool_choice.kind == ToolChoice::Kind::kRequired ||
                       chat.tool_choice.kind == ToolChoice::Kind::kNamed;
    if (calls) return submit_call(request, chat.tools.at(0).name, std::move(on_output));
    return submit(request, [on_output = std::move(on_output)](const RequestOutput& step) {
      on_output({.step = step, .content = step.text});
    });
  }
  void abort(RequestId id) override {
    const std::lock_guard lock(mutex_);
    for (auto* list : {&waiting_, &running_}) {
      for (Running& running : *list) running.aborted = running.aborted || running.id == id;
    }
    wake_.notify_all();
  }

  std::vector<Completion> generate(const std::vector<Request>&) override { return {}; }
  std::vector<ChatCompletion> chat(const ChatRequest&) override { return {}; }
  std::vector<int32_t> tokenize(const std::string& text, bool with_special) const override {
    std::vector<int32_t> ids;
    if (with_special) ids.push_back(0);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + kFirstByte);
    return ids;
  }
  std::string detokenize(const std::vector<int32_t>& ids, bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      check_argument(id >= 0 && id < 256 + kFirstByte, "token id {} is not in [0, {})", id,
                     256 + kFirstByte);
      if (id >= kFirstByte) text += static_cast<char>(id - kFirstByte);
      if (id == 0 && !skip_special) text += "<s>";
    }
    return text;
  }
  std::string render(const ChatRequest& chat) const override {
    std::string text;
    for (const ChatMessage& message : chat.messages) {
      text += "<" + message.role + ">" + message.content;
      for (const std::string& part : message.content_parts) text += part;
      text += "\n";
    }
    return chat.add_generation_prompt ? text + "<assistant>" : text;
  }
  bool has_chat_template() const override { return true; }
  RequestId submit_embedding(const EmbeddingRequest& request,
                             EmbeddingCallback on_output) override {
    std::vector<int32_t> ids =
        std::holds_alternative<std::string>(request.input)
            ? tokenize(std::get<std::string>(request.input), /*with_special=*/false)
            : std::get<std::vector<int32_t>>(request.input);
    const std::string text = detokenize(ids, true);
    const int tokens = static_cast<int>(ids.size());
    check_argument(request.truncate || tokens <= model_.max_context,
                   "the text has {} tokens, the context {}", tokens, model_.max_context);
    Running running;
    EmbeddingOutput& output = running.embedding;
    output.embedding.truncated_tokens = std::max(tokens - model_.max_context, 0);
    output.embedding.prompt_tokens = tokens - output.embedding.truncated_tokens;
    ids.resize(static_cast<size_t>(output.embedding.prompt_tokens));
    output.embedding.values = embedding_of(ids, request.pooling, request.normalized);
    running.fails = text.find("FAIL") != std::string::npos;
    running.not_before = std::chrono::steady_clock::now();
    if (text.find("SLOW") != std::string::npos) running.not_before += std::chrono::seconds(2);
    running.on_embedding = std::move(on_output);
    const std::lock_guard lock(mutex_);
    running.id = output.id = next_id_++;
    waiting_.push_back(std::move(running));
    wake_.notify_all();
    return next_id_ - 1;
  }
  std::vector<TextEmbedding> embed(const std::vector<EmbeddingRequest>&) override { return {}; }
  int embedding_size() const override { return kEmbeddingSize; }
  void write_logits(const std::vector<int32_t>&, const std::string&, const std::string&) override {}
  void logits(const std::vector<int32_t>&, const LogitsCallback&, const std::string&) override {}
  std::vector<std::string> lora_adapters() const override { return {}; }
  SamplingParams default_sampling_params() const override { return {}; }
  int max_context() const override { return model_.max_context; }
  LlmStats stats() const override { return {.weight_bytes = 1000, .kv_cache_bytes = 2000}; }
  std::string report() const override { return "{}"; }

 private:
  struct Running {
    RequestId id = 0;
    int index = 0;
    std::shared_ptr<int> left;  // answers of the request that have not ended
    std::optional<int> top;     // SamplingParams::logprobs
    int prompt_tokens = 0;
    std::string text;
    int max_tokens = 0;
    int made = 0;
    size_t at = 0;
    bool fails = false;
    bool aborted = false;
    std::chrono::steady_clock::time_point not_before;
    OutputCallback on_output;
    EmbeddingCallback on_embedding;  // instead
    EmbeddingOutput embedding;
  };

  // A token's "hidden state" is its id in the place of the id modulo the size.
  static std::vector<float> embedding_of(const std::vector<int32_t>& ids, Pooling pooling,
                                         bool normalized) {
    std::vector<float> values(kEmbeddingSize);
    const auto add = [&](int32_t id) {
      values[static_cast<size_t>(id % kEmbeddingSize)] += static_cast<float>(id);
    };
    if (pooling == Pooling::kFirst) add(ids.front());
    if (pooling == Pooling::kLast) add(ids.back());
    if (pooling == Pooling::kMean) {
      for (const int32_t id : ids) add(id);
      for (float& value : values) value /= static_cast<float>(ids.size());
    }
    if (!normalized) return values;
    float squares = 0;
    for (const float value : values) squares += value * value;
    if (squares == 0) return values;  // of tokens 0 alone
    for (float& value : values) value /= std::sqrt(squares);
    return values;
  }
  // True: that was it.
  static bool tell_embedding(Running& running, bool aborted) {
    EmbeddingOutput& output = running.embedding;
    if (!aborted && std::chrono::steady_clock::now() < running.not_before) return false;
    output.finish_reason = aborted         ? FinishReason::kAborted
                           : running.fails ? FinishReason::kError
                                           : FinishReason::kStop;
    if (running.fails) output.error = "the model said so";
    running.on_embedding(output);
    return true;
  }

  // Answers with a call of the tool, its arguments in two pieces.
  RequestId submit_call(Request request, const std::string& tool, ChatCallback on_output) {
    request.sampling.max_tokens = 2;
    return submit(request, [on_output = std::move(on_output), tool](const RequestOutput& step) {
      ChatOutput output{.step = step};
      ToolCallDelta delta{.index = 0, .arguments = R"({"x": )"};
      if (step.output_tokens == 1) {
        delta.id = "call_1";
        delta.name = tool;
      } else {
        delta.arguments = "1}";
        output.step.finish_reason = FinishReason::kToolCalls;
      }
      output.tool_calls.push_back(delta);
      on_output(output);
    });
  }

  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stop_ || !waiting_.empty() || !running_.empty(); });
      while (!waiting_.empty() && static_cast<int>(running_.size()) < model_.sequences) {
        running_.splice(running_.end(), waiting_, waiting_.begin());
      }
      for (auto it = waiting_.begin(); it != waiting_.end();) {
        const auto next = std::next(it);
        if (it->aborted) running_.splice(running_.end(), waiting_, it);
        it = next;
      }
      for (Running& running : running_) running.aborted = running.aborted || stop_;
      if (stop_) running_.splice(running_.end(), waiting_);
      // The callbacks run without the lock; only this thread takes entries out of the lists.
      std::vector<std::pair<Running*, bool>> step;
      for (Running& running : running_) step.emplace_back(&running, running.aborted || stop_);
      lock.unlock();
      std::vector<Running*> finished;
      for (auto& [running, aborted] : step) {
        if (advance(*running, aborted)) finished.push_back(running);
      }
      if (!stop_) std::this_thread::sleep_for(model_.step);
      lock.lock();
      running_.remove_if([&](const Running& running) {
        return std::find(finished.begin(), finished.end(), &running) != finished.end();
      });
      if (stop_ && running_.empty() && waiting_.empty()) return;
    }
  }

  // One token. True: that was the last news.
  static bool advance(Running& running, bool aborted) {
    if (running.on_embedding) return tell_embedding(running, aborted);
    RequestOutput output;
    output.id = running.id;
    output.index = running.index;
    output.prompt_tokens = running.prompt_tokens;
    output.output_tokens = running.made;
    if (aborted) {
      output.finish_reason = FinishReason::kAborted;
    } else if (running.fails && running.made == 2) {
      output.finish_reason = FinishReason::kError;
      output.error = "the model said so";
    } else if (std::chrono::steady_clock::now() < running.not_before) {
      return false;
    } else {
      // A whole character per token.
      const size_t begin = running.at;
      do {
        running.at = (running.at + 1) % running.text.size();
      } while ((static_cast<unsigned char>(running.text[running.at]) & 0xC0) == 0x80);
      const size_t end = running.at > begin ? running.at : running.text.size();
      output.text = running.text.substr(begin, end - begin);
      output.token_ids = {static_cast<unsigned char>(output.text[0]) + kFirstByte};
      output.output_tokens = ++running.made;
      if (running.top) {
        const TokenLogprob token{output.token_ids[0], -0.25, output.text};
        output.logprobs.push_back(
            {token, std::vector<TokenLogprob>(static_cast<size_t>(*running.top), token)});
      }
      if (running.made == running.max_tokens) output.finish_reason = FinishReason::kLength;
    }
    output.is_last = output.finished() && --*running.left == 0;
    running.on_output(output);
    return output.finished();
  }

  const ScriptedModel model_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Running> waiting_;
  std::list<Running> running_;
  RequestId next_id_ = 1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace

LoadFunction scripted_load(const ScriptedModel& model) {
  return [model](const std::string&, const LlmConfig&,
                 const ProgressCallback&) -> std::unique_ptr<LLM> {
    std::this_thread::sleep_for(model.load);
    if (!model.load_error.empty()) throw Error(ErrorCode::kCorruptFile, model.load_error);
    return std::make_unique<ScriptedLlm>(model);
  };
}

}  // namespace lanner::server
