// SPDX-License-Identifier: Apache-2.0
// Every family that GGUF has an architecture for computes the same from a GGUF file as from its
// golden folder.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/model_runner.h"
#include "engine/testing/gguf_converter.h"
#include "engine/testing/tiny_model.h"

namespace lanner {
namespace {

constexpr GgufCase kCases[] = {
    {.golden = "mixtral", .architecture = "llama", .permuted = true},
    {.golden = "internlm2", .architecture = "internlm2", .permuted = true},
    {.golden = "qwen2_moe", .architecture = "qwen2moe"},
    {.golden = "qwen3_moe", .architecture = "qwen3moe"},
    {.golden = "deepseek_v2", .architecture = "deepseek2"},
    {.golden = "deepseek_v3", .architecture = "deepseek2"},
    {.golden = "deepseek_v3", .architecture = "deepseek2", .cut_kv_b = true},
    {.golden = "olmoe", .architecture = "olmoe"},
    {.golden = "olmo", .architecture = "olmo", .permuted = true},
    {.golden = "olmo2", .architecture = "olmo2", .post_norms = true},
    {.golden = "granite", .architecture = "granite", .permuted = true},
    {.golden = "granitemoe", .architecture = "granitemoe", .permuted = true},
    {.golden = "cohere", .architecture = "command-r"},
    {.golden = "cohere-qknorm", .architecture = "command-r"},
    {.golden = "cohere2", .architecture = "cohere2"},
    {.golden = "stablelm", .architecture = "stablelm"},
    {.golden = "stablelm-12b", .architecture = "stablelm"},
    // The converter leaves its window out: shorter than that.
    {.golden = "starcoder2", .architecture = "starcoder2", .tokens = 60},
    {.golden = "nemotron", .architecture = "nemotron", .norms_plus_one = true},
    {.golden = "seed_oss", .architecture = "seed_oss", .post_norms = true},
    {.golden = "smollm3", .architecture = "smollm3", .permuted = true},
    {.golden = "ernie4_5", .architecture = "ernie4_5"},
    {.golden = "hunyuan_v1_dense", .architecture = "hunyuan-dense"},
    {.golden = "arcee", .architecture = "arcee", .permuted = true},
    {.golden = "gemma", .architecture = "gemma", .norms_plus_one = true},
    {.golden = "gemma2",
     .architecture = "gemma2",
     .norms_plus_one = true,
     .post_norms = true,
     .changes = R"({"query_pre_attn_scalar": 24})"},
    {.golden = "gemma3_text",
     .architecture = "gemma3",
     .norms_plus_one = true,
     .post_norms = true,
     .changes = R"({"query_pre_attn_scalar": 16})"},
    {.golden = "phi3", .architecture = "phi3"},
    {.golden = "phi3-longrope", .architecture = "phi3"},
    {.golden = "phi3-longrope", .architecture = "phi3", .tokens = 120},
    {.golden = "gpt2", .architecture = "gpt2"},
    {.golden = "falcon-7b", .architecture = "falcon"},
    {.golden = "falcon-40b", .architecture = "falcon"},
    {.golden = "chatglm2", .architecture = "chatglm"},
    {.golden = "chatglm3", .architecture = "chatglm"},
    {.golden = "chatglm3-32k", .architecture = "chatglm"},
    {.golden = "chatglm-glm4", .architecture = "chatglm"},
    {.golden = "glm", .architecture = "chatglm"},
    {.golden = "glm4", .architecture = "glm4"},
    {.golden = "glm4_moe", .architecture = "glm4moe", .post_norms = true},
    {.golden = "baichuan-7b", .architecture = "baichuan", .permuted = true},
    {.golden = "baichuan2-7b", .architecture = "baichuan", .permuted = true},
    {.golden = "baichuan-13b", .architecture = "baichuan", .permuted = true, .repeated_to = 40},
    {.golden = "gpt_oss", .architecture = "gpt-oss", .post_norms = true},
    {.golden = "exaone4", .architecture = "exaone4", .post_norms = true},
    {.golden = "deepseek_v3",
     .architecture = "deepseek2",
     .repeated_from = 1,
     .changes = R"({"first_k_dense_replace": 0})"},
};

// A model whose layers are those of another, over and over from `first` on.
class RepeatedLayers : public Checkpoint {
 public:
  RepeatedLayers(std::unique_ptr<Checkpoint> inner, int first, int layers)
      : inner_(std::move(inner)) {
    std::map<int, std::vector<std::string>> of_layer;
    const std::string prefix = "model.layers.";
    int count = 0;
    for (const std::string& name : inner_->names()) {
      if (!name.starts_with(prefix)) {
        names_[name] = name;
        continue;
      }
      const size_t end = name.find('.', prefix.size());
      const int layer = std::stoi(name.substr(prefix.size(), end - prefix.size()));
      of_layer[layer].push_back(name.substr(end));
      count = std::max(count, layer + 1);
    }
    for (int i = 0; i < layers; ++i) {
      const int from = first + i % (count - first);
      for (const std::string& rest : of_layer[from]) {
        names_[fmt::format("model.layers.{}{}", i, rest)] =
            fmt::format("model.layers.{}{}", from, rest);
      }
    }
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, from] : names_) names.push_back(name);
    return names;
  }
  bool contains(std::string_view name) const override { return names_.contains(name); }
  TensorInfo info(std::string_view name) const override {
    return inner_->info(names_.find(name)->second);
  }
  CheckpointTensor get(std::string_view name) const override {
    const auto found = names_.find(name);
    if (found == names_.end()) throw Error(ErrorCode::kNotFound, std::string(name));
    return inner_->get(found->second);
  }
  const std::string& path() const override { return inner_->path(); }

