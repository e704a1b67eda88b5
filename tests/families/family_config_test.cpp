// SPDX-License-Identifier: Apache-2.0
// Every key of every family's config.json: a value that makes no sense is an error that names the
// key, never ignored.
#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "models/registry.h"
#include "weights/config_keys.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

std::vector<std::string> golden_families() {
  std::vector<std::string> families;
  for (const auto& entry : std::filesystem::directory_iterator(LANNER_GOLDEN_DIR)) {
    if (std::filesystem::exists(entry.path() / "config.json")) {
      families.push_back(entry.path().filename().string());
    }
  }
  std::sort(families.begin(), families.end());
  return families;
}

Json golden_config(const std::string& family) {
  return read_json_file(std::string(LANNER_GOLDEN_DIR) + "/" + family + "/config.json");
}

ModelInfo info_of(const Json& json) { return read_model_info(ConfigReader(json, "config.json")); }

bool has_no_effect(const std::string& key) {
  const auto keys = config_keys_without_effect();
  return std::ranges::find(keys, key) != keys.end();
}

class FamilyConfigTest : public testing::TestWithParam<std::string> {};

TEST_P(FamilyConfigTest, IsReadWhole) {
  const ModelInfo info = info_of(golden_config(GetParam()));
  EXPECT_GT(info.num_layers, 0);
  EXPECT_GT(info.max_position, 0);
  EXPECT_GT(info.head_dim, 0);
}

TEST_P(FamilyConfigTest, NonsenseInAKeyIsRefusedByItsName) {
  const Json config = golden_config(GetParam());
  for (const auto& [key, value] : config.items()) {
    if (has_no_effect(key)) continue;
    SCOPED_TRACE(key);
    Json changed = config;
    changed[key] = value.is_string() ? Json("nonsense") : Json::object({{"nonsense", 1}});
    try {
      info_of(changed);
      ADD_FAILURE() << "was accepted as " << changed[key].dump();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
    }
  }
}

TEST_P(FamilyConfigTest, AKeyThatNobodyKnowsIsRefused) {
  Json config = golden_config(GetParam());
  config["attention_twist"] = 0.5;
  expect_error(ErrorCode::kUnsupported, {"attention_twist"}, [&] { info_of(config); });
}

TEST_P(FamilyConfigTest, SizesThatCannotBeAreRefused) {
  const Json config = golden_config(GetParam());
  for (const auto& [key, value] : config.items()) {
    if (has_no_effect(key) || !value.is_number_integer()) continue;
    SCOPED_TRACE(key);
    Json changed = config;
    changed[key] = -7;
    EXPECT_THROW(info_of(changed), Error);
    // The base of a rotation may be any number.
    if (key.find("rope") != std::string::npos || key.find("rotary") != std::string::npos) continue;
    changed[key] = 1e300;
    EXPECT_THROW(info_of(changed), Error);
  }
}

// No setting hides another key of the family, so that it would be taken for one of nobody's.
TEST_P(FamilyConfigTest, EachKeyIsKnownWhateverTheOthersSay) {
  const Json config = golden_config(GetParam());
  for (const auto& [key, value] : config.items()) {
    if (has_no_effect(key)) continue;
    SCOPED_TRACE(key);
    Json changed = config;
    if (value.is_boolean()) {
      changed[key] = !value.get<bool>();
    } else {
      changed[key] = nullptr;
    }
    try {
      info_of(changed);
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("does not know"), std::string::npos) << error.what();
    }
  }
}

// A wrong word is an error that has the key, the word, and the words that work.
struct WrongValue {
  const char* family;
  const char* key;
  const char* value;  // JSON
  std::vector<std::string> words;
};

