// SPDX-License-Identifier: Apache-2.0
#include "weights/matrix_names.h"

#include <algorithm>

namespace lanner {
namespace {

// The last part of the name before ".weight".
constexpr std::string_view kMatrices[] = {
    "W_pack",
    "c_attn",
    "c_fc",
    "c_proj",
    "dense",
    "dense_4h_to_h",
    "down_proj",
    "dense_h_to_4h",
    "embed_out",
    "fc1",
    "fc2",
    "gate_proj",
    "k_proj",
    "gate_up_proj",
    "kv_a_proj_with_mqa",
    "lm_head",
    "o_proj",
    "out_proj",
    "output",
    "output_layer",
    "project_in",
    "q_a_proj",
    "project_out",
    "q_b_proj",
    "q_proj",
    "qkv_proj",
    "query_key_value",
    "up_proj",
    "v_proj",
    "w1",
    "w2",
    "w3",
    "wo",
    "wqkv",
};

}  // namespace

bool is_packed_matrix(std::string_view name, std::string_view model_type) {
  constexpr std::string_view kSuffix = ".weight";
  if (!name.ends_with(kSuffix)) return false;
  name.remove_suffix(kSuffix.size());
  const std::string_view leaf = name.substr(name.rfind('.') + 1);
  if (model_type == "gpt2") return leaf == "lm_head";  // the others lie transposed
  // Baichuan 2 divides each row by its length.
  if (model_type == "baichuan" && leaf == "lm_head") return false;
  return std::ranges::find(kMatrices, leaf) != std::end(kMatrices);
}

}  // namespace lanner
