// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lanner {

class ConfigReader;

// What a model proposes for generating: generation_config.json, typed and checked. Unset: the file
// does not say. The ranges are those of SamplingParams.
struct GenerationConfig {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<int> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<int> max_new_tokens;
  std::vector<int32_t> eos_token_ids;  // any of them ends the text
  std::optional<int32_t> bos_token_id;
  std::optional<int32_t> pad_token_id;

  // Throws Error(kInvalidArgument) that starts with `name` and names the first key out of range.
  void validate(const std::string& name) const;
};

// The generation_config.json of a folder, or an empty one if there is none. Ids that it does not
// have come from config.json; end and begin ids are held against the `vocab_size` there. Keys that
// ask for ways to generate which Lanner lacks (beams, contrastive search) are named in a warning.
// Throws Error(kCorruptFile), or Error(kInvalidArgument) naming the key.
GenerationConfig read_generation_config(const std::string& folder, const ConfigReader& config);

}  // namespace lanner
