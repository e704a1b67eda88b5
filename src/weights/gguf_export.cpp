// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_export.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <tuple>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/stored_weight.h"
#include "weights/gguf_config.h"
#include "weights/gguf_export_config.h"
#include "weights/hf_vocabulary.h"
#include "weights/mapped_file.h"
#include "weights/matrix_names.h"
#include "weights/stored_chunks.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

// llama.cpp's enum llama_ftype, for what most matrices are.
uint32_t file_type(DType packing) {
  switch (packing) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kI4:
      return 2;
    case DType::kI4Asym:
      return 3;
    case DType::kI8:
      return 7;
    case DType::kQ4K:
      return 14;
    default:
      return 32;  // BF16
  }
}

// Rows of each head from halves (i, i + d/2) to pairs (2i, 2i + 1), as llama.cpp wants Q and K.
CheckpointTensor permuted(const CheckpointTensor& tensor, int64_t num_heads,
                          const std::string& name) {
  const Tensor& x = tensor.view;
  const bool is_bias = x.shape().rank() == 1;
  const int64_t rows = is_bias ? x.size(0) : x.num_rows();
  check_argument(rows % (2 * num_heads) == 0, "tensor {} is {}: no {} heads of even size",
                 quote_name(name), x.shape(), num_heads);
  const auto row_bytes = static_cast<size_t>(is_bias ? dtype_bytes(x.dtype(), 1) : x.row_bytes());
  const int64_t head_dim = rows / num_heads, half = head_dim / 2;
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(rows) * row_bytes);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t i = row % head_dim;
    const int64_t to = row - i + 2 * (i % half) + i / half;
    std::memcpy(memory->data() + static_cast<size_t>(to) * row_bytes,
                x.raw() + static_cast<size_t>(row) * row_bytes, row_bytes);
  }
  std::byte* data = memory->data();
  return {is_bias ? Tensor(data, x.dtype(), x.shape())
                  : Tensor(data, x.dtype(), x.shape(), x.row_stride()),
          memory};
}

class GgufExport {
 public:
  GgufExport(const ModelFiles& files, DType dtype, std::optional<DType> embedding,
             ThreadPool& threads)
      : files_(files),
        config_(files.config),
        architecture_(gguf_architecture_of(config_)),
        dtype_(dtype),
        embedding_(embedding),
        threads_(threads),
        model_type_(config_.required_string("model_type")),
        tied_(config_.optional_bool("tie_word_embeddings", false)) {}

  QuantizeReport write(const std::string& path, const ProgressCallback& progress) {
    plan();
    GgufMetadata metadata;
    put_metadata(metadata);
    std::vector<GgufWriter::Entry> entries;
    for (const Planned& p : planned_) {
      entries.push_back({p.name, stored_dtype(p.type), p.shape});
    }
    if (!rope_factors_.empty()) {
      entries.push_back(
          {"rope_freqs.weight", DType::kF32, {static_cast<int64_t>(rope_factors_.size())}});
    }
    GgufWriter writer(path, metadata, entries);
    for (size_t i = 0; i < entries.size(); ++i) report_.bytes += writer.tensor_bytes(i);
    check_space(path);
    int64_t done = 0;
    for (const Planned& p : planned_) {
      for (const std::string& source : p.sources) {
        write_tensor(p, source, writer);
        done += checkpoint().info(source).bytes;
        if (progress) progress("tensors", done, report_.source_bytes);
      }
    }
    if (!rope_factors_.empty()) {
      writer.append(reinterpret_cast<const std::byte*>(rope_factors_.data()),
                    rope_factors_.size() * sizeof(float));
    }
    writer.finish();
    const GgufFile written = GgufFile::open(path);
    check_gguf_config(config_, read_gguf_config(written));
    return std::move(report_);
  }

 private:
  // A tensor of the file to come, from one of the checkpoint, or from those of all experts.
  struct Planned {
    std::string name;
    GgufTransform transform;
    DType type;
    std::vector<int64_t> shape;
    std::vector<std::string> sources;
  };

