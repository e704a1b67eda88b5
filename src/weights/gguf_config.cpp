// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "weights/gguf_names.h"

namespace lanner {
namespace {

// Keys of an architecture that say nothing about the maths.
constexpr std::string_view kWithoutEffect[] = {
    "rope.scaling.finetuned",  // a remark on how the model was trained
    "tensor_data_layout",      // which converter: the rows of Q and K are permuted alike in all
};

class GgufConfig {
 public:
  explicit GgufConfig(const GgufFile& file)
      : file_(file), architecture_(find_gguf_architecture(file)) {}

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
    add_rope_scaling();
    if (architecture_.model_type == "llama") add_biases();
    add_token_ids();
    config_["tie_word_embeddings"] = file_.find_tensor("output.weight") == nullptr;
    if (file_.optional_bool(use("attention.causal")) == false) refuse("attention.causal");
    for (const char* suffix : {"expert_count", "expert_used_count"}) {
      if (used_.contains(fmt::format("{}.{}", architecture_.name, suffix))) continue;
      if (file_.optional_int(use(suffix)).value_or(0) != 0) refuse(suffix);
    }
    refuse_unknown_keys();
    return std::move(config_);
  }

 private:
  // The full key; it counts as used from now on.
  std::string use(std::string_view suffix) {
    std::string key = fmt::format("{}.{}", architecture_.name, suffix);
    used_.insert(key);
    return key;
  }

  [[noreturn]] void refuse(std::string_view suffix) const {
    throw_error(ErrorCode::kUnsupported, "{}: a model with {}.{} is not supported", file_.path(),
                architecture_.name, suffix);
  }

