// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "layers/embedding.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/rotary.h"
#include "models/model.h"
#include "weights/config_reader.h"

namespace lanner {

// What the decoder-only families share in config.json.
struct DecoderConfig {
  explicit DecoderConfig(const ConfigReader& config);

  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int num_layers = 0;
  bool tie_word_embeddings = false;
  std::vector<int32_t> eos_token_ids;

  // For ModelInfo. Tied embeddings are packed as output weights, and a copy of them in the file is
  // not read.
  std::vector<std::string> unpacked_weights() const;
};

// Copies the rows `indices` of x [num_tokens, hidden] to y [indices, hidden].
void gather_rows(const Tensor& x, const std::vector<int32_t>& indices, const Tensor& y);

// Embedding, blocks, final norm, output weights: the frame of a decoder-only model. A Block is
// built from (config, weights of its layer, shared RoPE, context) and has forward and tally.
template <typename Config, typename Block>
class DecoderModel final : public Model {
 public:
  DecoderModel(const Config& config, ModelInfo info, const Checkpoint& checkpoint,
               LoadContext& context)
      : info_(std::move(info)),
        embedding_(WeightScope(checkpoint).at("model.embed_tokens"), config.decoder.vocab_size,
                   config.decoder.hidden_size) {
    const WeightScope weights = WeightScope(checkpoint).at("model");
    const auto rotary =
        std::make_shared<const RotaryEmbedding>(config.rope, config.attention.head_dim, context);
    blocks_.reserve(static_cast<size_t>(config.decoder.num_layers));
    for (int i = 0; i < config.decoder.num_layers; ++i) {
      blocks_.emplace_back(config, rotary, weights.at("layers").at(i), context);
      blocks_.back().tally(tally_);
    }
    norm_ = std::make_unique<RmsNorm>(weights.at("norm"), config.decoder.hidden_size,
                                      config.rms_norm_eps);
    output_ = make_output(config.decoder, checkpoint, context);
    tally_.add(*output_);
  }

  const ModelInfo& info() const override { return info_; }
  const WeightTally& weights() const override { return tally_; }
  int64_t output_parameters() const override {
    return output_->in_features() * output_->out_features();
  }

  void forward(const ForwardBatch& batch, KvCache& cache, const Tensor& logits,
               ExecutionContext& context) const override {
    const Workspace::Scope scope(context.workspace);
    const Tensor hidden =
        context.workspace.tensor(DType::kF32, Shape{batch.num_tokens(), info_.hidden_size});
    embedding_.forward(batch.token_ids, hidden, context);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      blocks_[i].forward(batch, cache.layer(static_cast<int>(i)), hidden, context);
    }
    const Tensor last = context.workspace.tensor(
        DType::kF32, Shape{static_cast<int64_t>(batch.logits_rows.size()), info_.hidden_size});
    gather_rows(hidden, batch.logits_rows, last);
    norm_->forward(last, last, context);
    output_->forward(last, logits, context);
  }

 private:
  std::unique_ptr<ColumnParallelLinear> make_output(const DecoderConfig& config,
                                                    const Checkpoint& checkpoint,
                                                    LoadContext& context) const {
    if (config.tie_word_embeddings) {
      return std::make_unique<ColumnParallelLinear>(embedding_.table(), context);
    }
    return std::make_unique<ColumnParallelLinear>(
        std::vector<LinearPart>{{"lm_head", config.vocab_size}}, config.hidden_size,
        /*bias=*/false, WeightScope(checkpoint), context);
  }

  ModelInfo info_;
  Embedding embedding_;
  std::vector<Block> blocks_;
  std::unique_ptr<RmsNorm> norm_;
  std::unique_ptr<ColumnParallelLinear> output_;
  WeightTally tally_;
};

}  // namespace lanner
