// SPDX-License-Identifier: Apache-2.0
// What Python holds: a loaded model, and requests under way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "inbox.h"
#include "interruptible.h"
#include "lanner/llm.h"
#include "requests.h"

namespace lanner::python {

// Requests that Python waits for. Belongs to one reader; destroying it aborts what still runs.
template <typename Output>
class Requests {
 public:
  using News = typename Inbox<Output>::News;

  Requests(std::shared_ptr<LLM> llm, const std::vector<int>& answers)
      : llm_(std::move(llm)), inbox_(std::make_shared<Inbox<Output>>(answers)) {}
  Requests(Requests&&) noexcept = default;
  ~Requests() {
    if (llm_ == nullptr) return;  // moved from
    abort();
    const nb::gil_scoped_release release;  // it may be the last one to hold the model
    llm_.reset();
  }

  // Where the news of the next submitted request go.
  std::function<void(const Output&)> receiver() {
    return
        [inbox = inbox_, request = ids_.size()](const Output& news) { inbox->push(request, news); };
  }
  void add(RequestId id) { ids_.push_back(id); }
  LLM& llm() { return *llm_; }

  // Waits for news, or with `whole` until every request has ended; empty when all have been taken.
  std::vector<News> wait(bool whole) {
    wait_interruptibly(
        [&](std::chrono::milliseconds time) { return inbox_->wait_for(time, whole); });
    return inbox_->take();
  }
  std::vector<News> poll() { return inbox_->take(); }
  bool ended() const { return inbox_->ended(); }
  int descriptor(bool whole) { return inbox_->descriptor(whole); }
  void abort() {
    if (inbox_->ended()) return;
    for (const RequestId id : ids_) llm_->abort(id);
  }

 private:
  std::shared_ptr<LLM> llm_;
  std::shared_ptr<Inbox<Output>> inbox_;
  std::vector<RequestId> ids_;
};

using GenerateRequests = Requests<RequestOutput>;
using ChatRequests = Requests<ChatOutput>;
using EmbeddingRequests = Requests<EmbeddingOutput>;

// An LLM that can be closed. Python calls its methods from any thread; requests under way keep the
// LLM alive.
class Model {
 public:
  // Throws as LLM::load.
  Model(const std::string& path, const Fields& config, const nb::object& progress);
  ~Model() { close(); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  void close();
  // Throws Error(kInvalidArgument) after close().
  std::shared_ptr<LLM> llm() const;

  GenerateRequests submit(const FieldsList& requests);
  ChatRequests submit_chats(const FieldsList& chats);
  EmbeddingRequests submit_embeddings(const FieldsList& requests);
  // Fills [num_tokens, vocab_size] with the logits of every position.
  void forward(const std::vector<int32_t>& tokens,
               nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu> logits,
               const std::string& lora);

 private:
  std::shared_ptr<LLM> llm_;
};

// Registers the classes of this file and of their outputs with the module.
void bind_outputs(nb::module_& module);
void bind_model(nb::module_& module);

}  // namespace lanner::python
