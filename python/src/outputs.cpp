// SPDX-License-Identifier: Apache-2.0
// What the engine says, read-only; the package makes its dataclasses of it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "model.h"

namespace lanner::python {

void bind_outputs(nb::module_& module) {
  nb::class_<TokenLogprob>(module, "TokenLogprob")
      .def_ro("id", &TokenLogprob::id)
      .def_ro("logprob", &TokenLogprob::logprob)
      .def_prop_ro("bytes", [](const TokenLogprob& token) {
        return nb::bytes(token.bytes.data(), token.bytes.size());
      });
  nb::class_<PositionLogprobs>(module, "PositionLogprobs")
      .def_ro("token", &PositionLogprobs::token)
      .def_ro("top", &PositionLogprobs::top);
  nb::class_<RequestOutput>(module, "RequestOutput")
      .def_ro("index", &RequestOutput::index)
      .def_ro("text", &RequestOutput::text)
      .def_ro("token_ids", &RequestOutput::token_ids)
      .def_ro("logprobs", &RequestOutput::logprobs)
      .def_ro("prompt_logprobs", &RequestOutput::prompt_logprobs)
      .def_prop_ro(
          "finish_reason",
          [](const RequestOutput& output) { return finish_reason_name(output.finish_reason); })
      .def_ro("error", &RequestOutput::error)
      .def_ro("prompt_tokens", &RequestOutput::prompt_tokens)
      .def_ro("truncated_tokens", &RequestOutput::truncated_tokens)
      .def_ro("cached_tokens", &RequestOutput::cached_tokens)
      .def_ro("output_tokens", &RequestOutput::output_tokens);
  nb::class_<ToolCallDelta>(module, "ToolCallDelta")
      .def_ro("index", &ToolCallDelta::index)
      .def_ro("id", &ToolCallDelta::id)
      .def_ro("name", &ToolCallDelta::name)
      .def_ro("arguments", &ToolCallDelta::arguments);
  nb::class_<ChatOutput>(module, "ChatOutput")
      .def_ro("step", &ChatOutput::step)
      .def_ro("content", &ChatOutput::content)
      .def_ro("reasoning", &ChatOutput::reasoning)
      .def_ro("tool_calls", &ChatOutput::tool_calls);
  nb::class_<EmbeddingOutput>(module, "EmbeddingOutput")
      .def_prop_ro(
          "values",
          [](const EmbeddingOutput& output) {
            const std::vector<float>& values = output.embedding.values;
            return nb::bytes(reinterpret_cast<const char*>(values.data()),
                             values.size() * sizeof(float));
          },
          "The numbers as fp32, one after the other.")
      .def_prop_ro(
          "finish_reason",
          [](const EmbeddingOutput& output) { return finish_reason_name(output.finish_reason); })
      .def_ro("error", &EmbeddingOutput::error);
}

}  // namespace lanner::python
