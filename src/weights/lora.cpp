// SPDX-License-Identifier: Apache-2.0
#include "weights/lora.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>
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
    "auto_mapping",    "base_model_name_or_path",
    "corda_config",    "eva_config",
    "exclude_modules", "fan_in_fan_out",
    "inference_mode",  "init_lora_weights",
    "layers_pattern",  "layers_to_transform",
    "loftq_config",    "lora_dropout",
    "megatron_config", "megatron_core",
    "peft_version",    "r",
    "rank_pattern",    "revision",
    "runtime_config",  "target_modules",
    "task_type",       "ensure_weight_tying",
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
    rslora_ = flag("use_rslora");
    fan_in_fan_out_ = flag("fan_in_fan_out");
    const Json ranks = json_.value("rank_pattern", Json());
    if (json_.contains("r") && !json_["r"].is_number_integer()) refuse("r");
    if (json_.contains("r") && (!ranks.is_object() || ranks.empty())) rank_ = json_["r"];
    const Json patterns = json_.value("alpha_pattern", Json::object());
    if (!patterns.is_object()) refuse("alpha_pattern");
    for (const auto& [pattern, alpha] : patterns.items()) {
      if (pattern.find_first_of("*+?[](){}|\\^$") != std::string::npos || !alpha.is_number()) {
        refuse("alpha_pattern");
      }
      alphas_[pattern] = alpha.get<double>();
    }
  }

  bool fan_in_fan_out() const { return fan_in_fan_out_; }
  // That all modules have; nothing if they differ.
  std::optional<int64_t> rank() const { return rank_; }

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
  bool flag(const char* key) const {
    const Json value = json_.value(key, Json(false));
    if (!value.is_null() && !value.is_boolean()) refuse(key);
    return value == true;
  }
  void require(const std::string& key, const Json& value) const {
    if (!json_.contains(key) || json_[key] != value) refuse(key);
  }

  std::string path_;
  Json json_;
  double alpha_ = 0;
  bool rslora_ = false;
  bool fan_in_fan_out_ = false;
  std::optional<int64_t> rank_;
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

// Of a matrix [rows, columns].
std::vector<float> transposed(const std::vector<float>& x, int64_t rows, int64_t columns) {
  std::vector<float> y(x.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      y[static_cast<size_t>(j * rows + i)] = x[static_cast<size_t>(i * columns + j)];
    }
  }
  return y;
}

// Weights that are no numbers would make every answer nonsense; a broken training run leaves such.
void check_values(const std::string& path, const std::string& name, const Tensor& x) {
  if (x.dtype() != DType::kF32 && x.dtype() != DType::kF16 && x.dtype() != DType::kBf16) {
    throw_error(ErrorCode::kUnsupported, "{}: tensor {} is {}: not supported in an adapter", path,
                quote_name(name), x.dtype());
  }
  const auto is_finite = [](float value) { return std::isfinite(value); };
  if (!std::ranges::all_of(to_floats(x), is_finite)) {
    throw_error(ErrorCode::kCorruptFile, "{}: tensor {} has values that are no finite numbers",
                path, quote_name(name));
  }
}

class MergedCheckpoint final : public Checkpoint {
 public:
  MergedCheckpoint(std::unique_ptr<Checkpoint> base, LoraAdapter adapter)
      : base_(std::move(base)), adapter_(fit_lora(std::move(adapter), *base_)) {}

  std::vector<std::string> names() const override { return base_->names(); }
  bool contains(std::string_view name) const override { return base_->contains(name); }
  const std::string& path() const override { return base_->path(); }
  std::vector<std::span<const std::byte>> stored_bytes() const override {
    std::vector<std::span<const std::byte>> all = base_->stored_bytes();
    append_stored_bytes(adapter_, all);
    return all;
  }

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
    if (is_packing(base.view.dtype())) {
      throw_error(ErrorCode::kUnsupported,
                  "{}: cannot be merged into {}, which is stored as {}; merge it before that",
                  adapter_.path, quote_name(std::string(name)), base.view.dtype());
    }
    const LoraModule& module = found->second;
    const int64_t n = module.b.view.size(0), k = module.a.view.size(1);
    const int64_t rank = module.a.view.size(0);
    // W += scale * B A, or for a transposed W: scale * A^T B^T.
    std::vector<float> left = to_floats(module.b.view), right = to_floats(module.a.view);
    int64_t rows = n, width = k;
    if (module.transposed) {
      left.swap(right);
      left = transposed(left, rank, k);
      right = transposed(right, n, rank);
      std::swap(rows, width);
    }
    std::vector<float> w = to_floats(base.view);
    std::vector<float> change(static_cast<size_t>(width));
    for (int64_t row = 0; row < rows; ++row) {
      std::ranges::fill(change, 0.0f);
      for (int64_t r = 0; r < rank; ++r) {
        const float factor = left[static_cast<size_t>(row * rank + r)];
        const float* from = right.data() + r * width;
        for (int64_t i = 0; i < width; ++i) change[static_cast<size_t>(i)] += factor * from[i];
      }
      float* out = w.data() + row * width;
      for (int64_t i = 0; i < width; ++i) out[i] += module.scale * change[static_cast<size_t>(i)];
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
    return {Tensor(data, dtype, base.view.shape()), std::move(memory)};
  }

