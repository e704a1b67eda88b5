// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "base/error.h"
#include "models/families.h"

namespace lanner {
namespace {

constexpr ModelFamily kFamilies[] = {
    {.model_type = "arcee",
     .spec = arcee,
     .models = "Arcee AFM 4.5B",
     .features = "squared ReLU without a gate, YaRN",
     .golden = "arcee"},
    {.model_type = "baichuan",
     .spec = baichuan,
     .models = "Baichuan 1 and 2, 7B and 13B",
     .features = "RoPE (7B), ALiBi (13B), unit-length output rows (2)",
     .golden = "baichuan-13b, baichuan-7b, baichuan2-13b, baichuan2-7b"},
    {.model_type = "bloom",
     .spec = bloom,
     .models = "BLOOM, BLOOMZ",
     .features = "ALiBi, norm of the token vectors",
     .golden = "bloom"},
    {.model_type = "chatglm",
     .spec = chatglm,
     .models = "ChatGLM-6B, ChatGLM2, ChatGLM3, GLM-4-9B (-32k, -128k)",
     .features = "prefix-LM and block positions (1), partial RoPE in pairs, rope_ratio",
     .golden = "chatglm, chatglm-glm4, chatglm2, chatglm2-fp16, chatglm3, chatglm3-32k"},
    {.model_type = "cohere",
     .spec = cohere,
     .models = "Command R, Aya",
     .features = "parallel residual, RoPE in pairs, QK-norm, scaled logits",
     .golden = "cohere, cohere-qknorm"},
    {.model_type = "cohere2",
     .spec = cohere2,
     .models = "Command R7B, Command A",
     .features = "sliding window, layers without RoPE",
     .golden = "cohere2"},
    {.model_type = "deepseek_v2",
     .spec = deepseek_v2,
     .models = "DeepSeek V2, V2-Lite",
     .features = "latent attention, mixture of experts, YaRN",
     .golden = "deepseek_v2"},
    {.model_type = "deepseek_v3",
     .spec = deepseek_v3,
     .models = "DeepSeek V3, R1",
     .features = "latent attention, mixture of experts with grouped routing",
     .golden = "deepseek_v3"},
    {.model_type = "ernie4_5",
     .spec = ernie4_5,
     .models = "ERNIE 4.5, dense",
     .features = "RoPE in pairs",
     .golden = "ernie4_5"},
    {.model_type = "exaone4",
     .spec = exaone4,
     .models = "EXAONE 4",
     .features = "norms after both halves, QK-norm, sliding window",
     .golden = "exaone4"},
    {.model_type = "falcon",
     .spec = falcon,
     .models = "Falcon 7B, 11B, 40B, 180B, RW",
     .features = "multi-query, parallel residual, ALiBi (RW)",
     .golden = "falcon-40b, falcon-7b, falcon-rw"},
    {.model_type = "gemma",
     .spec = gemma,
     .models = "Gemma 1, CodeGemma",
     .features = "norm weights less one, scaled token vectors",
     .golden = "gemma"},
    {.model_type = "gemma2",
     .spec = gemma2,
     .models = "Gemma 2",
     .features = "four norms, soft caps, sliding window in every other layer",
     .golden = "gemma2"},
    {.model_type = "gemma3_text",
     .spec = gemma3_text,
     .models = "Gemma 3, text",
     .features = "QK-norm, two RoPEs, sliding window pattern",
     .golden = "gemma3_text"},
    {.model_type = "glm",
     .spec = glm,
     .models = "GLM-4-9B-hf, GLM-Edge",
     .features = "partial RoPE in pairs",
     .golden = "glm"},
    {.model_type = "glm4",
     .spec = glm4,
     .models = "GLM-4-0414",
     .features = "partial RoPE in pairs, four norms",
     .golden = "glm4"},
    {.model_type = "glm4_moe",
     .spec = glm4_moe,
     .models = "GLM-4.5, GLM-4.6",
     .features = "mixture of experts, QK-norm, partial RoPE",
     .golden = "glm4_moe"},
    {.model_type = "gpt2",
     .spec = gpt2,
     .models = "GPT-2, DistilGPT-2",
     .features = "learned positions, matrices stored as [in, out]",
     .golden = "gpt2"},
    {.model_type = "gpt_neox",
     .spec = gpt_neox,
     .models = "GPT-NeoX, Pythia, Dolly",
     .features = "partial RoPE, parallel residual",
     .golden = "gpt_neox"},
    {.model_type = "gpt_oss",
     .spec = gpt_oss,
     .models = "GPT-OSS",
     .features = "mixture of experts, attention sinks, sliding window, YaRN",
     .golden = "gpt_oss"},
    {.model_type = "granite",
     .spec = granite,
     .models = "Granite 3",
     .features = "multipliers of embedding, scores, residuals and logits",
     .golden = "granite"},
    {.model_type = "granitemoe",
     .spec = granitemoe,
     .models = "Granite 3 MoE",
     .features = "the same with a mixture of experts",
     .golden = "granitemoe"},
    {.model_type = "hunyuan_v1_dense",
     .spec = hunyuan_v1_dense,
     .models = "Hunyuan, dense",
     .features = "QK-norm after RoPE",
     .golden = "hunyuan_v1_dense"},
    {.model_type = "internlm2",
     .spec = internlm2,
     .models = "InternLM 2, 2.5",
     .features = "QKV grouped by KV head",
     .golden = "internlm2"},
    {.model_type = "llama",
     .spec = llama,
     .models = "Llama 1, 2, 3.x, SmolLM2, TinyLlama, Vicuna, Yi",
     .features = "biases, RoPE scalings linear, dynamic, llama3, yarn, longrope",
     .golden = "llama-bias, llama-dynamic, llama-linear, llama-llama3, llama-mha, llama-tied"},
    {.model_type = "mistral",
     .spec = mistral,
     .models = "Mistral 7B, Nemo, Small",
     .features = "sliding window, head size of its own",
     .golden = "mistral, mistral-nemo"},
    {.model_type = "mixtral",
     .spec = mixtral,
     .models = "Mixtral",
     .features = "mixture of experts",
     .golden = "mixtral"},
    {.model_type = "nemotron",
     .spec = nemotron,
     .models = "Nemotron, Minitron",
     .features = "LayerNorm less one, squared ReLU, partial RoPE",
     .golden = "nemotron"},
    {.model_type = "olmo",
     .spec = olmo,
     .models = "OLMo",
     .features = "LayerNorm without weights, clipped QKV",
     .golden = "olmo"},
    {.model_type = "olmo2",
     .spec = olmo2,
     .models = "OLMo 2",
     .features = "norms after both halves, QK-norm over all heads",
     .golden = "olmo2"},
    {.model_type = "olmoe",
     .spec = olmoe,
     .models = "OLMoE",
     .features = "mixture of experts, QK-norm over all heads",
     .golden = "olmoe"},
    {.model_type = "opt",
     .spec = opt,
     .models = "OPT 125m … 66b, 350m too",
     .features = "learned positions, post-norm and projections (350m)",
     .golden = "opt-125m, opt-350m"},
    {.model_type = "phi",
     .spec = phi,
     .models = "Phi-1, 1.5, 2",
     .features = "parallel residual, partial RoPE, QK-norm",
     .golden = "phi"},
    {.model_type = "phi3",
     .spec = phi3,
     .models = "Phi-3, Phi-3.5-mini, Phi-4, Phi-4-mini",
     .features = "sliding window, LongRoPE, partial RoPE",
     .golden = "phi3, phi3-longrope"},
    {.model_type = "qwen",
     .spec = qwen,
     .models = "Qwen 1",
     .features = "dynamic NTK by the prompt, log-n attention",
     .golden = "qwen, qwen-long"},
    {.model_type = "qwen2",
     .spec = qwen2,
     .models = "Qwen 1.5, 2, 2.5, QwQ",
     .features = "QKV bias, sliding window in the upper layers, YaRN",
     .golden = "qwen2, qwen2-swa, qwen2-tied, qwen2-yarn"},
    {.model_type = "qwen2_moe",
     .spec = qwen2_moe,
     .models = "Qwen 1.5 MoE, Qwen 2 MoE",
     .features = "mixture of experts with a gated shared one",
     .golden = "qwen2_moe"},
    {.model_type = "qwen3",
     .spec = qwen3,
     .models = "Qwen 3, dense",
     .features = "QK-norm, head size of its own",
     .golden = "qwen3, qwen3-tied"},
    {.model_type = "qwen3_moe",
     .spec = qwen3_moe,
     .models = "Qwen 3 MoE",
     .features = "mixture of experts, QK-norm",
     .golden = "qwen3_moe"},
    {.model_type = "seed_oss",
     .spec = seed_oss,
     .models = "Seed-OSS",
     .features = "QKV bias",
     .golden = "seed_oss"},
    {.model_type = "smollm3",
     .spec = smollm3,
     .models = "SmolLM 3",
     .features = "layers without RoPE",
     .golden = "smollm3"},
    {.model_type = "stablelm",
     .spec = stablelm,
     .models = "StableLM 2",
     .features = "partial RoPE, parallel residual, QK-norm",
     .golden = "stablelm, stablelm-12b"},
    {.model_type = "starcoder2",
     .spec = starcoder2,
     .models = "StarCoder 2",
     .features = "LayerNorm, sliding window, biases",
     .golden = "starcoder2"},
};

}  // namespace

std::span<const ModelFamily> model_families() { return kFamilies; }

DecoderSpec read_spec(const ConfigReader& config) {
  const std::string model_type = config.required_string("model_type");
  std::vector<std::string_view> known;
  for (const ModelFamily& family : kFamilies) {
    known.push_back(family.model_type);
    if (model_type != family.model_type) continue;
    DecoderSpec spec = family.spec(config);
    config.finish();
    return spec;
  }
  throw_error(ErrorCode::kUnsupported, "{}: model type '{}' is not supported; supported: {}",
              config.key_path("model_type"), model_type, fmt::join(known, ", "));
}

ModelInfo read_model_info(const ConfigReader& config) {
  return model_info(read_spec(config), config.required_string("model_type"));
}

int read_reusable_length(const ConfigReader& config) {
  int length = std::numeric_limits<int>::max();
  for (const BlockConfig& block : read_spec(config).blocks) {
    const auto& rope = block.rope();
    if (rope &&
        (rope->scaling == RopeScaling::kDynamic || rope->scaling == RopeScaling::kPromptNtk)) {
      length = std::min(length, rope->max_position);
    }
  }
  return length;
}

}  // namespace lanner
