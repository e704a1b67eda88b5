// SPDX-License-Identifier: Apache-2.0
#include "cli/testing/fake_llm.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"

namespace lanner::cli {
namespace {

class FakeLlm : public LLM {
 public:
  explicit FakeLlm(std::shared_ptr<FakeScript> script)
      : script_(std::move(script)), kv_dtype_(script_->config.kv_dtype) {}
  ~FakeLlm() override {
    abort(0);
    if (thread_.joinable()) thread_.join();
  }

  RequestId submit(const Request& request, OutputCallback on_output) override {
    const auto* text = std::get_if<std::string>(&request.prompt);
    if (text && text->size() > script_->longest_prompt) {
      throw_error(ErrorCode::kInvalidArgument, "the prompt has {} tokens, the context {}",
                  text->size(), script_->longest_prompt);
    }
    {
      const std::lock_guard lock(script_->mutex);
      script_->requests.push_back(request);
    }
    if (thread_.joinable()) thread_.join();
    aborted_ = false;
    thread_ = std::thread([this, on_output = std::move(on_output)] { stream(on_output); });
    return 7;
  }
  void abort(RequestId) override {
    aborted_ = true;
    const std::lock_guard lock(script_->mutex);
    ++script_->aborts;
  }

  std::vector<Completion> generate(const std::vector<Request>&) override { return {}; }
  RequestId submit_chat(const ChatRequest& chat, ChatCallback on_output) override {
    Request request{.prompt = render(chat), .sampling = chat.sampling};
    return submit(request, [on_output = std::move(on_output)](const RequestOutput& step) {
      on_output({.step = step, .content = step.text});
    });
  }
  std::vector<ChatCompletion> chat(const ChatRequest&) override { return {}; }
  RequestId submit_embedding(const EmbeddingRequest&, EmbeddingCallback) override { return 7; }
  std::vector<TextEmbedding> embed(const std::vector<EmbeddingRequest>&) override { return {}; }
  int embedding_size() const override { return 0; }

  std::vector<int32_t> tokenize(const std::string& text, bool with_special) const override {
    std::vector<int32_t> ids;
    if (with_special) ids.push_back(1);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + 10);
    return ids;
  }
  std::string detokenize(const std::vector<int32_t>& ids, bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 10) text += static_cast<char>(id - 10);
      if (id == 1 && !skip_special) text += "<s>";
    }
    return text;
  }
  std::string render(const ChatRequest& chat) const override {
    std::string text;
    for (const ChatMessage& message : chat.messages) {
      text += "<" + message.role + ">" + message.content + "\n";
    }
    if (chat.add_generation_prompt) text += "<assistant>";
    return text;
  }
  bool has_chat_template() const override { return script_->chat_template; }
  void write_logits(const std::vector<int32_t>& tokens, const std::string& path,
                    const std::string& lora) override {
    script_->lora = lora;
    script_->logits_tokens = tokens;
    script_->logits_path = path;
  }
  // Likes the byte after the one that came; each type of KV cache has errors of its own.
  void logits(const std::vector<int32_t>& tokens, const LogitsCallback& on_rows,
              const std::string& lora) override {
    script_->lora = lora;
    script_->logits_tokens = tokens;
    constexpr size_t kVocabulary = 300, kRows = 3;
    const float error = kv_dtype_ == "int8" ? 0.1f : 0.0f;
    for (size_t first = 0; first < tokens.size(); first += kRows) {
      const size_t rows = std::min(kRows, tokens.size() - first);
      std::vector<float> values;
      for (size_t row = 0; row < rows; ++row) {
        for (size_t i = 0; i < kVocabulary; ++i) {
          const bool likely = static_cast<int32_t>(i) == tokens[first + row] + 1;
          values.push_back((likely ? 5.0f : 0.0f) + error * static_cast<float>(i % 5));
        }
      }
      on_rows(static_cast<int64_t>(first), values);
    }
  }
  std::vector<std::string> lora_adapters() const override { return {}; }
  SamplingParams default_sampling_params() const override { return script_->defaults; }
  int max_context() const override { return 2048; }
  LlmStats stats() const override {
    LlmStats stats;
    stats.load_seconds = 0.5;
    stats.prefill_tokens = 10;
    stats.prefill_seconds = 0.1;
    stats.decode_tokens = 100;
    stats.decode_seconds = 2;
    stats.peak_memory_bytes = int64_t{3} << 20;
    return stats;
  }
  std::string report() const override {
    return R"({"model": {"model_type": "fake", "num_layers": 1, "hidden_size": 8, "num_heads": 2,
                        "num_kv_heads": 1, "head_dim": 4, "vocab_size": 300}})";
  }

 private:
  void stream(const OutputCallback& on_output) {
    RequestOutput output;
    output.id = 7;
    output.prompt_tokens = 5;
    for (const std::string& piece : script_->pieces) {
      std::this_thread::sleep_for(script_->delay);
      if (aborted_) break;
      output.text = piece;
      output.token_ids = {42};
      ++output.output_tokens;
      on_output(output);
    }
    output.text.clear();
    output.token_ids.clear();
    output.error = script_->error;
    output.finish_reason = aborted_                  ? FinishReason::kAborted
                           : !script_->error.empty() ? FinishReason::kError
                                                     : FinishReason::kStop;
    output.is_last = true;
    on_output(output);
  }

  std::shared_ptr<FakeScript> script_;
  std::string kv_dtype_;
  std::atomic<bool> aborted_{false};
  std::thread thread_;
};

