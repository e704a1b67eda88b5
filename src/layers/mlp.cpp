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

std::vector<LinearPart> up_parts(const MlpConfig& config, const Share& own) {
  const auto part = [&](const std::string& name, int64_t begin, int64_t tensor_rows) {
    return LinearPart{.name = name,
                      .rows = {{begin + own.begin, own.size()}},
                      .tensor_rows = tensor_rows,
                      .transposed = config.transposed};
  };
  const int64_t width = config.intermediate;
  if (!config.gated) return {part(config.up, 0, width)};
  if (config.gate_up.empty()) return {part(config.gate, 0, width), part(config.up, 0, width)};
  return {part(config.gate_up, 0, 2 * width), part(config.gate_up, width, 2 * width)};
}

}  // namespace

Mlp::Mlp(const MlpConfig& config, const WeightScope& weights, LoadContext& context)
    : config_(config),
      columns_(share_of_mlp(config.intermediate, context.execution.communicator.rank(),
                            context.execution.communicator.size())),
      up_(up_parts(config, columns_), config.hidden, config.bias, weights, context),
      down_({{.name = config.down, .out_features = config.hidden, .transposed = config.transposed}},
            config.intermediate, columns_, config.bias, weights, context) {}

RowParallelLinear::Input Mlp::forward_up(const Tensor& x, ExecutionContext& context) const {
  const RowParallelLinear::Input inner = down_.allocate_input(x.num_rows(), context.workspace);
  if (config_.gated) {
    up_.forward_gated(x, config_.activation, inner.own, context);
  } else {
    up_.forward(x, inner.own, context);
    activation(config_.activation, inner.own, inner.own, context.threads);
  }
  return inner;
}

void Mlp::forward(const Tensor& x, RankSum& sum, ExecutionContext& context) const {
  if (columns_.empty()) return;
  const Workspace::Scope scope(context.workspace);
  down_.forward(forward_up(x, context), sum, context);
}

void Mlp::forward_part(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  if (columns_.empty()) return set_zero(y);
  const Workspace::Scope scope(context.workspace);
  down_.forward_part(forward_up(x, context), y, context);
}

void Mlp::tally(WeightTally& tally) const {
  tally.add(up_);
  tally.add(down_);
}

}  // namespace lanner
