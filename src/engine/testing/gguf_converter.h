// SPDX-License-Identifier: Apache-2.0
// For tests only: writes golden folders as GGUF files the way llama.cpp's converter does: its
// names, its keys, its permutation of Q and K, experts stacked.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <regex>
#include <set>
#include <stdexcept>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/testing/gguf_array.h"
#include "weights/model_files.h"
#include "weights/testing/file_builders.h"

namespace lanner {

// A golden folder, as which architecture it is written, and what the converter does to it.
struct GgufCase {
  const char* golden;
  const char* architecture;
  bool permuted = false;
  bool norms_plus_one = false;
  bool post_norms = false;  // post_attention_layernorm is the one of the attention's output
  bool cut_kv_b = false;    // as newer converters do
  int tokens = 70;          // of the prompt
  // The layers from `repeated_from` on over and over, to so many; 0: as in the folder.
  int repeated_from = 0;
  int repeated_to = 0;
  // Keys of config.json that are other than the folder's, because GGUF has no word for those.
  const char* changes = "{}";
};

// The parts of names, HF's and GGUF's.
inline const std::map<std::string, std::string> kGgufParts = {
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
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_self_attn_layernorm", "post_attention_norm"},
    {"post_mlp_layernorm", "post_ffw_norm"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"self_attn.sinks", "attn_sinks"},
    {"mlp.router", "ffn_gate_inp"},
    {"wte", "token_embd"},
    {"wpe", "position_embd"},
    {"ln_f", "output_norm"},
    {"ln_1", "attn_norm"},
    {"ln_2", "ffn_norm"},
    {"attn.c_attn", "attn_qkv"},
    {"attn.c_proj", "attn_output"},
    {"word_embeddings", "token_embd"},
    {"embedding.word_embeddings", "token_embd"},
    {"final_layernorm", "output_norm"},
    {"output_layer", "output"},
    {"ln_attn", "attn_norm_2"},
    {"ln_mlp", "attn_norm"},
    {"self_attention.query_key_value", "attn_qkv"},
    {"self_attention.dense", "attn_output"},
    {"mlp.dense_h_to_4h", "ffn_up"},
    {"mlp.dense_4h_to_h", "ffn_down"},
};

// Writes a model as GGUF.
class GgufConverter {
 public:
  GgufConverter(const GgufCase& c, const ModelFiles& files)
      : case_(c), checkpoint_(*files.checkpoint), config_(files.config.json()) {}

  std::string bytes() {
    add_metadata();
    for (const std::string& name : checkpoint_.names()) add(name);
    if (is("glm4moe")) {  // a layer that predicts a further token
      const std::string front = fmt::format("blk.{}.", integer("num_hidden_layers"));
      for (const char* name : {"attn_norm.weight", "nextn.eh_proj.weight"}) {
        arrays_[front + name] = {{4}, {1, 2, 3, 4}};
      }
    }
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

  bool is(const char* architecture) const {
    return std::string_view(case_.architecture) == architecture;
  }
  void put_int(const char* suffix, int64_t value) {
    if (written_.insert(suffix).second) gguf_.uint32(key(suffix), static_cast<uint32_t>(value));
  }
  void put_float(const char* suffix, double value) {
    if (written_.insert(suffix).second) gguf_.float32(key(suffix), static_cast<float>(value));
  }
  // The first of these keys of config.json that is there.
  int64_t first_of(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (has(name)) return integer(name);
    }
    throw std::runtime_error(fmt::format("{}: none of the keys", case_.golden));
  }

