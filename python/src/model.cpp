// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <algorithm>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "progress.h"

namespace lanner::python {
namespace {

template <typename Output>
nb::typed<nb::list, nb::typed<nb::tuple, size_t, Output>> to_list(
    std::vector<typename Inbox<Output>::News> news) {
  nb::list list;
  for (auto& item : news) list.append(nb::make_tuple(item.request, std::move(item.output)));
  return list;
}

template <typename Output>
void bind_requests(nb::module_& module, const char* name) {
  using Self = Requests<Output>;
  nb::class_<Self>(module, name, "Requests under way; dropping it aborts them.")
      .def(
          "wait", [](Self& self, bool whole) { return to_list<Output>(self.wait(whole)); },
          nb::arg("whole"),
          "Waits for news, or with `whole` until all have ended: [(request, output), ...].")
      .def(
          "poll", [](Self& self) { return to_list<Output>(self.poll()); },
          "The news that there are, without waiting.")
      .def_prop_ro("ended", &Self::ended, "No more news will come than poll() has now.")
      .def("fileno", &Self::descriptor, nb::arg("whole"),
           "A descriptor that is readable when wait(whole) would return.")
      .def("abort", &Self::abort, "Ends them within one step.");
}

}  // namespace

Model::Model(const std::string& path, const Fields& config, const nb::object& progress) {
  const LlmConfig llm_config = to_config(config);
  llm_ = run_with_progress(progress, [&](const ProgressCallback& on_progress) {
    return std::shared_ptr<LLM>(LLM::load(path, llm_config, on_progress));
  });
}

void Model::close() {
  const nb::gil_scoped_release release;  // it waits for the engine's step
  llm_.reset();
}

std::shared_ptr<LLM> Model::llm() const {
  if (llm_ == nullptr) throw Error(ErrorCode::kInvalidArgument, "the model has been closed");
  return llm_;
}

GenerateRequests Model::submit(const FieldsList& requests) {
  std::vector<Request> converted;
  std::vector<int> answers;
  for (nb::handle item : requests) {
    converted.push_back(to_request(nb::cast<nb::dict>(item)));
    converted.back().sampling.validate();
    answers.push_back(converted.back().sampling.n);
  }
  GenerateRequests result(llm(), answers);
  const nb::gil_scoped_release release;  // tokenising and compiling a form take their time
  for (const Request& request : converted) {
    result.add(result.llm().submit(request, result.receiver()));
  }
  return result;
}

ChatRequests Model::submit_chats(const FieldsList& chats) {
  std::vector<ChatRequest> converted;
  std::vector<int> answers;
  for (nb::handle item : chats) {
    converted.push_back(to_chat_request(nb::cast<nb::dict>(item)));
    converted.back().sampling.validate();
    answers.push_back(converted.back().sampling.n);
  }
  ChatRequests result(llm(), answers);
  const nb::gil_scoped_release release;
  for (const ChatRequest& chat : converted) {
    result.add(result.llm().submit_chat(chat, result.receiver()));
  }
  return result;
}

EmbeddingRequests Model::submit_embeddings(const FieldsList& requests) {
  std::vector<EmbeddingRequest> converted;
  for (nb::handle item : requests) {
    converted.push_back(to_embedding_request(nb::cast<nb::dict>(item)));
  }
  EmbeddingRequests result(llm(), std::vector<int>(converted.size(), 1));
  const nb::gil_scoped_release release;
  for (const EmbeddingRequest& request : converted) {
    result.add(result.llm().submit_embedding(request, result.receiver()));
  }
  return result;
}

void Model::forward(const std::vector<int32_t>& tokens,
                    nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu> logits,
                    const std::string& lora) {
  const auto vocab_size = static_cast<int64_t>(logits.shape(1));
  if (logits.shape(0) != tokens.size()) throw nb::value_error("logits: one row per token");
  const std::shared_ptr<LLM> llm = this->llm();
  float* const values = logits.data();
  run_interruptibly([&](const std::atomic<bool>& cancelled) {
    const auto take = [&](int64_t first, std::span<const float> rows) {
      if (cancelled) throw_interrupted();
      const auto room = (static_cast<int64_t>(tokens.size()) - first) * vocab_size;
      if (static_cast<int64_t>(rows.size()) > room) {
        throw Error(ErrorCode::kInternal, "more logits than tokens * vocab_size");
      }
      std::ranges::copy(rows, values + first * vocab_size);
    };
    llm->logits(tokens, take, lora);
  });
}

void bind_model(nb::module_& module) {
  bind_requests<RequestOutput>(module, "GenerateRequests");
  bind_requests<ChatOutput>(module, "ChatRequests");
  bind_requests<EmbeddingOutput>(module, "EmbeddingRequests");
  const auto without_gil = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<Model>(module, "Model", "A loaded model; the class LLM is made of it.")
      .def(nb::init<const std::string&, const Fields&, const nb::object&>(), nb::arg("path"),
           nb::arg("config"), nb::arg("progress").none())
      .def("close", &Model::close)
      .def("submit", &Model::submit, nb::arg("requests"))
      .def("submit_chats", &Model::submit_chats, nb::arg("chats"))
      .def("submit_embeddings", &Model::submit_embeddings, nb::arg("requests"))
      .def("forward", &Model::forward, nb::arg("tokens"), nb::arg("logits").noconvert(),
           nb::arg("lora"))
      .def(
          "tokenize",
          [](const Model& self, const std::string& text, bool with_special) {
            return self.llm()->tokenize(text, with_special);
          },
          nb::arg("text"), nb::arg("with_special"), without_gil)
      .def(
          "detokenize",
          [](const Model& self, const std::vector<int32_t>& ids, bool skip_special) {
            return self.llm()->detokenize(ids, skip_special);
          },
          nb::arg("ids"), nb::arg("skip_special"), without_gil)
      .def(
          "render",
          [](const Model& self, const Fields& chat) {
            const ChatRequest request = to_chat_request(chat);
            const nb::gil_scoped_release release;
            return self.llm()->render(request);
          },
          nb::arg("chat"))
      .def_prop_ro("lora_adapters", [](const Model& self) { return self.llm()->lora_adapters(); })
      .def_prop_ro("has_chat_template",
                   [](const Model& self) { return self.llm()->has_chat_template(); })
      .def_prop_ro("embedding_size", [](const Model& self) { return self.llm()->embedding_size(); })
      .def_prop_ro("max_context", [](const Model& self) { return self.llm()->max_context(); })
      .def(
          "report", [](const Model& self) { return self.llm()->report(); }, without_gil)
      .def("default_sampling_params",
           [](const Model& self) {
             return from_sampling_params(self.llm()->default_sampling_params());
           })
      .def("stats", [](const Model& self) -> nb::typed<nb::dict, nb::str, double> {
        const LlmStats stats = self.llm()->stats();
        nb::dict values;
        values["load_seconds"] = stats.load_seconds;
        values["peak_memory_bytes"] = stats.peak_memory_bytes;
        values["weight_bytes"] = stats.weight_bytes;
        values["kv_cache_bytes"] = stats.kv_cache_bytes;
        values["prefill_tokens"] = stats.prefill_tokens;
        values["prefill_seconds"] = stats.prefill_seconds;
        values["decode_tokens"] = stats.decode_tokens;
        values["decode_seconds"] = stats.decode_seconds;
        values["steps"] = stats.steps;
        values["step_seconds"] = stats.step_seconds;
        values["forward_seconds"] = stats.forward_seconds;
        values["draft_tokens"] = stats.draft_tokens;
        values["accepted_tokens"] = stats.accepted_tokens;
        values["draft_seconds"] = stats.draft_seconds;
        values["preemptions"] = stats.preemptions;
        values["prompt_lookup_tokens"] = stats.prompt_lookup_tokens;
        values["prompt_hit_tokens"] = stats.prompt_hit_tokens;
        values["cache_evictions"] = stats.cache_evictions;
        values["running_sequences"] = stats.running_sequences;
        values["waiting_sequences"] = stats.waiting_sequences;
        values["used_kv_blocks"] = stats.used_kv_blocks;
        values["kv_blocks"] = stats.kv_blocks;
        values["ranks"] = stats.ranks;
        return values;
      });
}

}  // namespace lanner::python
