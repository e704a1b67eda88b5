// SPDX-License-Identifier: Apache-2.0
// The families: each is one function, in models/<name>.cpp, that makes a DecoderSpec of the keys of
// config.json. It reads every key that has an effect and refuses values it cannot honour; the
// registry refuses the keys that nobody read.
#pragma once

#include "models/decoder_spec.h"

namespace lanner {

DecoderSpec cohere(const ConfigReader& config);
DecoderSpec cohere2(const ConfigReader& config);
DecoderSpec deepseek_v2(const ConfigReader& config);
DecoderSpec deepseek_v3(const ConfigReader& config);
DecoderSpec ernie4_5(const ConfigReader& config);
DecoderSpec exaone4(const ConfigReader& config);
DecoderSpec glm4_moe(const ConfigReader& config);
DecoderSpec gpt_oss(const ConfigReader& config);
DecoderSpec granite(const ConfigReader& config);
DecoderSpec granitemoe(const ConfigReader& config);
DecoderSpec hunyuan_v1_dense(const ConfigReader& config);
DecoderSpec internlm2(const ConfigReader& config);
DecoderSpec llama(const ConfigReader& config);
DecoderSpec mixtral(const ConfigReader& config);
DecoderSpec nemotron(const ConfigReader& config);
DecoderSpec olmo(const ConfigReader& config);
DecoderSpec olmo2(const ConfigReader& config);
DecoderSpec olmoe(const ConfigReader& config);
DecoderSpec qwen2_moe(const ConfigReader& config);
DecoderSpec qwen3_moe(const ConfigReader& config);
DecoderSpec seed_oss(const ConfigReader& config);
DecoderSpec smollm3(const ConfigReader& config);
DecoderSpec stablelm(const ConfigReader& config);
DecoderSpec starcoder2(const ConfigReader& config);

}  // namespace lanner