  void copy(const GgufConfigRow& row) {
    const std::string key = use(row.gguf);
    if (!row.required && !file_.contains(key)) return;
    const std::string hf(row.hf);
    if (row.kind == GgufConfigRow::kBool) {
      config_[hf] = file_.optional_bool(key).value_or(false);
    } else if (row.kind == GgufConfigRow::kInt) {
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
    const std::string key_length = use("attention.key_length");
    const int64_t head_dim = file_.optional_int(key_length).value_or(default_dim);
    if (head_dim < 1 || head_dim > INT32_MAX) {
      throw_error(ErrorCode::kInvalidArgument, "{}: the size of a head is {} ({} heads)",
                  file_.path(), head_dim, heads);
    }
    for (const char* suffix : {"attention.value_length", "rope.dimension_count"}) {
      const int64_t value = file_.optional_int(use(suffix)).value_or(head_dim);
      if (architecture_.partial_rope && std::string_view(suffix).starts_with("rope") && value > 0 &&
          value < head_dim) {
        // A little more than the ratio, so that its product with head_dim is not rounded below.
        config_["partial_rotary_factor"] =
            (static_cast<double>(value) + 1.0 / 64) / static_cast<double>(head_dim);
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
    const auto integer = [&](const char* suffix) { return file_.optional_int(use(suffix)); };
    const int64_t cached_k = file_.required_int(use("attention.key_length"));
    const int64_t cached_v = file_.required_int(use("attention.value_length"));
    const int64_t head_dim = integer("attention.key_length_mla").value_or(cached_k);
    const int64_t rope_dim = file_.required_int(use("rope.dimension_count"));
    if (rope_dim < 1 || head_dim <= rope_dim || head_dim > INT32_MAX) {
      throw_error(ErrorCode::kInvalidArgument, "{}: heads of {} elements cannot rotate {} of them",
                  file_.path(), head_dim, rope_dim);
    }
    config_["num_key_value_heads"] = config_["num_attention_heads"];
    config_["qk_rope_head_dim"] = rope_dim;
    config_["qk_nope_head_dim"] = head_dim - rope_dim;
    config_["v_head_dim"] = integer("attention.value_length_mla").value_or(cached_v);

    const int64_t gating = integer("expert_gating_func").value_or(1);
    const int64_t groups = integer("expert_group_count").value_or(1);
    const int64_t top_groups = integer("expert_group_used_count").value_or(1);
    config_["n_group"] = groups;
    config_["topk_group"] = top_groups;
    if (gating == 2) {  // sigmoid
      config_["model_type"] = "deepseek_v3";
    } else if (gating == 1) {
      config_["topk_method"] = groups > 1 ? "group_limited_greedy" : "greedy";
    } else {
      refuse("expert_gating_func");
    }
  }

  void add_vocab_size() {
    const GgufTensorInfo* embedding = file_.find_tensor("token_embd.weight");
    if (embedding == nullptr) {
      throw_error(ErrorCode::kNotFound, "{}: no tensor 'token_embd.weight'", file_.path());
    }
    const int64_t rows = embedding->shape[0];
    const int64_t vocab_size = file_.optional_int(use("vocab_size")).value_or(rows);
    if (vocab_size != rows || rows > INT32_MAX) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{}: the vocabulary size is {}, but 'token_embd.weight' has {} rows",
                  file_.path(), vocab_size, rows);
    }
    config_["vocab_size"] = rows;
  }

  void add_rope_scaling() {
    const std::string type_key = use("rope.scaling.type");
    const std::string factor_key = use("rope.scaling.factor");
    const std::string linear_key = use("rope.scale_linear");  // in old files
    const std::string original_key = use("rope.scaling.original_context_length");
    const std::string attention_key = use("rope.scaling.attn_factor");
    const bool has_factors = file_.find_tensor("rope_freqs.weight") != nullptr;

    const std::optional<double> old_factor = file_.optional_double(linear_key);
    const std::string type =
        file_.optional_string(type_key).value_or(old_factor ? "linear" : "none");
    const double factor = file_.optional_double(factor_key).value_or(old_factor.value_or(1.0));
    const double attention_factor = file_.optional_double(attention_key).value_or(1.0);
    if (!std::isfinite(factor) || factor <= 0.0) {
      throw_error(ErrorCode::kInvalidArgument, "{}: {} is {}, expected a positive number",
                  file_.path(), quote_name(factor_key), factor);
    }
    // What YaRN's stretch of the scores is made from; it takes that of cos and sin back.
    const std::string log_key = use("rope.scaling.yarn_log_multiplier");
    const double log_multiplier = file_.optional_double(log_key).value_or(0.0);
    if (log_multiplier != 0.0 && !architecture_.latent_attention) {
      refuse("rope.scaling.yarn_log_multiplier");
    }
    if (type != "yarn" && attention_factor != 1.0) refuse("rope.scaling.attn_factor");
    if (type == "yarn" && !has_factors) {
      config_["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", factor}};
      Json& scaling = config_["rope_scaling"];
      if (const auto original = file_.optional_int(original_key)) {
        scaling["original_max_position_embeddings"] = *original;
      }
      if (log_multiplier != 0.0) {
        scaling["mscale"] = scaling["mscale_all_dim"] = log_multiplier / 0.1;
      }
      // GGUF's factor comes on top of YaRN's own 0.1 ln(factor) + 1, HF's replaces it.
      if (attention_factor != 1.0) {
        scaling["attention_factor"] = attention_factor * (0.1 * std::log(factor) + 1.0);
      }
    } else if (type == "linear" && !has_factors) {
      if (factor != 1.0) config_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor}};
    } else if (type != "none" && !(has_factors && factor == 1.0)) {
      throw_error(ErrorCode::kUnsupported, "{}: rope scaling {}{} is not supported", file_.path(),
                  quote_name(type), has_factors ? " together with 'rope_freqs.weight'" : "");
    }
    if (has_factors) config_["rope_scaling"] = rope_factors();
  }

  // rope_freqs.weight divides each rotary frequency. The converter computes it from a llama3
  // scaling; where the numbers show which, the config says that, else it lists them in the form of
  // longrope, with which the maths are the same.
  Json rope_factors() {
    const GgufTensorInfo& info = *file_.find_tensor("rope_freqs.weight");
    const CheckpointTensor tensor = file_.tensor(info);
    const int64_t count = config_int("head_dim") / 2;
    if (tensor.view.dtype() != DType::kF32 || tensor.view.shape() != Shape{count}) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{}: tensor 'rope_freqs.weight' is {} {}, expected fp32 [{}]", file_.path(),
                  tensor.view.dtype(), tensor.view.shape(), count);
    }
    const float* data = tensor.view.data<float>();
    const std::vector<double> factors(data, data + count);
    for (double factor : factors) {
      if (!std::isfinite(factor) || factor <= 0.0) {
        throw_error(ErrorCode::kInvalidArgument,
                    "{}: tensor 'rope_freqs.weight' holds {}, expected positive numbers",
                    file_.path(), factor);
      }
    }
    const double theta = config_.at("rope_theta").get<double>();
    const double largest = *std::max_element(factors.begin(), factors.end());
    for (int64_t original = 64; original <= int64_t{1} << 20; original *= 2) {
      if (!is_llama3(factors, theta, largest, static_cast<double>(original))) continue;
      return {{"rope_type", "llama3"},
              {"factor", largest},
              {"low_freq_factor", 1.0},
              {"high_freq_factor", 4.0},
              {"original_max_position_embeddings", original}};
    }
    return {{"rope_type", "longrope"},
            {"short_factor", factors},
            {"long_factor", factors},
            {"attention_factor", 1.0},
            {"original_max_position_embeddings", config_int("max_position_embeddings")}};
  }

  // Whether these are the divisors of a llama3 scaling with the low and high frequency factors 1
  // and 4 that every published model has (HF transformers/modeling_rope_utils.py).
  static bool is_llama3(const std::vector<double>& factors, double theta, double factor,
                        double original) {
    if (factor <= 1.0) return false;
    const double low = 1.0, high = 4.0;
    const auto half = static_cast<double>(factors.size());
    for (size_t i = 0; i < factors.size(); ++i) {
      const double wavelength =
          2.0 * std::numbers::pi * std::pow(theta, static_cast<double>(i) / half);
      double expected = 1.0;
      if (wavelength > original / low) {
        expected = factor;
      } else if (wavelength >= original / high) {
        const double smooth = (original / wavelength - low) / (high - low);
        expected = 1.0 / ((1.0 - smooth) / factor + smooth);
      }
      if (std::abs(factors[i] - expected) > 1e-4 * expected) return false;
    }
    return true;
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

  void refuse_unknown_keys() const {
    const std::string prefix = fmt::format("{}.", architecture_.name);
    std::vector<std::string> unknown;
    for (const std::string& key : file_.keys()) {
      if (!key.starts_with(prefix) || used_.count(key) != 0) continue;
      const std::string_view suffix = std::string_view(key).substr(prefix.size());
      if (std::ranges::find(kWithoutEffect, suffix) == std::end(kWithoutEffect)) {
        unknown.push_back(quote_name(key));
      }
    }
    if (unknown.empty()) return;
    throw_error(ErrorCode::kUnsupported, "{}: metadata that Lanner does not know for {}: {}",
                file_.path(), architecture_.name, fmt::join(unknown, ", "));
  }

  const GgufFile& file_;
  const GgufArchitecture& architecture_;
  Json config_ = Json::object();
  std::set<std::string> used_;
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