const WrongValue kWrongValues[] = {
    {"llama-mha", "model_type", R"("llama9")", {"llama9", "qwen2", "gemma3_text", "chatglm"}},
    {"llama-mha", "hidden_act", R"("swiglu")", {"swiglu", "silu", "gelu", "relu2"}},
    {"qwen2_moe", "hidden_act", R"("tanh")", {"tanh", "silu", "gelu_pytorch_tanh"}},
    {"opt-125m", "activation_function", R"("mish")", {"mish", "relu", "gelu"}},
    {"gpt2", "activation_function", R"("elu")", {"elu", "gelu_new", "relu"}},
    {"starcoder2", "hidden_act", R"("geglu")", {"geglu", "gelu_pytorch_tanh"}},
    {"gemma", "hidden_activation", R"("relu")", {"relu", "gelu_pytorch_tanh"}},
    {"gemma2", "hidden_activation", R"("tanhshrink")", {"tanhshrink", "gelu_pytorch_tanh"}},
    {"falcon-7b", "activation", R"("celu")", {"celu", "gelu", "relu"}},
    {"llama-mha", "rope_scaling", R"({"type": "ntk", "factor": 2})", {"ntk", "yarn", "llama3"}},
    {"qwen2-yarn", "rope_scaling", R"({"rope_type": "mrope"})", {"mrope", "dynamic", "longrope"}},
    {"glm4", "rope_scaling", R"({"rope_type": "polar"})", {"polar", "linear", "su"}},
    {"deepseek_v3", "rope_scaling", R"({"type": "abf"})", {"abf", "yarn", "default"}},
    {"deepseek_v2", "topk_method", R"("best")", {"best", "greedy", "group_limited_greedy"}},
    {"deepseek_v2", "scoring_func", R"("sigmoid")", {"sigmoid", "softmax"}},
    {"deepseek_v3", "scoring_func", R"("softmax")", {"softmax", "sigmoid"}},
    {"starcoder2", "norm_type", R"("rms_norm")", {"rms_norm", "layer_norm"}},
    {"hunyuan_v1_dense", "norm_type", R"("layer")", {"layer", "rms"}},
    {"granite", "position_embedding_type", R"("nope")", {"nope", "rope"}},
    {"cohere2", "position_embedding_type", R"("alibi")", {"alibi", "rope_gptj"}},
    {"gemma3_text",
     "layer_types",
     R"(["ring", "ring", "ring", "ring"])",
     {"ring", "sliding_attention", "full_attention"}},
    {"exaone4", "sliding_window_pattern", R"("LLX")", {"LLX", "L (sliding window)", "G (global)"}},
    {"baichuan-7b", "architectures", R"(["Baichuan3"])", {"Baichuan3", "BaiChuanForCausalLM"}},
    {"gpt_oss", "quantization_config", R"({"quant_method": "fp8"})", {"fp8", "mxfp4"}},
    {"chatglm2", "interleaved_qkv", "true", {"true", "false"}},
    {"chatglm2", "tie_word_embeddings", "true", {"true", "false"}},
    {"chatglm2", "pre_seq_len", "128", {"128", "0"}},
    {"chatglm2", "prefix_projection", "true", {"true", "false"}},
    {"chatglm3", "quantization_bit", "4", {"4", "0"}},
    {"chatglm-glm4", "vocab_size", "300", {"300", "352"}},
    {"chatglm-glm4", "num_hidden_layers", "7", {"7", "2"}},
    {"chatglm", "position_encoding_2d", "false", {"false", "true"}},
    {"chatglm", "num_hidden_layers", "7", {"7", "2"}},
    {"chatglm", "tie_word_embeddings", "true", {"true", "false"}},
    {"qwen", "use_cache_quantization", "true", {"true", "false"}},
    {"qwen", "use_cache_kernel", "true", {"true", "false"}},
    {"internlm2", "hidden_act", R"("glu")", {"glu", "silu", "gelu"}},
    {"internlm2", "rope_scaling", R"({"type": "abf", "factor": 2})", {"abf", "linear", "dynamic"}},
    {"baichuan-13b", "hidden_act", R"("glu")", {"glu", "silu", "gelu"}},
    {"baichuan-7b", "rope_scaling", R"({"type": "linear", "factor": 2})", {"does not know"}},
    {"mistral", "position_embedding_type", R"("relative")", {"does not know"}},
};

TEST(FamilyConfig, AWrongWordIsNamedWithThoseThatWork) {
  for (const WrongValue& wrong : kWrongValues) {
    SCOPED_TRACE(std::string(wrong.family) + ", " + wrong.key);
    Json config = golden_config(wrong.family);
    config[wrong.key] = Json::parse(wrong.value);
    try {
      info_of(config);
      ADD_FAILURE() << "was accepted";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(wrong.key), std::string::npos) << message;
      for (const std::string& word : wrong.words) {
        EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
      }
    }
  }
}

// Sizes that do not go together are an error that names the key.
TEST(FamilyConfig, SizesThatDoNotFitAreRefusedByTheirKey) {
  const struct {
    const char* family;
    const char* key;
    const char* value;  // JSON
  } kWrongSizes[] = {
      {"qwen", "kv_channels", "15"},
      {"qwen", "rotary_pct", "0.2"},
      {"qwen", "intermediate_size", "337"},
      {"chatglm", "num_attention_heads", "7"},
      {"chatglm", "num_attention_heads", "16"},  // halves of three elements
      {"chatglm2", "kv_channels", "14"},
      {"chatglm2", "multi_query_group_num", "4"},
      {"baichuan-7b", "num_attention_heads", "7"},
      {"baichuan-13b", "num_attention_heads", "7"},
      {"internlm2", "num_attention_heads", "10"},
      {"internlm2", "num_key_value_heads", "4"},
  };
  for (const auto& [family, key, value] : kWrongSizes) {
    SCOPED_TRACE(std::string(family) + ", " + key + " " + value);
    Json config = golden_config(family);
    config[key] = Json::parse(value);
    expect_error(ErrorCode::kInvalidArgument, {key}, [&] { info_of(config); });
  }
}

INSTANTIATE_TEST_SUITE_P(
    Families, FamilyConfigTest, testing::ValuesIn(golden_families()), [](const auto& test) {
      std::string name = test.param;
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

}  // namespace
}  // namespace lanner
