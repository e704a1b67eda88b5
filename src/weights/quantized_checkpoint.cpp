// SPDX-License-Identifier: Apache-2.0
#include "weights/quantized_checkpoint.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/json.h"
#include "kernels/gemm/stored_weight.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

constexpr const char* kKey = "quantization_config";

DType read_type(const Json& value, const std::string& key) {
  const auto dtype = value.is_string() ? parse_dtype(value.get<std::string>()) : std::nullopt;
  if (!dtype) {
    throw_error(ErrorCode::kCorruptFile, "{} is {}, which is no type of weights", key,
                value.dump());
  }
  return *dtype;
}

class QuantizedCheckpoint final : public Checkpoint {
 public:
  QuantizedCheckpoint(std::unique_ptr<Checkpoint> files, QuantizedFormat format)
      : files_(std::move(files)), format_(std::move(format)) {}

  std::vector<std::string> names() const override { return files_->names(); }
  bool contains(std::string_view name) const override { return files_->contains(name); }
  const std::string& path() const override { return files_->path(); }
  std::vector<std::span<const std::byte>> stored_bytes() const override {
    return files_->stored_bytes();
  }

  TensorInfo info(std::string_view name) const override {
    TensorInfo info = files_->info(name);
    const std::optional<DType> packing = packing_of(name, info);
    if (!packing) return info;
    info.dtype = dtype_name(stored_dtype(*packing));
    std::ranges::transform(info.dtype, info.dtype.begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    info.shape[1] = columns(name, *packing, info.shape[1]);
    return info;
  }

  CheckpointTensor get(std::string_view name) const override {
    const std::optional<DType> packing = packing_of(name, files_->info(name));
    CheckpointTensor tensor = files_->get(name);
    if (!packing) return tensor;
    const int64_t k = columns(name, *packing, tensor.view.size(1));
    tensor.view = stored_tensor(tensor.view.raw(), *packing, tensor.view.size(0), k);
    return tensor;
  }

 private:
  // Nothing: a tensor like any other.
  std::optional<DType> packing_of(std::string_view name, const TensorInfo& info) const {
    if (info.dtype != "U8" || info.shape.size() != 2 || !name.ends_with(".weight")) {
      return std::nullopt;
    }
    const auto own = format_.tensors.find(name);
    return own != format_.tensors.end() ? own->second : format_.dtype;
  }

  // Values of a row of so many bytes.
  int64_t columns(std::string_view name, DType packing, int64_t row_bytes) const {
    const DTypeInfo& type = dtype_info(stored_dtype(packing));
    const int64_t k = packing == DType::kW8A8 ? row_bytes - static_cast<int64_t>(sizeof(float))
                                              : row_bytes / type.block_bytes * type.block_elements;
    if (k < 1 || stored_row_bytes(packing, k) != row_bytes) {
      throw_error(ErrorCode::kCorruptFile, "{}: tensor {} has rows of {} bytes, which are no {}",
                  path(), quote_name(name), row_bytes, packing);
    }
    return k;
  }

  std::unique_ptr<Checkpoint> files_;
  QuantizedFormat format_;
};

}  // namespace

Json QuantizedFormat::to_json() const {
  Json json{{"quant_method", kMethod}, {"version", kVersion}, {"dtype", dtype_name(dtype)}};
  if (tensors.empty()) return json;
  Json& list = json["tensors"] = Json::object();
  for (const auto& [name, type] : tensors) list[name] = dtype_name(type);
  return json;
}

std::optional<QuantizedFormat> QuantizedFormat::read(const ConfigReader& config) {
  const auto found = config.json().find(kKey);
  if (found == config.json().end() || !found->is_object()) return std::nullopt;
  const Json& json = *found;
  if (!json.contains("quant_method") || json["quant_method"] != kMethod) return std::nullopt;
  config.ignore(kKey);  // read here, all of it
  const auto key = [&](const std::string& name) {
    return config.key_path(fmt::format("{}.{}", kKey, name));
  };
  if (!json.contains("version") || json["version"] != kVersion) {
    throw_error(ErrorCode::kUnsupported, "{} is {}; this version of Lanner reads {}",
                key("version"), json.contains("version") ? json["version"].dump() : "not there",
                kVersion);
  }
  QuantizedFormat format;
  format.dtype = read_type(json.contains("dtype") ? json["dtype"] : Json(), key("dtype"));
  for (const auto& [name, value] : json.items()) {
    if (name == "tensors" && value.is_object()) {
      for (const auto& [tensor, type] : value.items()) {
        format.tensors.emplace(tensor, read_type(type, key("tensors." + tensor)));
      }
    } else if (name != "quant_method" && name != "version" && name != "dtype") {
      throw_error(ErrorCode::kCorruptFile, "{} is not known", key(quote_name(name)));
    }
  }
  return format;
}

std::unique_ptr<Checkpoint> make_quantized_checkpoint(std::unique_ptr<Checkpoint> files,
                                                      QuantizedFormat format) {
  return std::make_unique<QuantizedCheckpoint>(std::move(files), std::move(format));
}

}  // namespace lanner
