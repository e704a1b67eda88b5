// SPDX-License-Identifier: Apache-2.0
// The families: each is one function, in models/<name>.cpp, that makes a DecoderSpec of the keys of
// config.json. It reads every key that has an effect and refuses values it cannot honour; the
// registry refuses the keys that nobody read.
#pragma once

#include "models/decoder_spec.h"

namespace lanner {

DecoderSpec arcee(const ConfigReader& config);
DecoderSpec baichuan(const ConfigReader& config);
DecoderSpec bloom(const ConfigReader& config);
DecoderSpec chatglm(const ConfigReader& config);
DecoderSpec chatglm1(const ConfigReader& config);
DecoderSpec cohere(const ConfigReader& config);
DecoderSpec cohere2(const ConfigReader& config);
DecoderSpec deepseek_v2(const ConfigReader& config);
DecoderSpec deepseek_v3(const ConfigReader& config);
DecoderSpec ernie4_5(const ConfigReader& config);
DecoderSpec exaone4(const ConfigReader& config);
DecoderSpec falcon(const ConfigReader& config);
DecoderSpec gemma(const ConfigReader& config);
DecoderSpec gemma2(const ConfigReader& config);
DecoderSpec gemma3_text(const ConfigReader& config);
DecoderSpec glm(const ConfigReader& config);
DecoderSpec glm4(const ConfigReader& config);
DecoderSpec glm4_moe(const ConfigReader& config);
DecoderSpec gpt2(const ConfigReader& config);
DecoderSpec gpt_neox(const ConfigReader& config);
DecoderSpec gpt_oss(const ConfigReader& config);
DecoderSpec granite(const ConfigReader& config);
DecoderSpec granitemoe(const ConfigReader& config);
DecoderSpec hunyuan_v1_dense(const ConfigReader& config);
DecoderSpec internlm2(const ConfigReader& config);
DecoderSpec llama(const ConfigReader& config);
DecoderSpec mistral(const ConfigReader& config);
DecoderSpec mixtral(const ConfigReader& config);
DecoderSpec nemotron(const ConfigReader& config);
DecoderSpec olmo(const ConfigReader& config);
DecoderSpec olmo2(const ConfigReader& config);
DecoderSpec olmoe(const ConfigReader& config);
DecoderSpec opt(const ConfigReader& config);
DecoderSpec phi(const ConfigReader& config);
DecoderSpec phi3(const ConfigReader& config);
DecoderSpec qwen(const ConfigReader& config);
DecoderSpec qwen2(const ConfigReader& config);
DecoderSpec qwen2_moe(const ConfigReader& config);
DecoderSpec qwen3(const ConfigReader& config);
DecoderSpec qwen3_moe(const ConfigReader& config);
DecoderSpec seed_oss(const ConfigReader& config);
DecoderSpec smollm3(const ConfigReader& config);
DecoderSpec stablelm(const ConfigReader& config);
DecoderSpec starcoder2(const ConfigReader& config);

// --- What families share beyond read_llama_like ---

// Qwen's use_sliding_window, sliding_window and max_window_layers: the first layers have no window.
void read_qwen_window(const ConfigReader& config, DecoderSpec& spec);

// Gemma's frame, and its norm, whose weights are stored less one.
DecoderSpec read_gemma_like(const ConfigReader& config, const RopeDefaults& rope);
NormConfig read_gemma_norm(const ConfigReader& config);
// The norms, scale and caps that Gemma 2 added.
void read_gemma2_blocks(const ConfigReader& config, DecoderSpec& spec);

}  // namespace lanner
