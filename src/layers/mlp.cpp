// SPDX-License-Identifier: Apache-2.0
#include "layers/mlp.h"

#include <string_view>
#include <vector>

#include "base/error.h"

namespace lanner {

Activation read_activation(const ConfigReader& config, const char* key) {
  const std::string name = config.required_string(key);
  const auto activation = parse_activation(name);
  if (!activation) {
    std::vector<std::string_view> known;
    for (const ActivationName& row : activation_names()) known.push_back(row.name);
    throw_error(ErrorCode::kUnsupported, "{}: activation '{}' is unknown; known: {}",
                config.key_path(key), name, fmt::join(known, ", "));
  }
  return *activation;
}

GatedMlp::GatedMlp(const GatedMlpConfig& config, const WeightScope& weights, LoadContext& context)
    : config_(config),
      gate_up_({{"gate_proj", config.intermediate}, {"up_proj", config.intermediate}},
               config.hidden, config.bias, weights, context),
      down_({{"down_proj", config.hidden}}, config.intermediate, config.bias, weights, context) {}

void GatedMlp::forward_add(const Tensor& x, const Tensor& hidden, ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  const int64_t width = config_.intermediate;
  const Tensor gate_up =
      context.workspace.tensor(DType::kF32, Shape{x.num_rows(), gate_up_.out_features()});
  gate_up_.forward(x, gate_up, context);
  const Tensor gate = gate_up.columns(0, width);
  gated_activation(config_.activation, gate, gate_up.columns(width, 2 * width), gate,
                   context.threads);
  down_.forward_add(gate, hidden, context);
}

}  // namespace lanner