 private:
  std::unique_ptr<Checkpoint> inner_;
  std::map<std::string, std::string, std::less<>> names_;
};

ModelFiles open_case(const GgufCase& c) {
  ModelFiles files = open_model(golden_folder(c.golden));
  Json config = files.config.json();
  config.update(Json::parse(c.changes));
  if (c.repeated_to > 0) config["num_hidden_layers"] = c.repeated_to;
  if (c.repeated_to > 0 || c.repeated_from > 0) {
    const int layers = config.at("num_hidden_layers");
    files.checkpoint =
        std::make_unique<RepeatedLayers>(std::move(files.checkpoint), c.repeated_from, layers);
  }
  files.config = ConfigReader(config, "config.json");
  return files;
}

std::vector<float> compute(const ModelFiles& files, int tokens) {
  LlmConfig config = tiny_config();
  config.dtype = "fp32";
  config.kv_dtype = "fp32";
  std::vector<int32_t> ids = tiny_prompt(tokens);
  ModelRunner runner(files, config, {});
  std::vector<float> all;
  runner.logits(ids, 0, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
    }
  });
  return all;
}

class GgufFamilyTest : public testing::TestWithParam<GgufCase> {};

TEST_P(GgufFamilyTest, ComputesTheSameFromBothFormats) {
  const ModelFiles files = open_case(GetParam());
  const TempFolder temp;
  const std::string path = temp.write("model.gguf", GgufConverter(GetParam(), files).bytes());
  const std::vector<float> expected = compute(files, GetParam().tokens);
  const std::vector<float> actual = compute(open_model(path), GetParam().tokens);
  ASSERT_EQ(actual.size(), expected.size());
  float largest = 1.0f;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], 1e-4 * largest) << "element " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GgufFamilyTest, testing::ValuesIn(kCases), [](const auto& test) {
  const GgufCase& c = test.param;
  std::string name =
      fmt::format("{}_as_{}{}{}{}", c.golden, c.architecture, c.cut_kv_b ? "_cut" : "",
                  c.tokens != 70 ? "_length" : "", c.repeated_from > 0 ? "_no_dense" : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lanner
