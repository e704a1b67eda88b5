// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/decoder_spec.h"
#include "models/model.h"

namespace lanner {

// A decoder-only model built from its spec: embedding, blocks, final norm, output weights. The one
// Model there is: families differ in their specs.
class DecoderModel final : public Model {
 public:
  DecoderModel(const DecoderSpec& spec, ModelInfo info, const Checkpoint& checkpoint,
               LoadContext& context);

  const ModelInfo& info() const override { return info_; }
  const WeightTally& weights() const override { return tally_; }
  int64_t output_parameters() const override { return output_->parameters(); }

  void forward(const ForwardBatch& batch, KvCache& cache, const ForwardOutput& output,
               ExecutionContext& context) const override;

 private:
  void run(const ForwardBatch& batch, KvCache& cache, const ForwardOutput& output,
           ExecutionContext& context) const;

  ModelInfo info_;
  InputEmbedding input_;
  std::vector<std::shared_ptr<const RotaryEmbedding>> rotaries_;  // those of the blocks
  std::vector<DecoderBlock> blocks_;
  std::optional<Norm> norm_;
  std::optional<OutputHead> output_;
  WeightTally tally_;
};

}  // namespace lanner
