// SPDX-License-Identifier: Apache-2.0
#include "models/decoder.h"

#include <cstring>

namespace lanner {

DecoderConfig::DecoderConfig(const ConfigReader& config)
    : hidden_size(config.required_int("hidden_size")),
      vocab_size(config.required_int("vocab_size")),
      num_layers(config.required_int("num_hidden_layers")),
      tie_word_embeddings(config.optional_bool("tie_word_embeddings", false)),
      eos_token_ids(config.token_ids("eos_token_id")) {}

std::vector<std::string> DecoderConfig::unpacked_weights() const {
  return {tie_word_embeddings ? "lm_head.weight" : "model.embed_tokens.weight"};
}

void gather_rows(const Tensor& x, const std::vector<int32_t>& indices, const Tensor& y) {
  const size_t bytes = static_cast<size_t>(x.size(-1)) * sizeof(float);
  for (size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(y.row<float>(static_cast<int64_t>(i)), x.row<float>(indices[i]), bytes);
  }
}

}  // namespace lanner