  void add_metadata() {
    gguf_.string("general.architecture", case_.architecture);
    if (is("falcon")) {  // the converter's own words
      put_int("context_length", 2048);
      const bool grouped = config_.at("new_decoder_architecture");
      put_int("attention.head_count_kv", grouped ? integer("num_kv_heads") : 1);
    }
    if (is("falcon") || is("gpt2")) {
      put_int("feed_forward_length", 4 * first_of({"hidden_size", "n_embd"}));
    }
    if (is("glm4moe")) {
      put_int("block_count", integer("num_hidden_layers") + integer("num_nextn_predict_layers"));
      put_int("nextn_predict_layers", integer("num_nextn_predict_layers"));
      put_int("expert_gating_func", 2);
      gguf_.boolean(key("expert_weights_norm"), config_.at("norm_topk_prob").get<bool>());
    }
    const std::pair<const char*, const char*> integers[] = {
        {"block_count", "num_hidden_layers"},
        {"block_count", "num_layers"},
        {"block_count", "n_layer"},
        {"context_length", "max_position_embeddings"},
        {"context_length", "seq_length"},
        {"context_length", "n_positions"},
        {"context_length", "model_max_length"},
        {"embedding_length", "hidden_size"},
        {"embedding_length", "n_embd"},
        {"feed_forward_length", "intermediate_size"},
        {"feed_forward_length", "ffn_hidden_size"},
        {"attention.head_count", "num_attention_heads"},
        {"attention.head_count", "n_head"},
        {"attention.head_count_kv", "num_key_value_heads"},
        {"attention.head_count_kv", "multi_query_group_num"},
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
      if (has(name)) put_int(suffix, is_one_head && case_.cut_kv_b ? 1 : integer(name));
    }
    const std::pair<const char*, const char*> floats[] = {
        {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
        {"attention.layer_norm_rms_epsilon", "layernorm_epsilon"},
        {"attention.layer_norm_epsilon", "layer_norm_eps"},
        {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
        {"attention.layer_norm_epsilon", "norm_epsilon"},
        {"attention.layer_norm_epsilon", "norm_eps"},
        {"attention.scale", "attention_multiplier"},
        {"embedding_scale", "embedding_multiplier"},
        {"residual_scale", "residual_multiplier"},
        {"logit_scale", "logits_scaling"},
        {"logit_scale", "logit_scale"},
        {"attention.clamp_kqv", "clip_qkv"},
        {"expert_weights_scale", "routed_scaling_factor"},
        {"attn_logit_softcapping", "attn_logit_softcapping"},
        {"final_logit_softcapping", "final_logit_softcapping"},
    };
    for (const auto& [suffix, name] : floats) {
      if (has(name)) put_float(suffix, config_.at(name).get<double>());
    }
    if (is_latent()) add_latent_attention();
    add_rope();
    if (has("use_parallel_residual")) {
      gguf_.boolean(key("use_parallel_residual"), config_.at("use_parallel_residual").get<bool>());
    }
    add_windows();
  }

  void add_windows() {
    if (is("gpt-oss")) put_int("expert_feed_forward_length", integer("intermediate_size"));
    const bool named = is("cohere2") || is("gemma2") || is("gemma3") || is("phi3") ||
                       is("gpt-oss") || is("exaone4");
    if (!named) return;
    put_int("attention.sliding_window", has("sliding_window") ? integer("sliding_window") : 0);
    if (is("gemma3")) {
      put_int("attention.sliding_window_pattern", integer("sliding_window_pattern"));
      put_float("rope.freq_base_swa", config_.at("rope_local_base_freq").get<double>());
    }
    if (!is("exaone4")) return;
    std::vector<uint8_t> windowed;
    for (const Json& type : config_.at("layer_types")) {
      windowed.push_back(type == "sliding_attention");
    }
    gguf_.array<uint8_t>(key("attention.sliding_window_pattern"), 7, windowed);
  }

  void add_rope() {
    if (is("gpt2")) return;
    const int64_t head_dim = has("head_dim") ? integer("head_dim")
                                             : first_of({"hidden_size", "n_embd"}) /
                                                   first_of({"num_attention_heads", "n_head"});
    double theta = config_.value("rope_theta", 10000.0) * config_.value("rope_ratio", 1.0);
    const Json scaling = has("rope_scaling") ? config_.at("rope_scaling") : Json::object();
    if (scaling.contains("alpha")) {
      const auto d = static_cast<double>(head_dim);
      theta *= std::pow(scaling.at("alpha").get<double>(), d / (d - 2));
    }
    if (!is("gemma") && !is("baichuan")) put_float("rope.freq_base", theta);
    const double partial = config_.value("partial_rotary_factor", has("kv_channels") ? 0.5 : 1.0);
    if (!is_latent() && !is("falcon")) {
      put_int("rope.dimension_count",
              static_cast<int64_t>(static_cast<double>(head_dim) * partial));
    }
    const std::string type = scaling.value("rope_type", scaling.value("type", ""));
    if (type == "llama3") add_llama3_factors(scaling, theta, head_dim);
    if (type == "longrope") {
      const double original = static_cast<double>(integer("original_max_position_embeddings"));
      const double stretch = static_cast<double>(integer("max_position_embeddings")) / original;
      put_int("rope.scaling.original_context_length", static_cast<int64_t>(original));
      put_float("rope.scaling.attn_factor",
                std::sqrt(1.0 + std::log(stretch) / std::log(original)));
      for (const char* length : {"long", "short"}) {
        const auto factors = scaling.at(std::string(length) + "_factor").get<std::vector<float>>();
        arrays_[fmt::format("rope_factors_{}.weight", length)] = {
            {static_cast<int64_t>(factors.size())}, factors};
      }
    }
    if (type == "yarn" && !is_latent()) {
      gguf_.string(key("rope.scaling.type"), "yarn");
      put_float("rope.scaling.factor", scaling.at("factor").get<double>());
      put_int("rope.scaling.original_context_length",
              scaling.at("original_max_position_embeddings").get<int64_t>());
      for (const char* beta : {"beta_fast", "beta_slow"}) {
        put_float(beta == std::string("beta_fast") ? "rope.scaling.yarn_beta_fast"
                                                   : "rope.scaling.yarn_beta_slow",
                  scaling.at(beta).get<double>());
      }
    }
  }

  void add_llama3_factors(const Json& scaling, double theta, int64_t head_dim) {
    const double original = scaling.at("original_max_position_embeddings").get<double>();
    const double low = scaling.at("low_freq_factor").get<double>();
    const double high = scaling.at("high_freq_factor").get<double>();
    const double factor = scaling.at("factor").get<double>();
    GgufArray array{{head_dim / 2}, {}};
    for (int64_t i = 0; i < head_dim / 2; ++i) {
      const double turns =
          original / (2.0 * std::numbers::pi) *
          std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
      array.values.push_back(static_cast<float>(1.0 / ((1.0 - keep) / factor + keep)));
    }
    arrays_["rope_freqs.weight"] = array;
  }

  bool is_latent() const { return has("kv_lora_rank"); }

  void add_latent_attention() {
    const int64_t rope = integer("qk_rope_head_dim"), head = integer("qk_nope_head_dim") + rope;
    const int64_t rank = integer("kv_lora_rank"), v = integer("v_head_dim");
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
  void put_cut(const std::string& front, const GgufArray& array, int64_t heads) {
    const int64_t nope = integer("qk_nope_head_dim"), v = integer("v_head_dim");
    const int64_t rank = array.shape[1];
    const GgufArray k = array.rows(heads, 0, nope);
    GgufArray turned{{heads, rank, nope}, std::vector<float>(k.values.size())};
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t row = 0; row < nope; ++row) {
        for (int64_t i = 0; i < rank; ++i) {
          turned.values[static_cast<size_t>((h * rank + i) * nope + row)] =
              k.values[static_cast<size_t>((h * nope + row) * rank + i)];
        }
      }
    }
    GgufArray values = array.rows(heads, nope, nope + v);
    values.shape = {heads, v, rank};
    put(front + "attn_k_b.weight", turned, 0);
    put(front + "attn_v_b.weight", values, 0);
  }

  void add(const std::string& hf) {
    static const std::regex kName(
        R"((?:model\.|transformer\.)?(?:encoder\.)?(?:(?:layers|h)\.(\d+)\.)?(.*?)(?:[._](weight|bias))?)");
    std::smatch match;
    ASSERT_TRUE(std::regex_match(hf, match, kName)) << hf;
    std::string part = match[2];
    if (hf.ends_with("inv_freq") || hf.ends_with(".attn.bias")) return;
    GgufArray array = load_array(checkpoint_, hf);
    const std::string front = match[1].matched ? fmt::format("blk.{}.", match[1].str()) : "";
    const std::string end = "." + (match[3].matched ? match[3].str() : "weight");

    const int64_t heads = first_of({"num_attention_heads", "n_head"});
    const int64_t kv_heads = has("num_key_value_heads") ? integer("num_key_value_heads") : heads;
    if (add_fused(front, part, end, array, heads)) return;
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
        GgufArray half = array.rows(experts, up ? width : 0, up ? 2 * width : width);
        half.shape = {experts, width, array.shape[2]};
        put(front + (up ? "ffn_up_exps" : "ffn_gate_exps") + end, half, 0);
      }
      return;
    }
    static const std::regex kIndex(R"((.*\.(?:experts|norms)\.)(\d+)(.*))");
    const bool stacked = std::regex_match(part, match, kIndex);
    if (stacked) part = match[1].str() + "@" + match[3].str();
    std::string name = kGgufParts.at(part);
    if (case_.post_norms && part == "post_attention_layernorm") name = "post_attention_norm";
    const bool is_norm = part.ends_with("norm");
    if (case_.norms_plus_one && is_norm && end == ".weight") {
      for (float& value : array.values) value += 1.0f;
    }
    if (stacked) {
      // The names come sorted as text; there are fewer than ten of each.
      GgufArray& all = arrays_[front + name + end];
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

  // Matrices that the converter cuts, turns or orders otherwise. Returns whether it was one.
  bool add_fused(const std::string& front, const std::string& part, const std::string& end,
                 const GgufArray& array, int64_t heads) {
    const bool is_bias = end == ".bias";
    if (part == "mlp.experts.gate_up_proj") {
      const GgufArray turned = is_bias ? array : array.transposed();
      put(front + "ffn_gate_exps" + end, turned.alternate(0, is_bias), 0);
      put(front + "ffn_up_exps" + end, turned.alternate(1, is_bias), 0);
      return true;
    }
    if (part == "mlp.experts.down_proj") {
      put(front + "ffn_down_exps" + end, is_bias ? array : array.transposed(), 0);
      return true;
    }
    if (is("gpt2") && !is_bias && part.find(".c_") != std::string::npos) {
      put(front + kGgufParts.at(part) + end, array.transposed(), 0);
      return true;
    }
    if (part == "self_attn.W_pack") {
      const int64_t third = array.shape[0] / 3;
      const char* names[] = {"attn_q", "attn_k", "attn_v"};
      for (int i = 0; i < 3; ++i) {
        put(front + names[i] + end, array.rows(1, i * third, (i + 1) * third), i < 2 ? heads : 0);
      }
      return true;
    }
    if (is("falcon") && part == "self_attention.query_key_value") {
      const bool grouped = config_.at("new_decoder_architecture");
      const int64_t kv_heads = grouped ? integer("num_kv_heads") : 1;
      const int64_t head_dim = array.shape[0] / (heads + 2 * kv_heads);
      const int64_t queries = heads / kv_heads * head_dim;
      GgufArray all = array.rows(kv_heads, 0, queries);
      for (const int64_t begin : {queries, queries + head_dim}) {
        const GgufArray further = array.rows(kv_heads, begin, begin + head_dim);
        all.values.insert(all.values.end(), further.values.begin(), further.values.end());
      }
      all.shape = array.shape;
      put(front + "attn_qkv" + end, all, 0);
      return true;
    }
    if (part == "lm_head" && config_.value("norm_head", false)) {
      GgufArray unit = array;  // as Baichuan 2's README does it before a conversion
      const auto width = static_cast<size_t>(array.shape.back());
      for (size_t row = 0; row < unit.values.size(); row += width) {
        double squares = 0;
        for (size_t i = 0; i < width; ++i) squares += std::pow(unit.values[row + i], 2.0);
        for (size_t i = 0; i < width; ++i) {
          unit.values[row + i] = static_cast<float>(unit.values[row + i] / std::sqrt(squares));
        }
      }
      put("output.weight", unit, 0);
      return true;
    }
    return false;
  }

  void put(const std::string& name, GgufArray array, int64_t heads) {
    if (case_.permuted && heads > 0) array.permute(heads);
    arrays_[name] = std::move(array);
  }

  const GgufCase& case_;
  const Checkpoint& checkpoint_;
  const Json& config_;
  GgufBuilder gguf_;
  std::set<std::string> written_;
  std::map<std::string, GgufArray> arrays_;
};

}  // namespace lanner
