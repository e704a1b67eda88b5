// SPDX-License-Identifier: Apache-2.0
// Every family that GGUF has an architecture for computes the same from a GGUF file as from its
// golden folder. The files are written here as llama.cpp's converter does it: its names, its keys,
// its permutation of Q and K, experts stacked.
#include <algorithm>
#include <cmath>
#include <map>
#include <regex>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/model_runner.h"
#include "engine/testing/tiny_model.h"
#include "kernels/convert/convert.h"
#include "weights/testing/file_builders.h"

namespace lanner {
namespace {

struct Case {
  const char* golden;
  const char* architecture;
  bool permuted = false;
  bool norms_plus_one = false;
  bool post_norms = false;  // post_attention_layernorm is the one of the attention's output
  bool cut_kv_b = false;    // as newer converters do
  int tokens = 70;          // of the prompt
};

constexpr Case kCases[] = {
    {.golden = "mixtral", .architecture = "llama", .permuted = true},
    {.golden = "internlm2", .architecture = "internlm2", .permuted = true},
    {.golden = "qwen2_moe", .architecture = "qwen2moe"},
    {.golden = "qwen3_moe", .architecture = "qwen3moe"},
    {.golden = "deepseek_v2", .architecture = "deepseek2"},
    {.golden = "deepseek_v3", .architecture = "deepseek2"},
    {.golden = "deepseek_v3", .architecture = "deepseek2", .cut_kv_b = true},
    {.golden = "olmoe", .architecture = "olmoe"},
    {.golden = "olmo", .architecture = "olmo", .permuted = true},
    {.golden = "olmo2", .architecture = "olmo2", .post_norms = true},
    {.golden = "granite", .architecture = "granite", .permuted = true},
    {.golden = "granitemoe", .architecture = "granitemoe", .permuted = true},
    {.golden = "cohere", .architecture = "command-r"},
    {.golden = "cohere-qknorm", .architecture = "command-r"},
    {.golden = "cohere2", .architecture = "cohere2"},
    {.golden = "stablelm", .architecture = "stablelm"},
    {.golden = "stablelm-12b", .architecture = "stablelm"},
    // The converter leaves its window out: shorter than that.
    {.golden = "starcoder2", .architecture = "starcoder2", .tokens = 60},
    {.golden = "nemotron", .architecture = "nemotron", .norms_plus_one = true},
    {.golden = "seed_oss", .architecture = "seed_oss", .post_norms = true},
    {.golden = "smollm3", .architecture = "smollm3", .permuted = true},
    {.golden = "ernie4_5", .architecture = "ernie4_5"},
    {.golden = "hunyuan_v1_dense", .architecture = "hunyuan-dense"},
};

// The parts of names, HF's and GGUF's.
const std::map<std::string, std::string> kParts = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {"lm_head", "output"},
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.query_layernorm", "attn_q_norm"},
    {"self_attn.key_layernorm", "attn_k_norm"},
    {"self_attn.q_layernorm.norms.@", "attn_q_norm"},
    {"self_attn.k_layernorm.norms.@", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.c_fc", "ffn_up"},
    {"mlp.c_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.experts.@.gate_proj", "ffn_gate_exps"},
    {"mlp.experts.@.up_proj", "ffn_up_exps"},
    {"mlp.experts.@.down_proj", "ffn_down_exps"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"mlp.gate.e_score_correction", "exp_probs_b"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"block_sparse_moe.router.layer", "ffn_gate_inp"},
    {"block_sparse_moe.experts.@.w1", "ffn_gate_exps"},
    {"block_sparse_moe.experts.@.w3", "ffn_up_exps"},
    {"block_sparse_moe.experts.@.w2", "ffn_down_exps"},
    {"block_sparse_moe.output_linear", "ffn_down_exps"},
    {"tok_embeddings", "token_embd"},
    {"output", "output"},
    {"attention_norm", "attn_norm"},
    {"ffn_norm", "ffn_norm"},
    {"attention.wo", "attn_output"},
    {"feed_forward.w1", "ffn_gate"},
    {"feed_forward.w3", "ffn_up"},
    {"feed_forward.w2", "ffn_down"},
};

struct Array {
  std::vector<int64_t> shape;
  std::vector<float> values;

