// SPDX-License-Identifier: Apache-2.0
// Adapters in PEFT's format, written here, against checkpoints whose weights were merged by hand.
#include "weights/lora.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "engine/model_runner.h"
#include "engine/testing/lora_folder.h"
#include "engine/testing/rank_threads.h"
#include "lanner/quantize.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

const std::vector<std::string> kLlamaMatrices = {"q_proj",  "k_proj",    "v_proj",   "o_proj",
                                                 "up_proj", "gate_proj", "down_proj"};

std::vector<float> logits_of(ModelRunner& runner, int adapter = -1) {
  std::vector<float> all;
  runner.logits(
      tiny_prompt(24), 0,
      [&](const Tensor& rows) {
        for (int64_t i = 0; i < rows.num_rows(); ++i) {
          all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
        }
      },
      adapter);
  return all;
}

std::vector<float> logits_of(const std::string& path, const LlmConfig& config = tiny_config(),
                             int adapter = -1) {
  ModelRunner runner(open_model(path, config), config, {});
  return logits_of(runner, adapter);
}

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected,
                 double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  double largest = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(double{value}));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance * largest) << i;
  }
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(double{a[i]}));
    difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
  }
  return difference / largest;
}

LlmConfig with_adapters(std::vector<LoraSource> sources, bool merge = false) {
  LlmConfig config = tiny_config();
  config.lora = std::move(sources);
  config.lora_merge = merge;
  return config;
}

class LoraFamilies : public testing::TestWithParam<LoraCase> {
 protected:
  LoraFamilies() {
    std::vector<Matrix> model = read_matrices(golden_folder(GetParam().golden));
    write_lora(folder_.file("adapter"), GetParam(), 1, model);
    write_model(folder_.file("expected"), GetParam().golden, model);
    base_ = golden_folder(GetParam().golden);
    expected_ = logits_of(folder_.file("expected"));
    base_logits_ = logits_of(base_);
    EXPECT_GT(relative_difference(expected_, base_logits_), 0.01);  // the adapter does something
  }

  TempFolder folder_;
  std::string base_;
  std::vector<float> expected_, base_logits_;
};

TEST_P(LoraFamilies, BesideTheWeightsIsAsMerged) {
  const LlmConfig config = with_adapters({{"a", folder_.file("adapter")}});
  ModelRunner runner(open_model(base_, config), config, {});
  expect_near(logits_of(runner, 0), expected_, 1e-5);
  EXPECT_EQ(logits_of(runner), base_logits_);
}

TEST_P(LoraFamilies, MergedAtLoading) {
  const LlmConfig config = with_adapters({{"a", folder_.file("adapter")}}, /*merge=*/true);
  expect_near(logits_of(base_, config), expected_, 1e-5);
}

TEST_P(LoraFamilies, MergedIntoAFolder) {
  quantize_model(base_, folder_.file("merged"),
                 {.dtype = "fp32", .lora = {folder_.file("adapter")}});
  expect_near(logits_of(folder_.file("merged")), expected_, 1e-5);
}