  const Checkpoint& checkpoint() const { return *files_.checkpoint; }

  void plan() {
    struct Place {
      GgufTransform transform;
      std::map<int64_t, std::string> sources;  // by index; one of -1 alone
    };
    std::map<std::string, Place> places;
    std::vector<std::string> order;
    for (const std::string& name : checkpoint().names()) {
      if (tied_ && name == "lm_head.weight") continue;
      if (name.ends_with("rotary_emb.inv_freq")) continue;  // what rope_theta says anyway
      const auto gguf = gguf_tensor_name(architecture_, name);
      if (!gguf) {
        throw_error(ErrorCode::kUnsupported, "{}: tensor {} has no place in a GGUF file of {}",
                    files_.path, quote_name(name), architecture_.name);
      }
      const auto [place, is_new] = places.try_emplace(gguf->name);
      if (is_new) order.push_back(gguf->name);
      place->second.transform = gguf->transform;
      place->second.sources[gguf->index] = name;
      report_.source_bytes += checkpoint().info(name).bytes;
    }
    for (const std::string& name : order) {
      Place& place = places.at(name);
      const TensorInfo info = checkpoint().info(place.sources.begin()->second);
      Planned planned{name, place.transform, DType::kF32, info.shape, {}};
      for (const auto& [index, source] : place.sources) {
        if (index >= 0 && index != static_cast<int64_t>(planned.sources.size())) {
          throw_error(ErrorCode::kNotFound, "{}: there is a tensor {}, but none of number {}",
                      files_.path, quote_name(source), planned.sources.size());
        }
        planned.sources.push_back(source);
      }
      planned.type = type_of(planned, info);
      if (place.transform == GgufTransform::kRow) planned.shape.erase(planned.shape.begin());
      if (place.sources.begin()->first >= 0) {
        planned.shape.insert(planned.shape.begin(), static_cast<int64_t>(planned.sources.size()));
      }
      const bool as_asked = planned.type == dtype_ && info.shape.size() > 1;
      (as_asked ? report_.quantized_tensors : report_.other_tensors) += 1;
      planned_.push_back(std::move(planned));
    }
    note_others();
    rope_factors_ = gguf_rope_factors(config_);
  }

  DType type_of(const Planned& planned, const TensorInfo& info) {
    if (info.shape.size() != 2 || planned.transform == GgufTransform::kRow) return DType::kF32;
    const bool is_embedding = planned.name == "token_embd.weight";
    if (!is_embedding && !is_packed_matrix(planned.sources.front(), model_type_)) {
      return DType::kF32;
    }
    const DType wanted = is_embedding ? embedding_type() : dtype_;
    if (stored_row_bytes(wanted, info.shape[1])) return wanted;
    // Else as the source has it.
    const DType instead = stored_row_bytes(DType::kI8, info.shape[1]) ? DType::kI8
                          : info.dtype == "F32"                       ? DType::kF32
                          : info.dtype == "BF16"                      ? DType::kBf16
                                                                      : DType::kF16;
    ++others_[{dtype_name(stored_dtype(instead)), info.shape[1], dtype_name(stored_dtype(wanted))}];
    return instead;
  }

  // One note for all matrices that cannot be what was asked for and for the same reason.
  void note_others() {
    for (const auto& [why, count] : others_) {
      const auto& [instead, columns, wanted] = why;
      report_.notes.push_back(
          fmt::format("{} {} {} instead of {}: rows of {} values are no whole number of its blocks",
                      count, count == 1 ? "matrix is" : "matrices are", instead, wanted, columns));
    }
  }

  DType embedding_type() const {
    if (embedding_) return *embedding_;
    return is_block_dtype(dtype_) || dtype_ == DType::kI8 ? DType::kI8 : dtype_;
  }

