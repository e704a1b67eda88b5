// SPDX-License-Identifier: Apache-2.0
#include "lanner/quantize.h"

#include <algorithm>
#include <filesystem>

#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "base/topology.h"
#include "weights/atomic_target.h"
#include "weights/gguf_export.h"
#include "weights/lora.h"
#include "weights/model_files.h"
#include "weights/quantized_checkpoint.h"
#include "weights/quantized_folder.h"

namespace lanner {
namespace {

DType parse_folder_dtype(const std::string& name) {
  const std::optional<DType> dtype = parse_dtype(name);
  if (dtype && std::ranges::find(kWeightDtypes, name) != std::end(kWeightDtypes)) return *dtype;
  throw_error(ErrorCode::kInvalidArgument, "dtype '{}' is none of a folder; known: {}", name,
              fmt::join(kWeightDtypes, ", "));
}

// By Lanner's names and by GGUF's.
struct GgufDtypeName {
  const char* name;
  DType packing;
};
constexpr GgufDtypeName kGgufNames[] = {
    {"fp32", DType::kF32}, {"fp16", DType::kF16}, {"bf16", DType::kBf16},
    {"int8", DType::kI8},  {"int4", DType::kI4},  {"int4_asym", DType::kI4Asym},
    {"q8_0", DType::kI8},  {"q4_0", DType::kI4},  {"q4_1", DType::kI4Asym},
    {"q4_k", DType::kQ4K},
};

DType parse_gguf_dtype(const std::string& name) {
  std::string known;
  for (const GgufDtypeName& row : kGgufNames) {
    if (name == row.name) return row.packing;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw_error(ErrorCode::kInvalidArgument, "dtype '{}' is none of a GGUF file; known: {}", name,
              known);
}

// What is quantised already, by others, is not quantised again: what its parts mean is not known
// here.
void refuse_foreign_quantization(const ModelFiles& files) {
  const Json& config = files.config.json();
  const auto found = config.find("quantization_config");
  if (QuantizedFormat::read(files.config) || found == config.end() || !found->is_object()) return;
  throw_error(ErrorCode::kUnsupported, "{}: is quantised already ({})", files.path,
              found->value("quant_method", "by an unknown method"));
}

}  // namespace

QuantizeReport quantize_model(const std::string& source, const std::string& target,
                              const QuantizeOptions& options, const ProgressCallback& progress) {
  const bool is_gguf = target.ends_with(".gguf");
  const DType dtype = is_gguf ? parse_gguf_dtype(options.dtype) : parse_folder_dtype(options.dtype);
  std::optional<DType> embedding;
  if (options.embedding_dtype != "auto") {
    check_argument(is_gguf, "embedding_dtype is for GGUF files: a folder keeps the source's");
    embedding = parse_gguf_dtype(options.embedding_dtype);
  }
  check_argument(options.threads >= 0, "threads must be 0 (automatic) or more, not {}",
                 options.threads);
  ModelFiles files = open_model(source);
  refuse_foreign_quantization(files);
  for (const std::string& folder : options.lora) {
    files.checkpoint = merge_lora(std::move(files.checkpoint), read_lora_adapter(folder));
  }
  std::error_code failure;
  check_argument(!std::filesystem::equivalent(source, target, failure),
                 "{}: a model cannot be written over itself", target);
  AtomicTarget place(target, is_gguf ? AtomicTarget::Kind::kFile : AtomicTarget::Kind::kFolder,
                     options.overwrite);
  const int wanted = options.threads > 0 ? options.threads : read_environment().threads.value_or(0);
  ThreadPool threads(plan_threads(read_topology(), wanted).cpus);
  QuantizeReport report =
      is_gguf ? write_gguf(files, dtype, embedding, place.path(), threads, progress)
              : write_quantized_folder(files, dtype, place.path(), threads, progress);
  place.commit();
  return report;
}

}  // namespace lanner