const char* fake_finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kAborted:
      return "aborted";
    case FinishReason::kError:
      return "error";
    default:
      return "";
  }
}

}  // namespace

Backend make_fake_backend(const std::shared_ptr<FakeScript>& script) {
  Backend backend;
  backend.load = [script](const std::string& path, const LlmConfig& config,
                          const ProgressCallback& progress) {
    script->loaded.push_back(path);
    script->config = config;
    if (progress) progress("weights", 1, 2);
    return std::make_unique<FakeLlm>(script);
  };
  backend.load_text = [script](const std::string& path) {
    script->texts_loaded.push_back(path);
    return std::make_unique<FakeLlm>(script);
  };
  backend.machine_report = [](const LlmConfig& config) {
    return fmt::format(R"({{"machine": {{"threads": {}, "l2_bytes": 2097152}}}})", config.threads);
  };
  backend.families_report = [] {
    return std::string(R"({"families": [{"model_type": "llama", "models": "Llama 3"}]})");
  };
  backend.benchmark_machine = [](const LlmConfig& config) {
    return fmt::format(R"({{"machine": {{"threads": {}, "read_gbps": 12.345678}}}})",
                       config.threads);
  };
  backend.benchmark_model = [script](const std::string& path, const LlmConfig& config,
                                     const ModelBenchmark& benchmark, const ProgressCallback&) {
    script->loaded.push_back(path);
    script->config = config;
    script->benchmark = benchmark;
    return fmt::format(R"({{"model": {{"name": "{}"}}}})", path);
  };
  backend.benchmark_attention = [](const AttentionBenchmark& options,
                                   const std::function<void(const std::string&)>& on_step) {
    on_step("something");
    return fmt::format(R"({{"kv_dtype": "{}", "attention": [{{"tokens": {}, "head_dim": {}}}]}})",
                       options.kv_dtype, options.tokens.at(0), options.head_dims.at(0));
  };
  backend.benchmark_communication = [](const RendezvousConfig& rendezvous,
                                       const CommunicationBenchmark& benchmark) -> std::string {
    if (rendezvous.rank > 0) return "";
    return fmt::format(R"({{"ranks": {}, "address": "{}", "secret": "{}", "wire": "{}"}})",
                       rendezvous.ranks, rendezvous.address, rendezvous.secret, benchmark.wire);
  };
  backend.plan_distributed = [script](const std::string& path, const LlmConfig& config,
                                      const DistributedPlan& plan, const ProgressCallback&) {
    script->config = config;
    return fmt::format(
        R"({{"path": "{}", "ranks": {}, "latency_us": {}, "communication": {}, "depth": {}}})",
        path, plan.ranks.size(), plan.latency_us, plan.communication.size(), plan.depth);
  };
  backend.backend_problem = [](const std::string& name) { return name + " is not there"; };
  backend.run_worker = [script](const WorkerOptions& options) { script->worker = options; };
  backend.make_job_secret = [] { return std::string("0123456789abcdef"); };
  backend.model_report = [](const std::string& path, const LlmConfig&) {
    return fmt::format(R"({{"machine": {{"isa": "avx2"}}, "model": {{"path": "{}"}}}})", path);
  };
  backend.finish_reason_name = fake_finish_reason_name;
  backend.version = "1.2.3";
  return backend;
}

}  // namespace lanner::cli
