// SPDX-License-Identifier: Apache-2.0
#include "weights/quantized_folder.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "kernels/gemm/stored_weight.h"
#include "weights/gguf_export_config.h"
#include "weights/gguf_writer.h"
#include "weights/matrix_names.h"
#include "weights/quantized_checkpoint.h"
#include "weights/safetensors.h"
#include "weights/stored_chunks.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

bool is_plain(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16;
}

// The type of a tensor by its file's name for it; nothing for types that no model is read from.
std::optional<DType> type_of(const TensorInfo& info) {
  if (info.dtype == "F32") return DType::kF32;
  if (info.dtype == "F16") return DType::kF16;
  std::string name = info.dtype;
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return parse_dtype(name);
}

// Files beside the weights that belong to a model: tokenizer, templates, licence.
bool is_companion(const fs::path& file) {
  const std::string name = file.filename().string();
  if (name == "config.json" || name.ends_with(".safetensors.index.json")) return false;
  if (name.starts_with("LICENSE") || name.starts_with("NOTICE")) return true;
  constexpr const char* kExtensions[] = {".json", ".model", ".tiktoken", ".txt", ".jinja"};
  return std::ranges::find(kExtensions, file.extension().string()) != std::end(kExtensions);
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << '\n' << std::flush;
  if (!file) throw_error(ErrorCode::kIo, "{}: cannot be written (disk full?)", path.string());
}

Json generation_json(const GenerationConfig& generation) {
  Json json = Json::object();
  const auto set = [&](const char* key, const auto& value) {
    if (value) json[key] = *value;
  };
  set("do_sample", generation.do_sample);
  set("temperature", generation.temperature);
  set("top_k", generation.top_k);
  set("top_p", generation.top_p);
  set("min_p", generation.min_p);
  set("repetition_penalty", generation.repetition_penalty);
  set("bos_token_id", generation.bos_token_id);
  set("pad_token_id", generation.pad_token_id);
  if (!generation.eos_token_ids.empty()) json["eos_token_id"] = generation.eos_token_ids;
  return json;
}

class FolderWriter {
 public:
  FolderWriter(const ModelFiles& files, DType dtype, std::string folder, ThreadPool& threads)
      : files_(files), dtype_(dtype), folder_(std::move(folder)), threads_(threads) {
    format_.dtype = dtype;
    model_type_ = files.config.contains("model_type")
                      ? files.config.json().at("model_type").get<std::string>()
                      : "";
  }

  QuantizeReport write(const ProgressCallback& progress) {
    plan();
    check_space();
    write_tensors(progress);
    write_config();
    return std::move(report_);
  }

 private:
  struct Planned {
    std::string name;
    DType type;  // in the file to come; a packing of stored_weight.h, or plain
  };

  const Checkpoint& checkpoint() const { return *files_.checkpoint; }

  void plan() {
    for (const std::string& name : checkpoint().names()) {
      const TensorInfo info = checkpoint().info(name);
      const std::optional<DType> source = type_of(info);
      if (!source) {
        report_.notes.push_back(
            fmt::format("left out: {} of type {}, which no model reads", name, info.dtype));
        continue;
      }
      report_.source_bytes += info.bytes;
      const DType type = target_type(name, info, *source);
      Shape shape = info.shape.empty() ? Shape{1} : Shape(std::span(info.shape));
      if (is_plain(type)) {
        report_.bytes += shape.numel() * dtype_info(type).block_bytes;
        entries_.push_back({name, type, shape});
      } else {
        const int64_t row_bytes = *stored_row_bytes(type, info.shape[1]);
        report_.bytes += info.shape[0] * row_bytes;
        entries_.push_back({name, DType::kU8, Shape{info.shape[0], row_bytes}});
        if (type != dtype_) format_.tensors.emplace(name, type);
      }
      const bool counts = is_plain(dtype_) ? type != *source : !is_plain(type);
      (counts ? report_.quantized_tensors : report_.other_tensors) += 1;
      planned_.push_back({name, type});
    }
    if (!is_plain(dtype_) && report_.quantized_tensors == 0) {
      throw_error(
          ErrorCode::kUnsupported,
          "{}: none of its matrices can be stored as {}: they lie transposed, or their rows are no "
          "whole number of groups",
          files_.path, dtype_);
    }
  }