  // Rows [begin, end) of each of `parts` equal parts.
  Array rows(int64_t parts, int64_t begin, int64_t end) const {
    const int64_t width = shape.back();
    const auto part = static_cast<int64_t>(values.size()) / parts;
    Array result{{parts * (end - begin), width}, {}};
    for (int64_t p = 0; p < parts; ++p) {
      result.values.insert(result.values.end(), values.begin() + p * part + begin * width,
                           values.begin() + p * part + end * width);
    }
    return result;
  }
  // Each head's rows from halves to pairs.
  void permute(int64_t heads) {
    const int64_t width = shape.size() == 1 ? 1 : shape.back();
    const int64_t head_dim = static_cast<int64_t>(values.size()) / width / heads;
    const std::vector<float> from = values;
    for (int64_t row = 0; row < heads * head_dim; ++row) {
      const int64_t i = row % head_dim;
      const int64_t to = row - i + 2 * (i % (head_dim / 2)) + i / (head_dim / 2);
      std::copy_n(from.begin() + row * width, width, values.begin() + to * width);
    }
  }
};

Array load(const Checkpoint& checkpoint, const std::string& name) {
  const Tensor view = checkpoint.get(name).view;
  Array array;
  array.shape.assign(view.shape().sizes().begin(), view.shape().sizes().end());
  array.values.resize(static_cast<size_t>(view.numel()));
  select_convert(view.dtype(), DType::kF32)(view.raw(), view.numel(), array.values.data());
  return array;
}

class Converter {
 public:
  Converter(const Case& c, const ModelFiles& files)
      : case_(c), checkpoint_(*files.checkpoint), config_(files.config.json()) {}

  std::string bytes() {
    add_metadata();
    for (const std::string& name : checkpoint_.names()) add(name);
    for (auto& [name, array] : arrays_) {
      while (array.shape.size() > 1 && array.shape[0] == 1) array.shape.erase(array.shape.begin());
      const std::vector<uint64_t> dims(array.shape.rbegin(), array.shape.rend());
      gguf_.fp32_tensor(name, dims, array.values);
    }
    return gguf_.bytes();
  }

 private:
  std::string key(const char* suffix) const {
    return fmt::format("{}.{}", case_.architecture, suffix);
  }
  int64_t integer(const char* name) const { return config_.at(name).get<int64_t>(); }
  bool has(const char* name) const { return config_.contains(name) && !config_.at(name).is_null(); }

