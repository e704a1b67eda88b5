// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_export_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/json.h"
#include "weights/config_keys.h"

namespace lanner {
namespace {

// Model types that are another's architecture, where a check of the keys shows nothing else.
std::string_view written_as(std::string_view model_type) {
  return model_type == "mistral" ? "llama" : model_type;
}

std::string text_of(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

bool has(const Json& config, std::string_view key) {
  const auto found = config.find(std::string(key));
  return found != config.end() && !found->is_null();
}

[[noreturn]] void refuse(const ConfigReader& config, std::string_view key) {
  throw_error(ErrorCode::kUnsupported, "{} cannot be said in a GGUF file", config.key_path(key));
}

int64_t integer(const ConfigReader& config, const char* key) { return config.required_int(key); }

int64_t head_dim(const ConfigReader& config) {
  return config.optional_int("head_dim", static_cast<int>(integer(config, "hidden_size") /
                                                          integer(config, "num_attention_heads")));
}

std::string rope_type(const Json& scaling) {
  const std::string type = text_of(scaling, "rope_type");
  return type.empty() ? text_of(scaling, "type") : type;
}

void put_rope_scaling(const ConfigReader& config, const std::string& front,
                      GgufMetadata& metadata) {
  if (!has(config.json(), "rope_scaling")) return;
  const ConfigReader scaling = config.required_object("rope_scaling");
  const std::string type = rope_type(scaling.json());
  if (type == "default" || type == "llama3") return;
  if (type != "linear" && type != "yarn") refuse(config, "rope_scaling");
  metadata.set_string(front + "rope.scaling.type", type);
  metadata.set_float32(front + "rope.scaling.factor", scaling.required_float("factor"));
  if (type == "yarn" && has(scaling.json(), "original_max_position_embeddings")) {
    metadata.set_uint32(
        front + "rope.scaling.original_context_length",
        static_cast<uint32_t>(integer(scaling, "original_max_position_embeddings")));
  }
}

bool same(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) {
    const double x = a.get<double>(), y = b.get<double>();
    return std::abs(x - y) <= 1e-6 * std::max(std::abs(x), std::abs(y));
  }
  if (a.is_object() && b.is_object()) {
    return std::ranges::all_of(b.items(), [&](const auto& item) {
      return a.contains(item.key()) && same(a[item.key()], item.value());
    });
  }
  return a == b;
}

// Keys that this writer has looked at already, or that say what others say.
bool is_settled(const Json& config, const std::string& key, const Json& value) {
  constexpr std::string_view kSettled[] = {
      "model_type",   "architectures", "torch_dtype",        "dtype",
      "bos_token_id", "vocab_size",    "model_max_length",   "eos_token_id",
      "pad_token_id", "rope_scaling",  "quantization_config"};
  if (std::ranges::find(kSettled, key) != std::end(kSettled)) return true;
  const auto without = config_keys_without_effect();
  if (std::ranges::find(without, key) != without.end()) return true;
  for (const ConfigKeyValue& row : config_keys_without_effect_if()) {
    if (row.key == key && same(value, Json::parse(row.value))) return true;
  }
  if (value.is_structured() && value.empty()) return true;  // mlp_only_layers
  if (key == "decoder_sparse_step" && value == 1) return true;
  if (key == "layer_types") {
    return value.is_array() &&
           std::ranges::all_of(value, [](const Json& type) { return type == "full_attention"; });
  }
  const bool windowed = config.value("use_sliding_window", true);
  return !windowed && (key == "sliding_window" || key == "max_window_layers");
}

}  // namespace

const GgufArchitecture& gguf_architecture_of(const ConfigReader& config) {
  const std::string type = text_of(config.json(), "model_type");
  std::string known;
  for (const GgufArchitecture& architecture : gguf_architectures()) {
    if (architecture.latent_attention || !architecture.renames.empty()) continue;
    if (architecture.model_type == written_as(type)) return architecture;
    if (known.find(architecture.model_type) != std::string::npos) continue;
    known += known.empty() ? "" : ", ";
    known += architecture.model_type;
  }
  throw_error(ErrorCode::kUnsupported,
              "{}: models of type '{}' cannot be written to a GGUF file; these can: {}",
              config.name(), type, known);
}

void put_gguf_config(const ConfigReader& config, const GgufArchitecture& architecture,
                     GgufMetadata& metadata) {
  const std::string front = std::string(architecture.name) + ".";
  for (const std::span<const GgufConfigRow> rows : architecture.config) {
    for (const GgufConfigRow& row : rows) {
      const std::string key = front + std::string(row.gguf);
      if (!has(config.json(), row.hf)) {
        if (row.required) refuse(config, row.hf);
      } else if (row.kind == GgufConfigRow::kCount) {
        const int count = config.required_int(row.hf, {.min = 0});
        if (count > 0) metadata.set_uint32(key, static_cast<uint32_t>(count));
      } else if (row.kind == GgufConfigRow::kInt) {
        metadata.set_uint32(key, static_cast<uint32_t>(config.required_int(row.hf)));
      } else if (row.kind == GgufConfigRow::kBool) {
        metadata.set_bool(key, config.required_bool(row.hf));
      } else {
        metadata.set_float32(key, config.required_float(row.hf, DoubleRange::any()));
      }
    }
  }
  const int64_t dim = head_dim(config);
  const double rotated =
      static_cast<double>(dim) *
      (architecture.partial_rope ? config.optional_double("partial_rotary_factor", 1.0) : 1.0);
  metadata.set_uint32(front + "attention.key_length", static_cast<uint32_t>(dim));
  metadata.set_uint32(front + "attention.value_length", static_cast<uint32_t>(dim));
  metadata.set_uint32(front + "rope.dimension_count", static_cast<uint32_t>(rotated));
  metadata.set_uint32(front + "vocab_size", static_cast<uint32_t>(integer(config, "vocab_size")));
  put_rope_scaling(config, front, metadata);
}

std::vector<float> gguf_rope_factors(const ConfigReader& config) {
  if (!has(config.json(), "rope_scaling")) return {};
  const ConfigReader scaling = config.required_object("rope_scaling");
  if (rope_type(scaling.json()) != "llama3") return {};
  // HF transformers/modeling_rope_utils.py.
  const double theta = config.optional_double("rope_theta", 10000.0);
  const double factor = scaling.required_double("factor");
  const double low = scaling.required_double("low_freq_factor");
  const double high = scaling.required_double("high_freq_factor");
  const double original = scaling.required_double("original_max_position_embeddings");
  const int64_t half = head_dim(config) / 2;
  std::vector<float> factors;
  for (int64_t i = 0; i < half; ++i) {
    const double wavelength = 2.0 * std::numbers::pi *
                              std::pow(theta, static_cast<double>(i) / static_cast<double>(half));
    double divisor = 1.0;
    if (wavelength > original / low) {
      divisor = factor;
    } else if (wavelength >= original / high) {
      const double smooth = (original / wavelength - low) / (high - low);
      divisor = 1.0 / ((1.0 - smooth) / factor + smooth);
    }
    factors.push_back(static_cast<float>(divisor));
  }
  return factors;
}

void put_gguf_tokenizer(const GgufTokenizerData& data, GgufMetadata& metadata) {
  const std::string front = "tokenizer.ggml.";
  metadata.set_string(front + "model", data.model);
  if (!data.pre.empty()) metadata.set_string(front + "pre", data.pre);
  metadata.set_strings(front + "tokens", data.tokens);
  if (!data.scores.empty()) metadata.set_floats(front + "scores", data.scores);
  if (!data.token_types.empty()) {
    std::vector<int32_t> types;
    for (const GgufTokenType type : data.token_types) types.push_back(static_cast<int32_t>(type));
    metadata.set_int32s(front + "token_type", types);
  }
  if (!data.merges.empty()) metadata.set_strings(front + "merges", data.merges);
  const auto put_id = [&](const char* name, std::optional<int32_t> id) {
    if (id) metadata.set_uint32(front + name, static_cast<uint32_t>(*id));
  };
  put_id("bos_token_id", data.bos_id);
  put_id("eos_token_id", data.eos_id);
  put_id("eot_token_id", data.eot_id);
  put_id("eom_token_id", data.eom_id);
  put_id("unknown_token_id", data.unk_id);
  put_id("padding_token_id", data.pad_id);
  const auto put_flag = [&](const char* name, std::optional<bool> flag) {
    if (flag) metadata.set_bool(front + name, *flag);
  };
  put_flag("add_bos_token", data.add_bos);
  put_flag("add_eos_token", data.add_eos);
  put_flag("add_space_prefix", data.add_space_prefix);
  put_flag("remove_extra_whitespaces", data.remove_extra_whitespaces);
  if (!data.chat_template.empty()) {
    metadata.set_string("tokenizer.chat_template", data.chat_template);
  }
}

void check_gguf_config(const ConfigReader& source, const ConfigReader& written) {
  const Json& from = source.json();
  const Json& to = written.json();
  for (const auto& [key, value] : from.items()) {
    if (value.is_null() || is_settled(from, key, value)) continue;
    const auto found = to.find(key);
    if (found != to.end() ? same(value, *found) : value == false) continue;
    // Read as a little more than the ratio, so that no product with it is rounded below.
    const double rotated = found != to.end() && found->is_number() ? found->get<double>() : 1.0;
    if (key == "partial_rotary_factor" && value.is_number() &&
        std::abs(value.get<double>() - rotated) < 1e-2) {
      continue;
    }
    throw_error(ErrorCode::kUnsupported, "{} is {}: that cannot be said in a GGUF file",
                source.key_path(key), value.dump());
  }
  // Of a scaling only what counts: readers name its parts in their own ways.
  const bool scaled = has(from, "rope_scaling") && rope_type(from["rope_scaling"]) != "default";
  if (scaled != has(to, "rope_scaling")) refuse(source, "rope_scaling");
  if (!scaled) return;
  for (const auto& [key, value] : from["rope_scaling"].items()) {
    if (key == "type" || key == "rope_type" || value.is_null()) continue;
    const auto found = to["rope_scaling"].find(key);
    if (found == to["rope_scaling"].end() || !same(value, *found)) {
      refuse(source, "rope_scaling." + key);
    }
  }
}

}  // namespace lanner
