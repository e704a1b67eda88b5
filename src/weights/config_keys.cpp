// SPDX-License-Identifier: Apache-2.0
#include "weights/config_keys.h"

namespace lanner {
namespace {

constexpr std::string_view kWithoutEffect[] = {
    // Where the files come from, and for which classes of transformers. (Baichuan reads
    // `architectures`: nothing else tells its versions apart.)
    "_name_or_path",
    "architectures",
    "auto_map",
    "is_llama_config",
    "model_name",
    "tokenizer_class",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    // Types and ways to compute: each tensor has its own type, softmax and residuals are fp32.
    "_attn_implementation",
    "_attn_implementation_autoset",
    "apply_query_key_layer_scaling",
    "attention_softmax_in_fp32",
    "attn_implementation",
    "bf16",
    "bias_dropout_fusion",
    "cache_implementation",
    "chunk_size_feed_forward",
    "dtype",
    "ep_size",
    "fp16",
    "fp32",
    "fp32_residual_connection",
    "gradient_checkpointing",
    "masked_softmax_fusion",
    "offset_alibi",
    "onnx_safe",
    "pretraining_tp",
    "skip_bias_add",
    "skip_bias_add_qkv",
    "softmax_in_fp32",
    "torch_dtype",
    "torchscript",
    "use_bfloat16",
    "use_cache",
    "use_flash_attn",
    // Training: dropout, initial values, auxiliary losses, layers that only predict further tokens.
    "activation_dropout",
    "attention_dropout",
    "attn_dropout_prob",
    "attn_pdrop",
    "aux_loss_alpha",
    "classifier_dropout",
    "dropout",
    "emb_dropout_prob",
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout",
    "init_std",
    "initializer_range",
    "layerdrop",
    "num_nextn_predict_layers",
    "output_router_logits",
    "resid_pdrop",
    "residual_dropout",
    "router_aux_loss_coef",
    "seq_aux",
    "z_loss_weight",
    // Heads for other tasks, and what transformers returns.
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "problem_type",
    "return_dict",
    "return_dict_in_generate",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    // Token ids: the engine takes the end tokens from generation_config.json and config.json.
    // (Where
    // the maths depend on one, as in ChatGLM's first version, the family reads it.)
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "pad_token_id",
    "prefix",
    "sep_token_id",
    "unk_token_id",
    // How to generate, from before generation_config.json.
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "remove_invalid_values",
    "repetition_penalty",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
};

constexpr ConfigKeyValue kWithoutEffectIf[] = {
    {"add_cross_attention", "false"},
    {"is_decoder", "false"},  // transformers' default, also in
                              // decoders
    {"is_decoder", "true"},
    {"is_encoder_decoder", "false"},
    {"pruned_heads", "{}"},
};

}  // namespace

std::span<const std::string_view> config_keys_without_effect() { return kWithoutEffect; }

std::span<const ConfigKeyValue> config_keys_without_effect_if() { return kWithoutEffectIf; }

}  // namespace lanner
