// SPDX-License-Identifier: Apache-2.0
#include "weights/lora.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "kernels/convert/convert.h"
#include "weights/mapped_file.h"
#include "weights/safetensors.h"

namespace lanner {
namespace {

constexpr std::string_view kFront = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight";
constexpr std::string_view kB = ".lora_B.weight";

// Keys of adapter_config.json about training, or about what the file's tensors say by themselves.
constexpr std::string_view kWithoutEffect[] = {
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "ensure_weight_tying",
};

class AdapterConfig {
 public:
  explicit AdapterConfig(const std::string& path) : path_(path), json_(read_json_file(path)) {
    if (!json_.is_object()) throw_error(ErrorCode::kCorruptFile, "{}: is no object", path_);
    require("peft_type", "LORA");
    for (const auto& [key, value] : json_.items()) {
      if (key == "peft_type" || key == "lora_alpha" || key == "use_rslora" ||
          key == "alpha_pattern" || key == "modules_to_save" || value.is_null() ||
          std::ranges::find(kWithoutEffect, key) != std::end(kWithoutEffect)) {
        continue;
      }
      // What is switched off asks for nothing.
      const bool off = value == false || value == "none" ||
                       ((value.is_array() || value.is_object()) && value.empty());
      if (!off) refuse(key);
    }
    const Json saved = json_.value("modules_to_save", Json());
    if (saved.is_array() && !saved.empty()) refuse("modules_to_save");
    if (!json_.contains("lora_alpha") || !json_["lora_alpha"].is_number()) refuse("lora_alpha");
    alpha_ = json_["lora_alpha"].get<double>();
    rslora_ = json_.value("use_rslora", false);
    const Json patterns = json_.value("alpha_pattern", Json::object());
    if (!patterns.is_object()) refuse("alpha_pattern");
    for (const auto& [pattern, alpha] : patterns.items()) {
      if (pattern.find_first_of("*+?[](){}|\\^$") != std::string::npos || !alpha.is_number()) {
        refuse("alpha_pattern");
      }
      alphas_[pattern] = alpha.get<double>();
    }
  }

  float scale(const std::string& module, int64_t rank) const {
    double alpha = alpha_;
    for (const auto& [pattern, value] : alphas_) {
      if (module == pattern || module.ends_with("." + pattern)) alpha = value;
    }
    const auto r = static_cast<double>(rank);
    return static_cast<float>(alpha / (rslora_ ? std::sqrt(r) : r));
  }

 private:
  [[noreturn]] void refuse(const std::string& key) const {
    throw_error(ErrorCode::kUnsupported, "{}: '{}' is {}: not supported", path_, key,
                json_.contains(key) ? json_[key].dump() : "missing");
  }
  void require(const std::string& key, const Json& value) const {
    if (!json_.contains(key) || json_[key] != value) refuse(key);
  }

  std::string path_;
  Json json_;
  double alpha_ = 0;
  bool rslora_ = false;
  std::map<std::string, double> alphas_;
};

std::vector<float> to_floats(const Tensor& x) {
  std::vector<float> values(static_cast<size_t>(x.numel()));
  const ConvertRowFn convert = select_convert(x.dtype(), DType::kF32);
  for (int64_t i = 0; i < x.num_rows(); ++i) {
    convert(x.raw_row(i), x.size(-1), values.data() + i * x.size(-1));
  }
  return values;
}

class MergedCheckpoint final : public Checkpoint {
 public:
  MergedCheckpoint(std::unique_ptr<Checkpoint> base, LoraAdapter adapter)
      : base_(std::move(base)), adapter_(std::move(adapter)) {
    for (const auto& [name, module] : adapter_.modules) {
      if (!base_->contains(name)) {
        throw_error(ErrorCode::kInvalidArgument, "{}: changes {}, which the model does not have",
                    adapter_.path, quote_name(name));
      }
      const std::vector<int64_t> shape = base_->info(name).shape;
      const std::vector<int64_t> expected = {module.b.view.size(0), module.a.view.size(1)};
      if (shape != expected) {
        throw_error(ErrorCode::kInvalidArgument, "{}: changes {} of [{}], but the model's is [{}]",
                    adapter_.path, quote_name(name), fmt::join(expected, ", "),
                    fmt::join(shape, ", "));
      }
    }
  }