TEST_P(LoraFamilies, IsCutOverRanks) {
  const LlmConfig config = with_adapters({{"a", folder_.file("adapter")}});
  const ModelFiles files = open_model(base_, config);
  for (const int size : {2, 3}) {
    SCOPED_TRACE(size);
    RankThreads ranks(files, config, size);
    expect_near(logits_of(ranks.runner(), 0), expected_, 1e-5);
    EXPECT_EQ(ranks.join(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, LoraFamilies,
    testing::Values(
        LoraCase{"llama-mha", kLlamaMatrices},
        LoraCase{"llama-mha", {"q_proj", "down_proj"}, 4, {{"use_rslora", true}}, "", 4.0f},
        LoraCase{"llama-mha",
                 {"q_proj", "down_proj"},
                 4,
                 {{"alpha_pattern", {{"down_proj", 2}}}},
                 "",
                 2.0f,
                 {"down_proj", 0.5f}},
        LoraCase{"llama-mha", {"lm_head", "v_proj"}}, LoraCase{"qwen2", kLlamaMatrices, 1},
        LoraCase{"qwen2", {"v_proj", "up_proj"}, 3},
        LoraCase{"phi3", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}, 8},
        // Its matrices lie transposed, and its names lack the first part.
        LoraCase{
            "gpt2", {"c_attn", "c_proj", "c_fc"}, 4, {{"fan_in_fan_out", true}}, "transformer."},
        LoraCase{"falcon-40b", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}},
        LoraCase{"opt-350m", {"k_proj", "out_proj", "fc1", "fc2", "project_in", "project_out"}},
        LoraCase{"mixtral", {"q_proj", "o_proj", "gate"}, 16},
        LoraCase{"qwen2_moe", {"shared_expert.gate_proj", "shared_expert.down_proj"}},
        LoraCase{"deepseek_v2", {"q_proj", "kv_a_proj_with_mqa", "o_proj"}}),
    [](const testing::TestParamInfo<LoraCase>& test) {
      std::string name = test.param.golden + std::to_string(test.index);
      std::ranges::replace(name, '-', '_');
      return name;
    });

TEST(Lora, ChangesQuantisedWeightsToo) {
  std::vector<Matrix> model = read_matrices(golden_folder("llama-mha"));
  const TempFolder folder;
  write_lora(folder.file("adapter"), {"llama-mha", kLlamaMatrices}, 1, model);
  write_model(folder.file("expected"), "llama-mha", model);
  LlmConfig config = with_adapters({{"a", folder.file("adapter")}});
  config.dtype = "int8";
  const std::vector<float> expected = logits_of(folder.file("expected"));
  expect_near(logits_of(golden_folder("llama-mha"), config, 0), expected, 0.05);
  // Merged first: what is quantised is the sum.
  config.lora_merge = true;
  expect_near(logits_of(golden_folder("llama-mha"), config), expected, 0.05);
}

TEST(Lora, RefusesWhatItCannotDo) {
  const TempFolder folder;
  const std::string adapter = folder.file("adapter");
  const auto refuse = [&](const Json& change, ErrorCode code, const char* word) {
    SCOPED_TRACE(change.dump());
    std::vector<Matrix> model = read_matrices(golden_folder("llama-mha"));
    write_lora(adapter, {"llama-mha", {"q_proj"}, 4, change}, 1, model);
    expect_error(code, {word}, [&] { read_lora_adapter(adapter); });
  };
  refuse({{"peft_type", "IA3"}}, ErrorCode::kUnsupported, "peft_type");
  refuse({{"use_dora", true}}, ErrorCode::kUnsupported, "use_dora");
  refuse({{"bias", "all"}}, ErrorCode::kUnsupported, "bias");
  refuse({{"modules_to_save", {"lm_head"}}}, ErrorCode::kUnsupported, "modules_to_save");
  refuse({{"use_rslora", "yes"}}, ErrorCode::kUnsupported, "use_rslora");
  refuse({{"alpha_pattern", {{".*q_proj", 2}}}}, ErrorCode::kUnsupported, "alpha_pattern");
  refuse({{"lora_alpha", nullptr}}, ErrorCode::kUnsupported, "lora_alpha");
  refuse({{"r", "four"}}, ErrorCode::kUnsupported, "'r'");
  refuse({{"r", 8}}, ErrorCode::kCorruptFile, "rank 4");
  refuse({{"new_key", 1}}, ErrorCode::kUnsupported, "new_key");
}

TEST(Lora, RefusesTensorsThatDoNotFit) {
  const TempFolder folder;
  const std::string adapter = folder.file("adapter");
  std::filesystem::create_directories(adapter);
  Json config = lora_config(2);
  std::ofstream(adapter + "/adapter_config.json") << config.dump();
  const Matrix a{"base_model.model.x.lora_A.weight", Shape{2, 4}, std::vector<float>(8)};
  const Matrix b{"base_model.model.x.lora_B.weight", Shape{4, 2}, std::vector<float>(8)};
  const auto refuse = [&](const std::vector<Matrix>& tensors, const char* word) {
    SCOPED_TRACE(word);
    write_matrices(adapter + "/adapter_model.safetensors", tensors);
    for (const bool merge : {false, true}) {
      try {
        open_model(golden_folder("llama-mha"), with_adapters({{"a", adapter}}, merge));
        ADD_FAILURE() << "was taken";
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
      }
    }
  };
  refuse({a}, "lora_B");
  refuse({a, b}, "does not have");
  Matrix other = b;
  other.shape = Shape{2, 4};
  refuse({a, other}, "no product");
  Matrix embedding = a;
  embedding.name = "base_model.model.model.embed_tokens.lora_embedding_A";
  refuse({embedding}, "lora_embedding_A");
  Matrix q_a = a, q_b = b;
  q_a.name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  q_b.name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
  refuse({q_a, q_b}, "[4, 4]");
  q_b.values[3] = std::numeric_limits<float>::quiet_NaN();
  refuse({q_a, q_b}, "no finite numbers");
  q_b.values[3] = std::numeric_limits<float>::infinity();
  refuse({q_a, q_b}, "no finite numbers");
  std::filesystem::remove(adapter + "/adapter_model.safetensors");
  expect_error(ErrorCode::kNotFound, {"adapter_model.safetensors"},
               [&] { read_lora_adapter(adapter); });
  std::ofstream(adapter + "/adapter_model.bin") << "pickle";
  expect_error(ErrorCode::kUnsupported, {"pickle"}, [&] { read_lora_adapter(adapter); });
  expect_error(ErrorCode::kNotFound, {"adapter_config.json"},
               [&] { read_lora_adapter(folder.file("none")); });
}

// What no layer holds an adapter beside is told, and merging does it.
TEST(Lora, RefusesWhatOnlyMergingCanDo) {
  for (const LoraCase& c : {LoraCase{"mixtral", {"w1"}}, LoraCase{"deepseek_v2", {"kv_b_proj"}}}) {
    SCOPED_TRACE(c.golden);
    std::vector<Matrix> model = read_matrices(golden_folder(c.golden));
    const TempFolder folder;
    write_lora(folder.file("adapter"), c, 1, model);
    write_model(folder.file("expected"), c.golden, model);
    expect_error(ErrorCode::kUnsupported, {"merge", c.matrices.front().c_str()}, [&] {
      logits_of(golden_folder(c.golden), with_adapters({{"a", folder.file("adapter")}}), 0);
    });
    expect_near(
        logits_of(golden_folder(c.golden), with_adapters({{"a", folder.file("adapter")}}, true)),
        logits_of(folder.file("expected")), 1e-5);
  }
}

TEST(Lora, RefusesNamesThatDoNotTellAdaptersApart) {
  const auto open = [](std::vector<LoraSource> sources) {
    open_model(golden_folder("llama-mha"), with_adapters(std::move(sources)));
  };
  expect_error(ErrorCode::kInvalidArgument, {"has no name"}, [&] { open({{"", "p"}}); });
  expect_error(ErrorCode::kInvalidArgument, {"2 adapters", "'a'"},
               [&] { open({{"a", "p"}, {"a", "q"}}); });
}

}  // namespace
}  // namespace lanner