  void add_metadata() {
    gguf_.string("general.architecture", case_.architecture);
    const std::pair<const char*, const char*> integers[] = {
        {"block_count", "num_hidden_layers"},
        {"context_length", "max_position_embeddings"},
        {"embedding_length", "hidden_size"},
        {"feed_forward_length", "intermediate_size"},
        {"attention.head_count", "num_attention_heads"},
        {"attention.head_count_kv", "num_key_value_heads"},
        {"attention.key_length", "head_dim"},
        {"attention.value_length", "head_dim"},
        {"attention.q_lora_rank", "q_lora_rank"},
        {"attention.kv_lora_rank", "kv_lora_rank"},
        {"leading_dense_block_count", "first_k_dense_replace"},
        {"expert_shared_count", "n_shared_experts"},
        {"expert_group_count", "n_group"},
        {"expert_group_used_count", "topk_group"},
        {"expert_count", "n_routed_experts"},
        {"expert_count", "num_experts"},
        {"expert_count", "num_local_experts"},
        {"expert_used_count", "num_experts_per_tok"},
        {"expert_feed_forward_length", "moe_intermediate_size"},
        {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
        {"vocab_size", "vocab_size"},
    };
    for (const auto& [suffix, name] : integers) {
      const bool is_one_head = is_latent() && std::string_view(name) == "num_key_value_heads";
      const int64_t value = !has(name) ? 0 : is_one_head && case_.cut_kv_b ? 1 : integer(name);
      if (has(name)) gguf_.uint32(key(suffix), static_cast<uint32_t>(value));
    }
    const std::pair<const char*, const char*> floats[] = {
        {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
        {"attention.layer_norm_epsilon", "layer_norm_eps"},
        {"attention.layer_norm_epsilon", "norm_epsilon"},
        {"attention.layer_norm_epsilon", "norm_eps"},
        {"attention.scale", "attention_multiplier"},
        {"embedding_scale", "embedding_multiplier"},
        {"residual_scale", "residual_multiplier"},
        {"logit_scale", "logits_scaling"},
        {"logit_scale", "logit_scale"},
        {"attention.clamp_kqv", "clip_qkv"},
        {"expert_weights_scale", "routed_scaling_factor"},
    };
    for (const auto& [suffix, name] : floats) {
      if (has(name)) gguf_.float32(key(suffix), config_.at(name).get<float>());
    }
    if (is_latent()) add_latent_attention();
    const int64_t head_dim = has("head_dim")
                                 ? integer("head_dim")
                                 : integer("hidden_size") / integer("num_attention_heads");
    double theta = config_.value("rope_theta", 10000.0);
    if (has("rope_scaling") && config_.at("rope_scaling").contains("alpha")) {
      const auto d = static_cast<double>(head_dim);
      theta *= std::pow(config_.at("rope_scaling").at("alpha").get<double>(), d / (d - 2));
    }
    gguf_.float32(key("rope.freq_base"), static_cast<float>(theta));
    const double rotated =
        static_cast<double>(head_dim) * config_.value("partial_rotary_factor", 1.0);
    if (!is_latent()) gguf_.uint32(key("rope.dimension_count"), static_cast<uint32_t>(rotated));
    if (has("use_parallel_residual")) {
      gguf_.boolean(key("use_parallel_residual"), config_.at("use_parallel_residual").get<bool>());
    }
    if (std::string_view(case_.architecture) == "cohere2") {
      gguf_.uint32(key("attention.sliding_window"),
                   static_cast<uint32_t>(integer("sliding_window")));
    }
  }

  bool is_latent() const { return has("kv_lora_rank"); }

  void add_latent_attention() {
    const int64_t rope = integer("qk_rope_head_dim"), head = integer("qk_nope_head_dim") + rope;
    const int64_t rank = integer("kv_lora_rank"), v = integer("v_head_dim");
    const auto put_int = [&](const char* suffix, int64_t value) {
      gguf_.uint32(key(suffix), static_cast<uint32_t>(value));
    };
    put_int("attention.key_length", case_.cut_kv_b ? rank + rope : head);
    put_int("attention.value_length", case_.cut_kv_b ? rank : v);
    if (case_.cut_kv_b) {
      put_int("attention.key_length_mla", head);
      put_int("attention.value_length_mla", v);
    }
    put_int("rope.dimension_count", rope);
    put_int("expert_gating_func", config_.at("scoring_func") == "sigmoid" ? 2 : 1);
    gguf_.boolean(key("expert_weights_norm"), config_.at("norm_topk_prob").get<bool>());
    const Json& scaling = config_.at("rope_scaling");
    gguf_.string(key("rope.scaling.type"), "yarn")
        .float32(key("rope.scaling.factor"), scaling.at("factor").get<float>())
        .float32(key("rope.scaling.yarn_log_multiplier"),
                 0.1f * scaling.at("mscale_all_dim").get<float>());
    put_int("rope.scaling.original_context_length",
            scaling.at("original_max_position_embeddings").get<int64_t>());
  }

  // K's rows of each head transposed, [heads, rank, nope], and V's, [heads, v, rank].
  void put_cut(const std::string& front, const Array& array, int64_t heads) {
    const int64_t nope = integer("qk_nope_head_dim"), v = integer("v_head_dim");
    const int64_t rank = array.shape[1];
    const Array k = array.rows(heads, 0, nope);
    Array turned{{heads, rank, nope}, std::vector<float>(k.values.size())};
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t row = 0; row < nope; ++row) {
        for (int64_t i = 0; i < rank; ++i) {
          turned.values[static_cast<size_t>((h * rank + i) * nope + row)] =
              k.values[static_cast<size_t>((h * nope + row) * rank + i)];
        }
      }
    }
    Array values = array.rows(heads, nope, nope + v);
    values.shape = {heads, v, rank};
    put(front + "attn_k_b.weight", turned, 0);
    put(front + "attn_v_b.weight", values, 0);
  }