  void put_metadata(GgufMetadata& metadata) {
    metadata.set_string("general.architecture", architecture_.name);
    metadata.set_string("general.type", "model");
    metadata.set_string("general.name", fs::path(files_.path).filename().string());
    metadata.set_uint32("general.file_type", file_type(dtype_));
    metadata.set_uint32("general.quantization_version", 2);
    put_gguf_config(config_, architecture_, metadata);
    const GenerationConfig& generation = files_.generation;
    const auto put_float = [&](const char* key, std::optional<double> value) {
      if (value) metadata.set_float32(key, static_cast<float>(*value));
    };
    if (generation.do_sample.value_or(true)) {
      put_float("general.sampling.temp", generation.temperature);
      put_float("general.sampling.top_p", generation.top_p);
      put_float("general.sampling.min_p", generation.min_p);
      put_float("general.sampling.penalty_repeat", generation.repetition_penalty);
    }
    const auto tokenizer =
        files_.is_gguf
            ? files_.gguf_tokenizer
            : read_hf_vocabulary(files_.folder, config_.required_int("vocab_size"), generation);
    if (tokenizer) {
      put_gguf_tokenizer(*tokenizer, metadata);
    } else {
      report_.notes.push_back("the model has no tokenizer files, so the file works on token ids");
    }
  }

  void check_space(const std::string& path) const {
    std::error_code failure;
    const fs::space_info space = fs::space(fs::path(path).parent_path(), failure);
    if (failure || space.available > static_cast<uintmax_t>(report_.bytes)) return;
    throw_error(ErrorCode::kIo, "{}: the disk has {} MiB left, the model needs {} MiB", path,
                space.available >> 20, report_.bytes >> 20);
  }

  void write_tensor(const Planned& planned, const std::string& source, GgufWriter& writer) const {
    CheckpointTensor tensor = checkpoint().get(source);
    if (planned.transform == GgufTransform::kUnpermuteQ) {
      tensor = permuted(tensor, config_.required_int("num_attention_heads"), source);
    } else if (planned.transform == GgufTransform::kUnpermuteK) {
      const int heads = config_.required_int("num_attention_heads");
      tensor = permuted(tensor, config_.optional_int("num_key_value_heads", heads), source);
    } else if (planned.transform == GgufTransform::kGroupQkv) {
      throw_error(ErrorCode::kUnsupported, "{}: tensor {} cannot be written to a GGUF file",
                  files_.path, quote_name(source));
    } else if (planned.transform == GgufTransform::kSubtractOne) {
      tensor = plus_one(tensor.view);
    }
    quantize_in_chunks(tensor, planned.type, threads_, [&](const Tensor& rows) {
      writer.append(rows.raw(), static_cast<size_t>(rows.bytes()));
    });
  }

  static CheckpointTensor plus_one(const Tensor& x) {
    auto memory = std::make_shared<Buffer>(static_cast<size_t>(x.numel()) * sizeof(float));
    auto* values = memory->as<float>();
    select_convert(x.dtype(), DType::kF32)(x.raw(), x.numel(), values);
    for (int64_t i = 0; i < x.numel(); ++i) values[i] += 1.0f;
    return {Tensor(values, DType::kF32, x.shape()), memory};
  }

  const ModelFiles& files_;
  const ConfigReader config_;
  const GgufArchitecture& architecture_;
  DType dtype_;
  std::optional<DType> embedding_;
  ThreadPool& threads_;
  std::string model_type_;
  bool tied_;
  std::vector<Planned> planned_;
  std::vector<float> rope_factors_;
  // Instead of what, with rows of how many values: so many matrices.
  std::map<std::tuple<std::string, int64_t, std::string>, int> others_;
  QuantizeReport report_;
};

}  // namespace

QuantizeReport write_gguf(const ModelFiles& files, DType dtype, std::optional<DType> embedding,
                          const std::string& path, ThreadPool& threads,
                          const ProgressCallback& progress) {
  return GgufExport(files, dtype, embedding, threads).write(path, progress);
}

}  // namespace lanner
