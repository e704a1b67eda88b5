// SPDX-License-Identifier: Apache-2.0
// What is done to models besides running them: written quantised, brought from a hub, planned.
#include "tools.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "progress.h"
#include "requests.h"

namespace lanner::python {

void bind_tools(nb::module_& module) {
  nb::class_<QuantizeReport>(module, "QuantizeReport", "What quantize() has written.")
      .def_ro("source_bytes", &QuantizeReport::source_bytes, "Of all tensors.")
      .def_ro("bytes", &QuantizeReport::bytes)
      .def_ro("quantized_tensors", &QuantizeReport::quantized_tensors,
              "Also those that were as small already.")
      .def_ro("other_tensors", &QuantizeReport::other_tensors, "Kept in the type they had.")
      .def_ro("notes", &QuantizeReport::notes, "Sentences: what was left out, and why.");
  nb::class_<PulledModel>(module, "PulledModel", "What pull() has brought.")
      .def_ro("path", &PulledModel::path, "For LLM: a folder of the cache, or the GGUF file in it.")
      .def_ro("commit", &PulledModel::commit, "That the revision stood for.")
      .def_ro("files", &PulledModel::files)
      .def_ro("bytes", &PulledModel::bytes, "Of all of them.")
      .def_ro("downloaded", &PulledModel::downloaded, "Bytes, by this call.");
  module.def(
      "quantize",
      [](const std::string& source, const std::string& target, const Fields& fields,
         const nb::object& progress) {
        const QuantizeOptions options = to_quantize_options(fields);
        return run_with_progress(progress, [&](const ProgressCallback& on_progress) {
          return quantize_model(source, target, options, on_progress);
        });
      },
      nb::arg("source"), nb::arg("target"), nb::arg("options"), nb::arg("progress").none());
  module.def(
      "pull",
      [](const std::string& id, const Fields& fields, const nb::object& progress) {
        const HubOptions options = to_hub_options(fields);
        return run_with_progress(progress, [&](const ProgressCallback& on_progress) {
          return pull_model(id, options, on_progress);
        });
      },
      nb::arg("id"), nb::arg("options"), nb::arg("progress").none());
  module.def(
      "plan_distributed",
      [](const std::string& path, const Fields& config, const Fields& fields,
         const nb::object& progress) {
        const LlmConfig llm_config = to_config(config);
        const DistributedPlan plan = to_distributed_plan(fields);
        return run_with_progress(progress, [&](const ProgressCallback& on_progress) {
          return plan_distributed(path, llm_config, plan, on_progress);
        });
      },
      nb::arg("path"), nb::arg("config"), nb::arg("plan"), nb::arg("progress").none());
}

}  // namespace lanner::python
