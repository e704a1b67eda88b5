// SPDX-License-Identifier: Apache-2.0
// Llama 1, 2, 3 and 3.x (arXiv 2302.13971, 2307.09288, 2407.21783; HF transformers/models/llama),
// and what shares its architecture (SmolLM2, TinyLlama, Vicuna, Yi, …): pre-norm blocks of rotary
// attention and a gated MLP.
#include "models/llama.h"

#include <cmath>

#include "layers/attention.h"
#include "layers/mlp.h"
#include "models/decoder.h"

namespace lanner {
namespace {

AttentionConfig read_attention(const ConfigReader& c, int64_t hidden) {
  AttentionConfig attention;
  attention.hidden = hidden;
  attention.num_heads = c.required_int("num_attention_heads");
  attention.num_kv_heads = c.optional_int("num_key_value_heads", attention.num_heads);
  check_argument(attention.num_heads % attention.num_kv_heads == 0,
                 "{}: {} KV heads do not divide {} attention heads",
                 c.key_path("num_key_value_heads"), attention.num_kv_heads, attention.num_heads);
  if (c.contains("head_dim")) {
    attention.head_dim = c.required_int("head_dim", {.min = 2});
    check_argument(attention.head_dim % 2 == 0, "{}: is {}, expected an even number",
                   c.key_path("head_dim"), attention.head_dim);
  } else {
    check_argument(hidden % (int64_t{2} * attention.num_heads) == 0,
                   "{}: {} heads do not divide hidden_size {} into heads of an even size",
                   c.key_path("num_attention_heads"), attention.num_heads, hidden);
    attention.head_dim = static_cast<int>(hidden / attention.num_heads);
  }
  attention.qkv_bias = c.optional_bool("attention_bias", false);
  attention.output_bias = attention.qkv_bias;
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  return attention;
}

struct LlamaConfig {
  explicit LlamaConfig(const ConfigReader& c)
      : decoder(c),
        attention(read_attention(c, decoder.hidden_size)),
        rope(c, attention.head_dim),
        mlp{.hidden = decoder.hidden_size,
            .intermediate = c.required_int("intermediate_size"),
            .activation = read_activation(c, "hidden_act"),
            .bias = c.optional_bool("mlp_bias", false)},
        rms_norm_eps(c.required_float("rms_norm_eps")) {
    c.refuse_unless("rope_interleaved", false);  // in SmolLM2's files
    c.ignore("max_sequence_length");             // in Llama 1's: max_position_embeddings again
    c.finish();
  }

  DecoderConfig decoder;
  AttentionConfig attention;
  RopeConfig rope;
  GatedMlpConfig mlp;
  float rms_norm_eps;
};

class LlamaBlock {
 public:
  LlamaBlock(const LlamaConfig& config, const std::shared_ptr<const RotaryEmbedding>& rotary,
             const WeightScope& weights, LoadContext& context)
      : input_norm_(weights.at("input_layernorm"), config.decoder.hidden_size, config.rms_norm_eps),
        attention_(config.attention, rotary, weights.at("self_attn"), context),
        post_attention_norm_(weights.at("post_attention_layernorm"), config.decoder.hidden_size,
                             config.rms_norm_eps),
        mlp_(config.mlp, weights.at("mlp"), context) {}

  // hidden [num_tokens, hidden_size], updated in place.
  void forward(const ForwardBatch& batch, const KvCacheView& cache, const Tensor& hidden,
               ExecutionContext& context) const {
    const Workspace::Scope scope(context.workspace);
    const Tensor normed = context.workspace.tensor(DType::kF32, hidden.shape());
    input_norm_.forward(hidden, normed, context);
    attention_.forward_add(normed, batch, cache, hidden, context);
    post_attention_norm_.forward(hidden, normed, context);
    mlp_.forward_add(normed, hidden, context);
  }

  void tally(WeightTally& tally) const {
    attention_.tally(tally);
    mlp_.tally(tally);
  }

 private:
  RmsNorm input_norm_;
  Attention attention_;
  RmsNorm post_attention_norm_;
  GatedMlp mlp_;
};

}  // namespace

ModelInfo llama_info(const ConfigReader& reader) {
  const LlamaConfig config(reader);
  return {.model_type = "llama",
          .num_layers = config.decoder.num_layers,
          .hidden_size = config.decoder.hidden_size,
          .vocab_size = config.decoder.vocab_size,
          .max_position = config.rope.max_length(),
          .num_heads = config.attention.num_heads,
          .num_kv_heads = config.attention.num_kv_heads,
          .head_dim = config.attention.head_dim,
          .v_head_dim = config.attention.head_dim,
          .recompute_length = config.rope.recompute_length(),
          .eos_token_ids = config.decoder.eos_token_ids,
          .unpacked_weights = config.decoder.unpacked_weights()};
}

std::unique_ptr<Model> load_llama(const ConfigReader& reader, const Checkpoint& checkpoint,
                                  LoadContext& context) {
  const LlamaConfig config(reader);
  return std::make_unique<DecoderModel<LlamaConfig, LlamaBlock>>(config, llama_info(reader),
                                                                 checkpoint, context);
}

}  // namespace lanner