  DType target_type(const std::string& name, const TensorInfo& info, DType source) const {
    const bool is_matrix = info.shape.size() == 2;
    if (is_plain(dtype_)) {
      if (info.shape.size() >= 2) return dtype_;
      return is_plain(source) ? source : DType::kF32;
    }
    if (is_matrix && is_packed_matrix(name, model_type_) &&
        stored_row_bytes(dtype_, info.shape[1])) {
      // Blocks that loading leaves as they are stay so here.
      return packed_dtype(source, dtype_) == source ? source : dtype_;
    }
    if (is_plain(source)) return source;
    return is_matrix && name.ends_with(".weight") ? source : DType::kF32;
  }

  void check_space() const {
    std::error_code failure;
    const fs::space_info space = fs::space(folder_, failure);
    if (failure || space.available > static_cast<uintmax_t>(report_.bytes)) return;
    throw_error(ErrorCode::kIo, "{}: the disk has {} MiB left, the model needs {} MiB", folder_,
                space.available >> 20, report_.bytes >> 20);
  }

  void write_tensors(const ProgressCallback& progress) const {
    SafetensorsWriter writer((fs::path(folder_) / "model.safetensors").string(), entries_,
                             {{"format", "pt"}, {"lanner.dtype", dtype_name(dtype_)}});
    int64_t done = 0;
    for (size_t i = 0; i < planned_.size(); ++i) {
      const CheckpointTensor tensor = checkpoint().get(planned_[i].name);
      quantize_in_chunks(tensor, planned_[i].type, threads_, [&](const Tensor& rows) {
        const DType type = entries_[i].dtype;
        const int64_t columns = rows.size(1) / dtype_info(type).block_bytes;
        writer.append(Tensor(rows.raw(), type, Shape{rows.size(0), columns}));
      });
      done += checkpoint().info(planned_[i].name).bytes;
      if (progress) progress("tensors", done, report_.source_bytes);
    }
    writer.finish();
  }

  void write_config() {
    const fs::path target(folder_);
    Json config = files_.is_gguf
                      ? files_.config.json()
                      : read_json_file((fs::path(files_.folder) / "config.json").string());
    config.erase("quantization_config");
    if (is_plain(dtype_)) {
      config["torch_dtype"] = dtype_ == DType::kF32   ? "float32"
                              : dtype_ == DType::kF16 ? "float16"
                                                      : "bfloat16";
    } else {
      config["quantization_config"] = format_.to_json();
    }
    write_text(target / "config.json", config.dump(2));
    if (files_.is_gguf) {
      write_text(target / "generation_config.json", generation_json(files_.generation).dump(2));
      if (files_.gguf_tokenizer) write_vocabulary(target / kVocabularyFile);
      return;
    }
    for (const auto& entry : fs::directory_iterator(files_.folder)) {
      std::error_code failure;
      if (!entry.is_regular_file(failure) || !is_companion(entry.path())) continue;
      fs::copy_file(entry.path(), target / entry.path().filename(), failure);
      if (failure) {
        throw_error(ErrorCode::kIo, "{}: cannot be copied: {}", entry.path().string(),
                    failure.message());
      }
    }
  }

  void write_vocabulary(const fs::path& path) const {
    GgufMetadata metadata;
    put_gguf_tokenizer(*files_.gguf_tokenizer, metadata);
    GgufWriter(path.string(), metadata, {}).finish();
  }

  const ModelFiles& files_;
  DType dtype_;
  std::string folder_;
  ThreadPool& threads_;
  std::string model_type_;
  QuantizedFormat format_;
  std::vector<Planned> planned_;
  std::vector<SafetensorsWriter::Entry> entries_;
  QuantizeReport report_;
};

}  // namespace

QuantizeReport write_quantized_folder(const ModelFiles& files, DType dtype,
                                      const std::string& folder, ThreadPool& threads,
                                      const ProgressCallback& progress) {
  return FolderWriter(files, dtype, folder, threads).write(progress);
}

}  // namespace lanner
