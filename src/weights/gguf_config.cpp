// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "weights/gguf_keys.h"
#include "weights/gguf_names.h"
#include "weights/gguf_rope.h"

namespace lanner {
namespace {

class GgufConfig {
 public:
  explicit GgufConfig(const GgufFile& file)
      : file_(file), architecture_(find_gguf_architecture(file)), keys_(file, architecture_.name) {}

  Json build() {
    config_["model_type"] = std::string(architecture_.model_type);
    config_["hidden_act"] = std::string(architecture_.hidden_act);
    if (!architecture_.fixed.empty()) config_.update(Json::parse(architecture_.fixed));
    for (const std::span<const GgufConfigRow> rows : architecture_.config) {
      for (const GgufConfigRow& row : rows) copy(row);
    }
    for (const GgufFlagRow& flag : architecture_.flags) {
      config_[std::string(flag.hf)] = file_.find_tensor(flag.tensor) != nullptr;
    }
    if (!config_.contains("rope_theta")) config_["rope_theta"] = 10000.0;
    if (!config_.contains("num_key_value_heads")) {
      config_["num_key_value_heads"] = config_["num_attention_heads"];
    }
    if (architecture_.latent_attention) {
      add_latent_attention();
    } else {
      add_head_dim();
    }
    add_vocab_size();
    add_gguf_rope_scaling(keys_, architecture_, config_);
    add_token_ids();
    config_["tie_word_embeddings"] = file_.find_tensor("output.weight") == nullptr;
    add_what_only_one_family_has();
    rename();
    if (file_.optional_bool(keys_.use("attention.causal")) == false) {
      keys_.refuse("attention.causal");
    }
    for (const char* suffix :
         {"expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count"}) {
      if (keys_.used(suffix)) continue;
      if (file_.optional_int(keys_.use(suffix)).value_or(0) != 0) keys_.refuse(suffix);
    }
    keys_.refuse_unknown();
    return std::move(config_);
  }

 private:
  void copy(const GgufConfigRow& row) {
    const std::string key = keys_.use(row.gguf);
    if (!row.required && !file_.contains(key)) return;
    const std::string hf(row.hf);
    if (row.kind == GgufConfigRow::kCount && file_.required_int(key) == 0) return;
    if (row.kind == GgufConfigRow::kBool) {
      config_[hf] = file_.optional_bool(key).value_or(false);
    } else if (row.kind != GgufConfigRow::kDouble) {
      const int64_t value = file_.required_int(key);
      if (value < 1 || value > INT32_MAX) {
        throw_error(ErrorCode::kInvalidArgument, "{}: {} is {}, expected 1 to {}", file_.path(),
                    quote_name(key), value, INT32_MAX);
      }
      config_[hf] = value;
    } else {
      const double value = file_.required_double(key);
      if (!std::isfinite(value) || value <= 0.0) {
        throw_error(ErrorCode::kInvalidArgument, "{}: {} is {}, expected a positive number",
                    file_.path(), quote_name(key), value);
      }
      config_[hf] = value;
    }
  }

  int64_t config_int(const char* key) const { return config_.at(key).get<int64_t>(); }

  void add_head_dim() {
    const int64_t heads = config_int("num_attention_heads");
    const int64_t default_dim = config_int("hidden_size") / heads;
    const std::string key_length = keys_.use("attention.key_length");
    const int64_t head_dim = file_.optional_int(key_length).value_or(default_dim);
    if (head_dim < 1 || head_dim > INT32_MAX) {
      throw_error(ErrorCode::kInvalidArgument, "{}: the size of a head is {} ({} heads)",
                  file_.path(), head_dim, heads);
    }
    for (const char* suffix : {"attention.value_length", "rope.dimension_count"}) {
      const int64_t value = file_.optional_int(keys_.use(suffix)).value_or(head_dim);
      if (architecture_.partial_rope && std::string_view(suffix).starts_with("rope") && value > 0 &&
          value <= head_dim) {
        // A little more than the ratio, so that its product with head_dim is not rounded below.
        const double ratio =
            (static_cast<double>(value) + 1.0 / 64) / static_cast<double>(head_dim);
        config_["partial_rotary_factor"] = std::min(ratio, 1.0);
        continue;
      }
      if (value != head_dim) {
        throw_error(ErrorCode::kUnsupported,
                    "{}: {}.{} is {}, but the heads have {} elements: not supported", file_.path(),
                    architecture_.name, suffix, value, head_dim);
      }
    }
    config_["head_dim"] = head_dim;
  }

