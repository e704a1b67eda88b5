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

namespace {

std::vector<LinearPart> up_parts(const MlpConfig& config) {
  const int64_t width = config.intermediate;
  if (!config.gated)
    return {{.name = config.up, .out_features = width, .transposed = config.transposed}};
  if (config.gate_up.empty()) {
    return {{.name = config.gate, .out_features = width, .transposed = config.transposed},
            {.name = config.up, .out_features = width, .transposed = config.transposed}};
  }
  const auto half = [&](int64_t begin) {
    return LinearPart{.name = config.gate_up,
                      .out_features = width,
                      .rows = {{begin, width}},
                      .tensor_rows = 2 * width,
                      .transposed = config.transposed};
  };
  return {half(0), half(width)};
}

}  // namespace

Mlp::Mlp(const MlpConfig& config, const WeightScope& weights, LoadContext& context)
    : config_(config),
      up_(up_parts(config), config.hidden, config.bias, weights, context),
      down_({{.name = config.down, .out_features = config.hidden, .transposed = config.transposed}},
            config.intermediate, config.bias, weights, context) {}

void Mlp::forward(const Tensor& x, const Tensor& y, bool accumulate,
                  ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  const int64_t width = up_.out_features() / (config_.gated ? 2 : 1);
  const Tensor inner = context.workspace.tensor(DType::kF32, Shape{x.num_rows(), width});
  if (config_.gated) {
    up_.forward_gated(x, config_.activation, inner, context);
  } else {
    up_.forward(x, inner, context);
    activation(config_.activation, inner, inner, context.threads);
  }
  if (accumulate) {
    down_.forward_add(inner, y, context);
  } else {
    down_.forward(inner, y, context);
  }
}

void Mlp::tally(WeightTally& tally) const {
  tally.add(up_);
  tally.add(down_);
}

}  // namespace lanner