  void add(const std::string& hf) {
    static const std::regex kName(R"((?:model\.)?(?:layers\.(\d+)\.)?(.*)[._](weight|bias))");
    std::smatch match;
    ASSERT_TRUE(std::regex_match(hf, match, kName)) << hf;
    std::string part = match[2];
    Array array = load(checkpoint_, hf);
    const std::string front = match[1].matched ? fmt::format("blk.{}.", match[1].str()) : "";
    const std::string end = "." + match[3].str();

    const int64_t heads = integer("num_attention_heads");
    const int64_t kv_heads = has("num_key_value_heads") ? integer("num_key_value_heads") : heads;
    if (part == "attention.wqkv") {
      const int64_t head_dim = integer("hidden_size") / heads, group = heads / kv_heads * head_dim;
      put(front + "attn_q" + end, array.rows(kv_heads, 0, group), heads);
      put(front + "attn_k" + end, array.rows(kv_heads, group, group + head_dim), kv_heads);
      put(front + "attn_v" + end, array.rows(kv_heads, group + head_dim, group + 2 * head_dim), 0);
      return;
    }
    if (part == "self_attn.kv_b_proj" && case_.cut_kv_b) return put_cut(front, array, heads);
    if (part == "block_sparse_moe.input_linear") {
      const int64_t experts = array.shape[0], width = array.shape[1] / 2;
      for (const bool up : {false, true}) {
        Array half = array.rows(experts, up ? width : 0, up ? 2 * width : width);
        half.shape = {experts, width, array.shape[2]};
        put(front + (up ? "ffn_up_exps" : "ffn_gate_exps") + end, half, 0);
      }
      return;
    }
    static const std::regex kIndex(R"((.*\.(?:experts|norms)\.)(\d+)(.*))");
    const bool stacked = std::regex_match(part, match, kIndex);
    if (stacked) part = match[1].str() + "@" + match[3].str();
    std::string name = kParts.at(part);
    if (case_.post_norms && part == "post_attention_layernorm") name = "post_attention_norm";
    const bool is_norm = part == "norm" || part.ends_with("layernorm");
    if (case_.norms_plus_one && is_norm && end == ".weight") {
      for (float& value : array.values) value += 1.0f;
    }
    if (stacked) {
      // The names come sorted as text; there are fewer than ten of each.
      Array& all = arrays_[front + name + end];
      if (all.shape.empty()) {
        all.shape = array.shape;
        all.shape.insert(all.shape.begin(), 0);
      }
      ++all.shape[0];
      all.values.insert(all.values.end(), array.values.begin(), array.values.end());
      return;
    }
    put(front + name + end, array, name == "attn_q" ? heads : name == "attn_k" ? kv_heads : 0);
  }

  void put(const std::string& name, Array array, int64_t heads) {
    if (case_.permuted && heads > 0) array.permute(heads);
    arrays_[name] = std::move(array);
  }

  const Case& case_;
  const Checkpoint& checkpoint_;
  const Json& config_;
  GgufBuilder gguf_;
  std::map<std::string, Array> arrays_;
};

std::vector<float> compute(const std::string& path, int tokens) {
  LlmConfig config = tiny_config();
  config.dtype = "fp32";
  config.kv_dtype = "fp32";
  std::vector<int32_t> ids = tiny_prompt(tokens);
  ModelRunner runner(open_model(path), config, {});
  std::vector<float> all;
  runner.logits(ids, 0, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
    }
  });
  return all;
}

class GgufFamilyTest : public testing::TestWithParam<Case> {};

TEST_P(GgufFamilyTest, ComputesTheSameFromBothFormats) {
  const std::string folder = golden_folder(GetParam().golden);
  const ModelFiles files = open_model(folder);
  const TempFolder temp;
  const std::string path = temp.write("model.gguf", Converter(GetParam(), files).bytes());
  const std::vector<float> expected = compute(folder, GetParam().tokens);
  const std::vector<float> actual = compute(path, GetParam().tokens);
  ASSERT_EQ(actual.size(), expected.size());
  float largest = 1.0f;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], 1e-4 * largest) << "element " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GgufFamilyTest, testing::ValuesIn(kCases), [](const auto& test) {
  std::string name = test.param.golden;
  std::replace(name.begin(), name.end(), '-', '_');
  return name + (test.param.cut_kv_b ? "_cut" : "");
});

}  // namespace
}  // namespace lanner