  std::vector<std::string> names() const override { return base_->names(); }
  bool contains(std::string_view name) const override { return base_->contains(name); }
  const std::string& path() const override { return base_->path(); }

  TensorInfo info(std::string_view name) const override {
    TensorInfo info = base_->info(name);
    if (adapter_.modules.find(name) != adapter_.modules.end() && !is_plain(info.dtype)) {
      info.dtype = "F16";
    }
    return info;
  }

  CheckpointTensor get(std::string_view name) const override {
    const auto found = adapter_.modules.find(name);
    if (found == adapter_.modules.end()) return base_->get(name);
    const CheckpointTensor base = base_->get(name);
    const LoraModule& module = found->second;
    const std::vector<float> a = to_floats(module.a.view), b = to_floats(module.b.view);
    std::vector<float> w = to_floats(base.view);
    const int64_t n = base.view.size(0), k = base.view.size(1), rank = module.a.view.size(0);
    for (int64_t row = 0; row < n; ++row) {
      float* out = w.data() + row * k;
      for (int64_t r = 0; r < rank; ++r) {
        const float factor = module.scale * b[static_cast<size_t>(row * rank + r)];
        const float* change = a.data() + r * k;
        for (int64_t i = 0; i < k; ++i) out[i] += factor * change[i];
      }
    }
    const DType source = base.view.dtype();
    const DType dtype = source == DType::kF32 || source == DType::kBf16 ? source : DType::kF16;
    auto memory = std::make_shared<Buffer>(static_cast<size_t>(dtype_bytes(dtype, n * k)));
    if (dtype == DType::kF32) {
      std::memcpy(memory->data(), w.data(), memory->size());
    } else {
      select_convert(DType::kF32, dtype)(w.data(), n * k, memory->data());
    }
    std::byte* data = memory->data();
    return {Tensor(data, dtype, Shape{n, k}), std::move(memory)};
  }

 private:
  static bool is_plain(const std::string& dtype) {
    return dtype == "F32" || dtype == "F16" || dtype == "BF16";
  }

  std::unique_ptr<Checkpoint> base_;
  LoraAdapter adapter_;
};

}  // namespace

LoraAdapter read_lora_adapter(const std::string& folder) {
  namespace fs = std::filesystem;
  const AdapterConfig config((fs::path(folder) / "adapter_config.json").string());
  const std::string path = (fs::path(folder) / "adapter_model.safetensors").string();
  const auto file = open_safetensors_file(path);
  LoraAdapter adapter{folder, {}};
  for (const std::string& name : file->names()) {
    const bool is_a = name.ends_with(kA);
    if (!name.starts_with(kFront) || (!is_a && !name.ends_with(kB))) {
      throw_error(ErrorCode::kUnsupported, "{}: tensor {} is no part of a matrix's LoRA", path,
                  quote_name(name));
    }
    std::string module = name.substr(kFront.size());
    module.resize(module.size() - kA.size());
    const std::string other = std::string(kFront) + module + std::string(is_a ? kB : kA);
    if (!file->contains(other)) {
      throw_error(ErrorCode::kCorruptFile, "{}: tensor {} has no {} beside it", path,
                  quote_name(name), quote_name(other));
    }
    if (!is_a) continue;
    LoraModule lora{file->get(name), file->get(other), 1.0f};
    const Tensor &a = lora.a.view, &b = lora.b.view;
    if (a.shape().rank() != 2 || b.shape().rank() != 2 || a.size(0) != b.size(1)) {
      throw_error(ErrorCode::kCorruptFile, "{}: tensor {} is {}, and {} {}: no product", path,
                  quote_name(name), a.shape(), quote_name(other), b.shape());
    }
    lora.scale = config.scale(module, a.size(0));
    adapter.modules.emplace(module + ".weight", std::move(lora));
  }
  if (adapter.modules.empty()) {
    throw_error(ErrorCode::kCorruptFile, "{}: the adapter has no tensors", path);
  }
  return adapter;
}

std::unique_ptr<Checkpoint> merge_lora(std::unique_ptr<Checkpoint> base, LoraAdapter adapter) {
  return std::make_unique<MergedCheckpoint>(std::move(base), std::move(adapter));
}

}  // namespace lanner