  // DeepSeek: what one value of a key means has changed. Newer files describe what is cached, one
  // head of the latent and the rotated part, and give the sizes of the heads by keys of their own.
  void add_latent_attention() {
    const auto integer = [&](const char* suffix) { return file_.optional_int(keys_.use(suffix)); };
    const int64_t cached_k = file_.required_int(keys_.use("attention.key_length"));
    const int64_t cached_v = file_.required_int(keys_.use("attention.value_length"));
    const int64_t head_dim = integer("attention.key_length_mla").value_or(cached_k);
    const int64_t rope_dim = file_.required_int(keys_.use("rope.dimension_count"));
    if (rope_dim < 1 || head_dim <= rope_dim || head_dim > INT32_MAX) {
      throw_error(ErrorCode::kInvalidArgument, "{}: heads of {} elements cannot rotate {} of them",
                  file_.path(), head_dim, rope_dim);
    }
    config_["num_key_value_heads"] = config_["num_attention_heads"];
    config_["qk_rope_head_dim"] = rope_dim;
    config_["qk_nope_head_dim"] = head_dim - rope_dim;
    config_["v_head_dim"] = integer("attention.value_length_mla").value_or(cached_v);

    const int64_t groups = add_expert_groups();
    const int64_t gating = integer("expert_gating_func").value_or(kSoftmax);
    if (gating == kSigmoid) {
      config_["model_type"] = "deepseek_v3";
    } else if (gating == kSoftmax) {
      config_["topk_method"] = groups > 1 ? "group_limited_greedy" : "greedy";
    } else {
      keys_.refuse("expert_gating_func");
    }
  }

  // Returns the number of groups.
  int64_t add_expert_groups() {
    const auto integer = [&](const char* suffix) {
      return std::max<int64_t>(file_.optional_int(keys_.use(suffix)).value_or(1), 1);
    };
    const int64_t groups = integer("expert_group_count");
    config_["n_group"] = groups;
    config_["topk_group"] = integer("expert_group_used_count");
    return groups;
  }

  void add_vocab_size() {
    const GgufTensorInfo* embedding = file_.find_tensor("token_embd.weight");
    if (embedding == nullptr) {
      throw_error(ErrorCode::kNotFound, "{}: no tensor 'token_embd.weight'", file_.path());
    }
    const int64_t rows = embedding->shape[0];
    const int64_t vocab_size = file_.optional_int(keys_.use("vocab_size")).value_or(rows);
    if (vocab_size != rows || rows > INT32_MAX) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{}: the vocabulary size is {}, but 'token_embd.weight' has {} rows",
                  file_.path(), vocab_size, rows);
    }
    config_["vocab_size"] = rows;
  }

  bool has_tensor(const char* name) const { return file_.find_tensor(name) != nullptr; }

  // HF's llama has biases on all four projections of attention or on none, likewise on the MLP.
  void add_biases() {
    const bool attention = has_tensor("blk.0.attn_q.bias");
    if (attention != has_tensor("blk.0.attn_output.bias")) {
      throw_error(
          ErrorCode::kUnsupported,
          "{}: a bias on only one of 'blk.0.attn_q' and 'blk.0.attn_output' is not supported",
          file_.path());
    }
    config_["attention_bias"] = attention;
    config_["mlp_bias"] = has_tensor("blk.0.ffn_up.bias");
  }

  void add_token_ids() {
    const GenerationConfig generation = read_gguf_generation_config(file_);
    if (generation.bos_token_id) config_["bos_token_id"] = *generation.bos_token_id;
    if (generation.pad_token_id) config_["pad_token_id"] = *generation.pad_token_id;
    const std::vector<int32_t>& ends = generation.eos_token_ids;
    if (ends.size() == 1) config_["eos_token_id"] = ends[0];
    if (ends.size() > 1) config_["eos_token_id"] = ends;
  }

  void add_what_only_one_family_has() {
    const std::string_view type = architecture_.model_type;
    if (type == "llama") add_biases();
    if (type == "gemma2") add_gemma_scale(/*layers_of_27b=*/46);
    if (type == "gemma3_text") {
      add_gemma_scale(/*layers_of_27b=*/62);
      add_gemma3_windows();
    }
    if (type == "exaone4") add_layer_types(4);
    if (type == "chatglm") {
      config_["rope_ratio"] = config_.at("rope_theta").get<double>() / 10000.0;
    }
    if (type == "glm4_moe") {
      add_expert_groups();
      if (file_.optional_int(keys_.use("expert_gating_func")).value_or(kSigmoid) != kSigmoid) {
        keys_.refuse("expert_gating_func");
      }
      const int64_t further = file_.optional_int(keys_.use("nextn_predict_layers")).value_or(0);
      config_["num_hidden_layers"] = config_int("num_hidden_layers") - further;
    }
    if (type == "baichuan") add_baichuan_positions();
  }

