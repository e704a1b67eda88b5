// SPDX-License-Identifier: Apache-2.0
// The same models in the other forms that they are published in: names with and without a prefix,
// the keys of transformers 5, keys that say what was the default. The logits are those of the
// golden folder that each is a form of.
#include <algorithm>
#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/model_runner.h"
#include "weights/safetensors.h"

namespace lanner {
namespace {

using Rename = std::function<std::string(const std::string& name)>;
using Edit = std::function<void(Json& config)>;

struct Variant {
  const char* what;
  const char* folder;
  Edit edit;      // of config.json
  Rename rename;  // published name -> name in the golden folder's file
};

// Another checkpoint's tensors under other names.
class RenamedCheckpoint : public Checkpoint {
 public:
  RenamedCheckpoint(std::unique_ptr<Checkpoint> inner, Rename rename)
      : inner_(std::move(inner)), rename_(std::move(rename)) {}
  std::vector<std::string> names() const override { return inner_->names(); }
  bool contains(std::string_view name) const override {
    return inner_->contains(rename_(std::string(name)));
  }
  TensorInfo info(std::string_view name) const override {
    return inner_->info(inner_->contains(name) ? std::string(name) : rename_(std::string(name)));
  }
  CheckpointTensor get(std::string_view name) const override {
    return inner_->get(rename_(std::string(name)));
  }
  const std::string& path() const override { return inner_->path(); }

 private:
  std::unique_ptr<Checkpoint> inner_;
  Rename rename_;
};

// A file whose names lack `prefix`; those with it are unknown there.
Rename without(const std::string& prefix) {
  return [prefix](const std::string& name) {
    return name.starts_with(prefix) ? "absent." + name : prefix + name;
  };
}
// A file whose names all have `prefix`, which the golden folder's lack.
Rename with(const std::string& prefix) {
  return [prefix](const std::string& name) {
    return name.starts_with(prefix) ? name.substr(prefix.size()) : "absent." + name;
  };
}

void as_transformers_5(Json& c) {
  Json rope = c.contains("rope_scaling") && c["rope_scaling"].is_object()
                  ? c["rope_scaling"]
                  : Json{{"rope_type", "default"}};
  if (rope.contains("type")) rope["rope_type"] = rope["type"];
  rope.erase("type");
  const auto move = [&](const char* from, const char* to) {
    if (c.contains(from)) rope[to] = c[from];
    c.erase(from);
  };
  move("rope_theta", "rope_theta");
  move("rotary_emb_base", "rope_theta");
  move("partial_rotary_factor", "partial_rotary_factor");
  move("rotary_pct", "partial_rotary_factor");
  c.erase("rope_scaling");
  c["rope_parameters"] = rope;
  c["dtype"] = c["torch_dtype"];
  c.erase("torch_dtype");
}

// is_windowed(layer) as layer_types.
Edit layer_types(std::function<bool(int)> is_windowed) {
  return [is_windowed](Json& c) {
    Json types = Json::array();
    for (int i = 0; i < c.at("num_hidden_layers").get<int>(); ++i) {
      types.push_back(is_windowed(i) ? "sliding_attention" : "full_attention");
    }
    c["layer_types"] = types;
  };
}

void gemma3_of_transformers_5(Json& c) {
  const int pattern = c.at("sliding_window_pattern");
  layer_types([&](int i) { return (i + 1) % pattern != 0; })(c);
  c["rope_parameters"] = {
      {"full_attention", {{"rope_type", "default"}, {"rope_theta", c["rope_theta"]}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", c["rope_local_base_freq"]}}}};
  for (const char* key :
       {"rope_theta", "rope_local_base_freq", "rope_scaling", "sliding_window_pattern"}) {
    c.erase(key);
  }
}

void falcon_with_all_keys(Json& c) {
  c["ffn_hidden_size"] = 4 * c.at("hidden_size").get<int>();
  c["activation"] = "gelu";
  c["rope_theta"] = 10000.0;
  c["max_position_embeddings"] = 2048;
  c["num_ln_in_parallel_attn"] = nullptr;
}

const Variant kVariants[] = {
    {"opt_without_model", "opt-125m", {}, without("model.")},
    {"gpt2_with_transformer", "gpt2", {}, with("transformer.")},
    {"bloom_without_transformer", "bloom", {}, without("transformer.")},
    {"qwen2_yarn_5", "qwen2-yarn", as_transformers_5, {}},
    {"glm_5", "glm", as_transformers_5, {}},
    {"phi_5", "phi", as_transformers_5, {}},
    {"phi3_longrope_5", "phi3-longrope", as_transformers_5, {}},
    {"gpt_neox_5", "gpt_neox", as_transformers_5, {}},
    {"gemma3_5", "gemma3_text", gemma3_of_transformers_5, {}},
    {"gemma2_layer_types", "gemma2", layer_types([](int i) { return i % 2 == 0; }), {}},
    {"qwen2_layer_types", "qwen2-swa", layer_types([](int i) { return i >= 1; }), {}},
    {"falcon_keys", "falcon-7b", falcon_with_all_keys, {}},
};

class FamilyVariantsTest : public testing::TestWithParam<Variant> {};

TEST_P(FamilyVariantsTest, HasTheLogitsOfItsGoldenFolder) {
  const Variant& variant = GetParam();
  const std::string folder = std::string(LANNER_GOLDEN_DIR) + "/" + variant.folder;
  ModelFiles files = open_model(folder);
  if (variant.edit) {
    Json config = files.config.json();
    variant.edit(config);
    files.config = ConfigReader(config, "config.json");
  }
  if (variant.rename) {
    files.checkpoint =
        std::make_unique<RenamedCheckpoint>(std::move(files.checkpoint), variant.rename);
  }
  LlmConfig config;
  config.dtype = "fp32";
  config.kv_dtype = "fp32";
  config.kv_cache_bytes = 8 << 20;
  ModelRunner runner(files, config, {});

  const Json golden = read_json_file(folder + "/golden.json");
  const auto arrays = open_safetensors_file(folder + "/golden.safetensors");
  for (const Json& prompt : golden.at("prompts")) {
    const auto ids = prompt.at("ids").get<std::vector<int32_t>>();
    const CheckpointTensor expected = arrays->get(prompt.at("name").get<std::string>() + ".logits");
    std::vector<float> last;
    runner.logits(ids, 0, [&](const Tensor& rows) {
      const float* row = rows.row<float>(rows.num_rows() - 1);
      last.assign(row, row + rows.size(-1));
    });
    const float* row = expected.view.row<float>(expected.view.num_rows() - 1);
    const double bound = 1e-4 * std::max(1.0, prompt.at("logits_max_abs").get<double>());
    for (size_t i = 0; i < last.size(); ++i) {
      ASSERT_NEAR(last[i], row[i], bound) << prompt.at("name") << ", token " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, FamilyVariantsTest, testing::ValuesIn(kVariants),
                         [](const auto& test) { return std::string(test.param.what); });

}  // namespace
}  // namespace lanner
