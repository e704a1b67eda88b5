// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lanner::cli {

// The model that is used when none is named: scripts/get_default_model.sh puts it into
// <cache_dir>/models and checks its SHA-256; here only its size is looked at.
inline constexpr const char* kDefaultModelFile = "SmolLM2-135M-Instruct.Q4_1.gguf";
inline constexpr int64_t kDefaultModelBytes = 98362432;

// Throws Failure with the script to run when the file is not there or not whole.
std::string default_model_path(const std::string& cache_dir);

// [MODEL] [TEXT] of a command line; without a model the default one, without a text standard input.
struct ModelAndText {
  std::optional<std::string> model;
  std::optional<std::string> text;
};

// What was given, in its order, may be TEXT alone: a single value is MODEL if it is a folder or a
// GGUF file, and TEXT otherwise. Throws Failure(kNotFound) if a value stands where only a model can
// (the first of two, or a path such as ./x or x.gguf) and does not exist.
ModelAndText tell_model_from_text(const ModelAndText& given);

// Throws Failure(kNotFound) if there is nothing at this path.
void check_model(const std::string& path);

}  // namespace lanner::cli
