// SPDX-License-Identifier: Apache-2.0
#include "weights/generation_config.h"

#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "weights/config_reader.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

template <typename T>
void check_range(const std::string& name, const char* key, const std::optional<T>& value, T min,
                 T max) {
  if (!value || (*value >= min && *value <= max)) return;  // NaN is in no range
  throw_error(ErrorCode::kInvalidArgument, "{}: '{}' is {}, expected {} to {}", name, key, *value,
              min, max);
}

// An id, with -1 for none, as some published files have it.
std::optional<int32_t> read_id(const ConfigReader& config, const char* key) {
  const std::optional<int> id = config.optional_int(key, IntRange{.min = -1});
  return id == -1 ? std::nullopt : id;
}

void read_ids(const ConfigReader& config, GenerationConfig& generation) {
  if (generation.eos_token_ids.empty()) generation.eos_token_ids = config.token_ids("eos_token_id");
  if (!generation.bos_token_id) generation.bos_token_id = read_id(config, "bos_token_id");
  if (!generation.pad_token_id) generation.pad_token_id = read_id(config, "pad_token_id");
}

GenerationConfig read_file(const ConfigReader& file) {
  GenerationConfig generation;
  generation.do_sample = file.optional_bool("do_sample");
  generation.temperature = file.optional_double("temperature", DoubleRange::any());
  generation.top_k = file.optional_int("top_k", IntRange{.min = 0});
  generation.top_p = file.optional_double("top_p", DoubleRange::any());
  generation.min_p = file.optional_double("min_p", DoubleRange::any());
  generation.repetition_penalty = file.optional_double("repetition_penalty", DoubleRange::any());
  generation.max_new_tokens = file.optional_int("max_new_tokens", IntRange{.min = 0});
  // 0 new tokens stands for no proposal.
  if (generation.max_new_tokens == 0) generation.max_new_tokens.reset();
  read_ids(file, generation);
  generation.validate(file.name());
  // Remarks, and limits that the engine sets by itself.
  for (const char* key : {"_from_model_config", "max_length", "max_window_size", "chat_format",
                          "trust_remote_code"}) {
    file.ignore(key);
  }
  return generation;
}

void check_ids(const ConfigReader& config, const GenerationConfig& generation) {
  const std::optional<int> vocab_size = config.optional_int("vocab_size");
  if (!vocab_size) return;
  const auto check = [&](const char* key, int32_t id) {
    check_argument(id < *vocab_size, "{}: '{}' is {}, but the vocabulary has {} tokens",
                   config.name(), key, id, *vocab_size);
  };
  for (int32_t id : generation.eos_token_ids) check("eos_token_id", id);
  if (generation.bos_token_id) check("bos_token_id", *generation.bos_token_id);
}

}  // namespace

void GenerationConfig::validate(const std::string& name) const {
  check_range(name, "temperature", temperature, 0.0, 100.0);
  check_range(name, "top_k", top_k, 0, std::numeric_limits<int>::max());
  // 0 would keep no token at all.
  check_range(name, "top_p", top_p, std::numeric_limits<double>::min(), 1.0);
  check_range(name, "min_p", min_p, 0.0, 1.0);
  check_range(name, "repetition_penalty", repetition_penalty, std::numeric_limits<double>::min(),
              100.0);
}

GenerationConfig read_generation_config(const std::string& folder, const ConfigReader& config) {
  const std::filesystem::path path = std::filesystem::path(folder) / "generation_config.json";
  GenerationConfig generation;
  std::error_code failure;
  if (std::filesystem::exists(path, failure)) {
    const ConfigReader file = ConfigReader::from_file(path.string());
    generation = read_file(file);
    for (const std::string& key : file.unknown_keys()) {
      log_warn("{}: {} is not supported and has no effect", path.string(), quote_name(key));
    }
  }
  read_ids(config, generation);
  check_ids(config, generation);
  return generation;
}

}  // namespace lanner