  // GGUF does not say it; llama.cpp goes by the number of layers as well.
  void add_gemma_scale(int64_t layers_of_27b) {
    const int64_t of_head = config_int("head_dim");
    const bool is_27b = config_int("num_hidden_layers") == layers_of_27b;
    config_["query_pre_attn_scalar"] =
        is_27b ? config_int("hidden_size") / config_int("num_attention_heads") : of_head;
  }

  void add_gemma3_windows() {
    const bool has_windows = config_.contains("sliding_window");
    if (!has_windows) config_["sliding_window"] = config_["max_position_embeddings"];
    if (!config_.contains("rope_local_base_freq")) config_["rope_local_base_freq"] = 10000.0;
    add_layer_types(has_windows ? 6 : 1);
  }

  // Which layers have a window: a list, or every one but each n-th.
  void add_layer_types(int64_t default_period) {
    const std::string key = keys_.use("attention.sliding_window_pattern");
    const auto layers = static_cast<size_t>(config_int("num_hidden_layers"));
    std::vector<int64_t> windowed;
    if (file_.is_array(key)) {
      windowed = file_.ints(key);
      if (windowed.size() != layers) {
        throw_error(ErrorCode::kInvalidArgument, "{}: {} has {} elements, but there are {} layers",
                    file_.path(), quote_name(key), windowed.size(), layers);
      }
    } else {
      const int64_t period = file_.optional_int(key).value_or(default_period);
      for (size_t i = 0; i < layers; ++i) {
        windowed.push_back(period > 0 && (static_cast<int64_t>(i) + 1) % period != 0);
      }
    }
    if (!config_.contains("sliding_window")) return;
    Json types = Json::array();
    for (const int64_t is_windowed : windowed) {
      types.push_back(is_windowed != 0 ? "sliding_attention" : "full_attention");
    }
    config_["layer_types"] = types;
  }

  // The larger size, of 40 layers, has ALiBi; GGUF does not say it.
  void add_baichuan_positions() {
    constexpr int64_t kLayersOf13b = 40;
    if (config_.at("rope_theta").get<double>() != 10000.0) keys_.refuse("rope.freq_base");
    config_.erase("rope_theta");
    if (config_int("num_hidden_layers") != kLayersOf13b) return;
    config_["model_max_length"] = config_["max_position_embeddings"];
    config_.erase("max_position_embeddings");
  }

  void rename() {
    for (const auto& [from, to] : architecture_.renames) {
      const auto found = config_.find(from);
      if (found == config_.end()) continue;
      if (!to.empty()) config_[std::string(to)] = *found;
      config_.erase(std::string(from));
    }
  }

  // llama.cpp's numbers of what makes weights of a router's scores.
  static constexpr int64_t kSoftmax = 1;
  static constexpr int64_t kSigmoid = 2;

  const GgufFile& file_;
  const GgufArchitecture& architecture_;
  GgufKeys keys_;
  Json config_ = Json::object();
};

}  // namespace

ConfigReader read_gguf_config(const GgufFile& file) {
  return ConfigReader(GgufConfig(file).build(), file.path());
}

GenerationConfig read_gguf_generation_config(const GgufFile& file) {
  GenerationConfig config;
  const auto token_id = [&](const char* name) -> std::optional<int32_t> {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    const std::optional<int64_t> id = file.optional_int(key);
    if (!id || *id == -1 || *id == 0xffffffff) return std::nullopt;
    if (*id < 0 || *id > INT32_MAX) {
      throw_error(ErrorCode::kCorruptFile, "{}: {} is {}, no token id", file.path(),
                  quote_name(key), *id);
    }
    return static_cast<int32_t>(*id);
  };
  config.bos_token_id = token_id("bos");
  config.pad_token_id = token_id("padding");
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::optional<int32_t> id = token_id(name);
    if (id && std::ranges::find(config.eos_token_ids, *id) == config.eos_token_ids.end()) {
      config.eos_token_ids.push_back(*id);
    }
  }
  config.temperature = file.optional_double("general.sampling.temp");
  config.top_p = file.optional_double("general.sampling.top_p");
  config.min_p = file.optional_double("general.sampling.min_p");
  config.repetition_penalty = file.optional_double("general.sampling.penalty_repeat");
  if (const auto top_k = file.optional_int("general.sampling.top_k")) {
    config.top_k = static_cast<int>(std::clamp<int64_t>(*top_k, -1, INT32_MAX));
  }
  config.validate(file.path());
  return config;
}

}  // namespace lanner
