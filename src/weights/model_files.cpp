// SPDX-License-Identifier: Apache-2.0
#include "weights/model_files.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "lanner/hub.h"
#include "weights/awq.h"
#include "weights/gguf_checkpoint.h"
#include "weights/gguf_config.h"
#include "weights/gptq.h"
#include "weights/quantized_checkpoint.h"
#include "weights/random_checkpoint.h"
#include "weights/safetensors.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

// The path itself, or that of a model OWNER/NAME in the hub's cache.
std::string local_path(const std::string& path) {
  std::error_code failure;
  if (fs::exists(path, failure) || !is_hub_id(path)) return path;
  return find_pulled_model(path).value_or(path);
}

// The first file of a folder with this extension, or nothing.
std::optional<std::string> first_with_extension(const fs::path& folder, const char* extension) {
  std::optional<std::string> first;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure)) {
    if (it->path().extension() != extension) continue;
    const std::string name = it->path().filename().string();
    if (!first || name < *first) first = name;
  }
  return first;
}

[[noreturn]] void throw_missing(const std::string& path) {
  if (is_hub_id(path)) {
    throw_error(ErrorCode::kNotFound,
                "{}: no such file or folder, and no model of this name in the hub's cache; "
                "`lanner pull {}` gets it from the Hugging Face hub",
                path, path);
  }
  throw_error(ErrorCode::kNotFound, "{}: no such file or folder", path);
}

ModelFiles open_folder(const std::string& path) {
  const fs::path folder(path);
  std::error_code failure;
  if (!fs::exists(folder / "config.json", failure)) {
    if (const auto gguf = first_with_extension(folder, ".gguf")) {
      throw_error(ErrorCode::kNotFound,
                  "{}: the folder has no config.json; give the file itself: {}", path,
                  (folder / *gguf).string());
    }
    throw_error(ErrorCode::kNotFound,
                "{}: the folder has no config.json, so it is no Hugging Face model", path);
  }
  ConfigReader config = ConfigReader::from_file((folder / "config.json").string());
  GenerationConfig generation = read_generation_config(path, config);
  std::unique_ptr<Checkpoint> checkpoint = open_safetensors_folder(path);
  if (std::optional<QuantizedFormat> format = QuantizedFormat::read(config)) {
    checkpoint = make_quantized_checkpoint(std::move(checkpoint), std::move(*format));
  } else if (std::optional<Int4Format> gptq = read_gptq_format(config)) {
    checkpoint = make_int4_checkpoint(std::move(checkpoint), std::move(*gptq));
  } else if (std::optional<Int4Format> awq = read_awq_format(config)) {
    checkpoint = make_int4_checkpoint(std::move(checkpoint), std::move(*awq));
  }
  return {.config = std::move(config),
          .checkpoint = std::move(checkpoint),
          .generation = std::move(generation),
          .gguf_tokenizer = std::nullopt,
          .path = path,
          .folder = path,
          .is_gguf = false};
}

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

ModelFiles open_gguf(const std::string& path) {
  auto file = std::make_shared<const GgufFile>(GgufFile::open(path));
  // Architecture and names first: what cannot run is said before the vocabulary is read.
  std::unique_ptr<Checkpoint> checkpoint = make_gguf_checkpoint(file);
  ConfigReader config = read_gguf_config(*file);
  std::optional<GgufTokenizerData> tokenizer = read_gguf_tokenizer(*file);
  if (tokenizer) {
    const auto vocab_size = static_cast<size_t>(config.required_int("vocab_size"));
    check_argument(tokenizer->tokens.size() <= vocab_size,
                   "{}: {} tokens in the vocabulary, but 'token_embd.weight' has {} rows", path,
                   tokenizer->tokens.size(), vocab_size);
  }
  return {.config = std::move(config),
          .checkpoint = std::move(checkpoint),
          .generation = read_gguf_generation_config(*file),
          .gguf_tokenizer = std::move(tokenizer),
          .path = path,
          .folder = folder_of(path),
          .is_gguf = true};
}

bool starts_with_gguf(const std::string& path) {
  const auto file = MappedFile::open(path);
  constexpr std::byte kMagic[] = {std::byte{'G'}, std::byte{'G'}, std::byte{'U'}, std::byte{'F'}};
  return file->bytes().size() >= 4 && std::ranges::equal(file->bytes().first(4), kMagic);
}

enum class PathKind { kFolder, kGguf };

// Throws for what is neither, saying what to give instead.
PathKind classify(const std::string& path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (status.type() == fs::file_type::not_found) throw_missing(path);
  if (failure) throw_error(ErrorCode::kIo, "{}: {}", path, failure.message());
  if (fs::is_directory(status)) return PathKind::kFolder;

  const std::string extension = fs::path(path).extension().string();
  if (extension == ".gguf" || starts_with_gguf(path)) return PathKind::kGguf;
  if (extension == ".safetensors" || extension == ".json") {
    throw_error(ErrorCode::kUnsupported,
                "{}: give the folder that holds config.json and the safetensors files", path);
  }
  if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt") {
    throw_error(
        ErrorCode::kUnsupported,
        "{}: pickle files can run code when they are read, so they are refused; convert the "
        "model to safetensors",
        path);
  }
  throw_error(ErrorCode::kUnsupported,
              "{}: neither a folder with config.json and safetensors files nor a GGUF file", path);
}

}  // namespace

ModelFiles open_model(const std::string& given) {
  const std::string path = local_path(given);
  return classify(path) == PathKind::kFolder ? open_folder(path) : open_gguf(path);
}

ModelFiles open_random_model(const std::string& config_or_preset) {
  ConfigReader config = random_model_config(config_or_preset);
  std::error_code failure;
  const bool is_preset = std::ranges::any_of(
      model_presets(), [&](const ModelPreset& preset) { return config_or_preset == preset.name; });
  const bool is_folder = fs::is_directory(config_or_preset, failure);
  GenerationConfig generation;
  if (is_folder) generation = read_generation_config(config_or_preset, config);
  return {.config = std::move(config),
          .checkpoint = make_random_checkpoint(config_or_preset),
          .generation = std::move(generation),
          .gguf_tokenizer = std::nullopt,
          .path = config_or_preset,
          .folder = is_preset   ? ""
                    : is_folder ? config_or_preset
                                : folder_of(config_or_preset),
          .is_gguf = false,
          .has_random_weights = true};
}

ModelTextFiles open_model_text(const std::string& given) {
  const std::string path = local_path(given);
  if (classify(path) == PathKind::kFolder) {
    return {.gguf_tokenizer = std::nullopt, .path = path, .folder = path, .is_gguf = false};
  }
  return {.gguf_tokenizer = read_gguf_tokenizer(GgufFile::open(path)),
          .path = path,
          .folder = folder_of(path),
          .is_gguf = true};
}

}  // namespace lanner
