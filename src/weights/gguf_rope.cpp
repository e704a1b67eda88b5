// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <vector>

#include "base/error.h"

namespace lanner {
namespace {

// Whether these are the divisors of a llama3 scaling with the low and high frequency factors 1
// and 4 that every published model has (HF transformers/modeling_rope_utils.py).
bool is_llama3(const std::vector<double>& factors, double theta, double factor, double original) {
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

class RopeScalingReader {
 public:
  RopeScalingReader(GgufKeys& keys, const GgufArchitecture& architecture, Json& config)
      : keys_(keys), file_(keys.file()), architecture_(architecture), config_(config) {}

  void add() {
    read_keys();
    const bool has_factors = has_tensor("rope_freqs.weight");
    if (has_tensor("rope_factors_long.weight")) return add_longrope();
    if (type_ != "yarn" && attention_factor_ != 1.0) keys_.refuse("rope.scaling.attn_factor");
    if (type_ == "yarn" && !has_factors) {
      add_yarn();
    } else if (type_ == "linear" && !has_factors) {
      if (factor_ != 1.0) config_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor_}};
    } else if (type_ != "none" && !(has_factors && factor_ == 1.0)) {
      throw_error(ErrorCode::kUnsupported, "{}: rope scaling {}{} is not supported", file_.path(),
                  quote_name(type_), has_factors ? " together with 'rope_freqs.weight'" : "");
    }
    if (has_factors) config_["rope_scaling"] = factors_as_scaling();
  }

 private:
  void read_keys() {
    const auto number = [&](const char* suffix) {
      return file_.optional_double(keys_.use(suffix));
    };
    const std::string type_key = keys_.use("rope.scaling.type");
    const std::string factor_key = keys_.use("rope.scaling.factor");
    const std::optional<double> old_factor = number("rope.scale_linear");  // in old files
    type_ = file_.optional_string(type_key).value_or(old_factor ? "linear" : "none");
    factor_ = file_.optional_double(factor_key).value_or(old_factor.value_or(1.0));
    if (!std::isfinite(factor_) || factor_ <= 0.0) {
      throw_error(ErrorCode::kInvalidArgument, "{}: {} is {}, expected a positive number",
                  file_.path(), quote_name(factor_key), factor_);
    }
    original_ = file_.optional_int(keys_.use("rope.scaling.original_context_length"));
    attention_factor_ = number("rope.scaling.attn_factor").value_or(1.0);
    // What YaRN's stretch of the scores is made from; it takes that of cos and sin back.
    log_multiplier_ = number("rope.scaling.yarn_log_multiplier").value_or(0.0);
    if (log_multiplier_ != 0.0 && !architecture_.latent_attention) {
      keys_.refuse("rope.scaling.yarn_log_multiplier");
    }
  }

  void add_yarn() {
    Json& scaling = config_["rope_scaling"];
    scaling = {{"rope_type", "yarn"}, {"factor", factor_}};
    if (original_) scaling["original_max_position_embeddings"] = *original_;
    if (log_multiplier_ != 0.0) {
      scaling["mscale"] = scaling["mscale_all_dim"] = log_multiplier_ / 0.1;
    }
    // GGUF's factor comes on top of YaRN's own 0.1 ln(factor) + 1, HF's replaces it.
    if (attention_factor_ != 1.0) {
      scaling["attention_factor"] = attention_factor_ * (0.1 * std::log(factor_) + 1.0);
    }
    for (const char* name : {"beta_fast", "beta_slow"}) {
      const std::string key = keys_.use(fmt::format("rope.scaling.yarn_{}", name));
      if (const auto beta = file_.optional_double(key)) scaling[name] = *beta;
    }
    // GGUF does not say it.
    if (architecture_.model_type == "gpt_oss") scaling["truncate"] = false;
  }

  // Phi-3: factors for short and long sequences.
  void add_longrope() {
    if (type_ != "none" && type_ != "longrope") keys_.refuse("rope.scaling.type");
    config_["rope_scaling"] = {{"rope_type", "longrope"},
                               {"short_factor", factors("rope_factors_short.weight")},
                               {"long_factor", factors("rope_factors_long.weight")},
                               {"attention_factor", attention_factor_}};
    if (original_) config_["original_max_position_embeddings"] = *original_;
  }

  // rope_freqs.weight divides each rotary frequency. The converter computes it from a llama3
  // scaling; where the numbers show which, the config says that, else it lists them in the form of
  // longrope, with which the maths are the same.
  Json factors_as_scaling() {
    const std::vector<double> divisors = factors("rope_freqs.weight");
    const double theta = config_.at("rope_theta").get<double>();
    const double largest = *std::max_element(divisors.begin(), divisors.end());
    for (int64_t original = 64; original <= int64_t{1} << 20; original *= 2) {
      if (!is_llama3(divisors, theta, largest, static_cast<double>(original))) continue;
      return {{"rope_type", "llama3"},
              {"factor", largest},
              {"low_freq_factor", 1.0},
              {"high_freq_factor", 4.0},
              {"original_max_position_embeddings", original}};
    }
    return {{"rope_type", "longrope"},
            {"short_factor", divisors},
            {"long_factor", divisors},
            {"attention_factor", 1.0},
            {"original_max_position_embeddings", config_.at("max_position_embeddings")}};
  }

  // A tensor of one positive number per frequency.
  std::vector<double> factors(const char* name) const {
    const GgufTensorInfo* info = file_.find_tensor(name);
    if (info == nullptr) {
      throw_error(ErrorCode::kNotFound, "{}: no tensor '{}'", file_.path(), name);
    }
    const CheckpointTensor tensor = file_.tensor(*info);
    const auto head_dim = config_.at("head_dim").get<double>();
    const auto count =
        static_cast<int64_t>(head_dim * config_.value("partial_rotary_factor", 1.0)) / 2;
    if (tensor.view.dtype() != DType::kF32 || tensor.view.shape() != Shape{count}) {
      throw_error(ErrorCode::kInvalidArgument, "{}: tensor '{}' is {} {}, expected fp32 [{}]",
                  file_.path(), name, tensor.view.dtype(), tensor.view.shape(), count);
    }
    const float* data = tensor.view.data<float>();
    const std::vector<double> result(data, data + count);
    for (double factor : result) {
      if (!std::isfinite(factor) || factor <= 0.0) {
        throw_error(ErrorCode::kInvalidArgument,
                    "{}: tensor '{}' holds {}, expected positive numbers", file_.path(), name,
                    factor);
      }
    }
    return result;
  }

  bool has_tensor(const char* name) const { return file_.find_tensor(name) != nullptr; }

  GgufKeys& keys_;
  const GgufFile& file_;
  const GgufArchitecture& architecture_;
  Json& config_;
  std::string type_;
  double factor_ = 1.0;
  double attention_factor_ = 1.0;
  double log_multiplier_ = 0.0;
  std::optional<int64_t> original_;
};

}  // namespace

void add_gguf_rope_scaling(GgufKeys& keys, const GgufArchitecture& architecture, Json& config) {
  RopeScalingReader(keys, architecture, config).add();
}

}  // namespace lanner
