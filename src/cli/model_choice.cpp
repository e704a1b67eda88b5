// SPDX-License-Identifier: Apache-2.0
#include "cli/model_choice.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "base/env.h"
#include "base/error.h"
#include "base/hub_layout.h"
#include "cli/failure.h"

namespace lanner::cli {
namespace {

namespace fs = std::filesystem;

bool exists(const std::string& path) {
  std::error_code failure;
  return fs::exists(path, failure);
}

// Whether it is the name OWNER/NAME of a model that `lanner pull` has brought into the hub's cache;
// the library loads it by this name.
bool is_pulled(const std::string& value) {
  const std::string folder = hub_folder_name(value);
  return !folder.empty() && exists(read_environment().hub_cache + "/" + folder + "/refs/main");
}

// A folder, a file that says it is GGUF in its name or in its first four bytes, or a pulled model.
bool is_model(const std::string& path) {
  if (!exists(path)) return is_pulled(path);
  std::error_code failure;
  if (fs::is_directory(path, failure)) return true;
  if (!fs::is_regular_file(path, failure)) return false;
  if (path.ends_with(".gguf")) return true;
  std::array<char, 4> magic{};
  std::ifstream file(path, std::ios::binary);
  return file.read(magic.data(), magic.size()) &&
         std::string_view(magic.data(), magic.size()) == "GGUF";
}

// A prompt hardly looks like this, a mistyped path does.
bool looks_like_path(std::string_view value) {
  if (value.find_first_of(" \t\n") != std::string_view::npos) return false;
  return value.starts_with("/") || value.starts_with("./") || value.starts_with("../") ||
         value.starts_with("~/") || value.ends_with(".gguf");
}

Failure no_such_model(const std::string& value) {
  if (!hub_folder_name(value).empty()) {
    return Failure(
        exit_code(ErrorCode::kNotFound),
        fmt::format("no such model: '{}' is neither a path nor in the hub's cache", value),
        fmt::format("`lanner pull {}` gets it", value));
  }
  return Failure(exit_code(ErrorCode::kNotFound), fmt::format("no such model: '{}'", value),
                 "MODEL is a folder with config.json and *.safetensors, or a GGUF file");
}

}  // namespace

std::string default_model_path(const std::string& cache_dir) {
  const std::string path = cache_dir + "/models/" + kDefaultModelFile;
  std::error_code failure;
  const auto bytes = fs::file_size(path, failure);
  if (failure) {
    throw Failure(exit_code(ErrorCode::kNotFound),
                  fmt::format("the default model is not there: {}: {}", path, failure.message()),
                  "scripts/get_default_model.sh fetches it; or name a MODEL");
  }
  if (bytes != static_cast<uintmax_t>(kDefaultModelBytes)) {
    throw Failure(exit_code(ErrorCode::kCorruptFile),
                  fmt::format("the default model is not whole: {} has {} bytes, expected {}", path,
                              bytes, kDefaultModelBytes),
                  "scripts/get_default_model.sh fetches it again");
  }
  return path;
}

ModelAndText tell_model_from_text(const ModelAndText& given) {
  if (!given.model) return given;
  const std::string& value = *given.model;
  if (given.text) {
    check_model(value);
    return given;
  }
  if (is_model(value)) return given;
  if (!exists(value) && looks_like_path(value)) throw no_such_model(value);
  return {.model = std::nullopt, .text = value};
}

void check_model(const std::string& path) {
  if (!exists(path) && !is_pulled(path)) throw no_such_model(path);
}

}  // namespace lanner::cli