 private:
  static bool is_plain(const std::string& dtype) {
    return dtype == "F32" || dtype == "F16" || dtype == "BF16";
  }

  std::unique_ptr<Checkpoint> base_;
  LoraAdapter adapter_;
};

}  // namespace

void append_stored_bytes(const LoraAdapter& adapter, std::vector<std::span<const std::byte>>& all) {
  for (const auto& [name, module] : adapter.modules) {
    for (const Tensor& x : {module.a.view, module.b.view}) {
      all.emplace_back(x.raw(), static_cast<size_t>(x.bytes()));
    }
  }
}

LoraAdapter read_lora_adapter(const std::string& folder) {
  namespace fs = std::filesystem;
  const AdapterConfig config((fs::path(folder) / "adapter_config.json").string());
  const std::string path = (fs::path(folder) / "adapter_model.safetensors").string();
  std::error_code failure;
  if (!fs::exists(path, failure) && fs::exists(fs::path(folder) / "adapter_model.bin", failure)) {
    throw_error(ErrorCode::kUnsupported,
                "{}: has adapter_model.bin only; pickle files can run code when they are read, so "
                "they are refused: save the adapter as safetensors",
                folder);
  }
  const auto file = open_safetensors_file(path);
  LoraAdapter adapter{
      .name = {}, .path = folder, .fan_in_fan_out = config.fan_in_fan_out(), .modules = {}};
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
    LoraModule lora{.a = file->get(name), .b = file->get(other)};
    const Tensor &a = lora.a.view, &b = lora.b.view;
    if (a.shape().rank() != 2 || b.shape().rank() != 2 || a.size(0) != b.size(1) ||
        a.numel() == 0 || b.numel() == 0) {
      throw_error(ErrorCode::kCorruptFile, "{}: tensor {} is {}, and {} {}: no product", path,
                  quote_name(name), a.shape(), quote_name(other), b.shape());
    }
    if (a.size(0) != config.rank().value_or(a.size(0))) {
      throw_error(ErrorCode::kCorruptFile, "{}: tensor {} has rank {}, but adapter_config.json {}",
                  path, quote_name(name), a.size(0), *config.rank());
    }
    check_values(path, name, a);
    check_values(path, other, b);
    lora.scale = config.scale(module, a.size(0));
    adapter.modules.emplace(module + ".weight", std::move(lora));
  }
  if (adapter.modules.empty()) {
    throw_error(ErrorCode::kCorruptFile, "{}: the adapter has no tensors", path);
  }
  return adapter;
}

LoraAdapter fit_lora(LoraAdapter adapter, const Checkpoint& checkpoint) {
  std::map<std::string, LoraModule, std::less<>> fitted;
  for (auto& [name, module] : adapter.modules) {
    std::string matrix = name;
    if (!checkpoint.contains(matrix)) matrix = name.substr(name.find('.') + 1);
    if (!checkpoint.contains(matrix)) {
      throw_error(ErrorCode::kInvalidArgument, "{}: changes {}, which the model does not have",
                  adapter.path, quote_name(name));
    }
    const std::vector<int64_t> shape = checkpoint.info(matrix).shape;
    const int64_t n = module.b.view.size(0), k = module.a.view.size(1);
    module.transposed = adapter.fan_in_fan_out && shape == std::vector{k, n};
    if (!module.transposed && shape != std::vector{n, k}) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{}: changes {} of [{}, {}], but the model's is [{}]", adapter.path,
                  quote_name(name), n, k, fmt::join(shape, ", "));
    }
    fitted.emplace(std::move(matrix), std::move(module));
  }
  adapter.modules = std::move(fitted);
  return adapter;
}

std::unique_ptr<Checkpoint> merge_lora(std::unique_ptr<Checkpoint> base, LoraAdapter adapter) {
  return std::make_unique<MergedCheckpoint>(std::move(base), std::move(adapter));
}

}  // namespace lanner
