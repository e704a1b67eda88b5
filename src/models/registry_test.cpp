// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <set>

#include <gtest/gtest.h>

#include "base/json.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

Json llama_json() {
  return {
      {"model_type", "llama"},           {"hidden_size", 64},        {"vocab_size", 320},
      {"num_hidden_layers", 2},          {"num_attention_heads", 4}, {"num_key_value_heads", 2},
      {"intermediate_size", 128},        {"hidden_act", "silu"},     {"rms_norm_eps", 1e-5},
      {"max_position_embeddings", 2048}, {"eos_token_id", {2, 5}},   {"tie_word_embeddings", true},
      {"torch_dtype", "bfloat16"}};
}

ModelInfo info_of(const Json& json) {
  const ConfigReader config(json, "config.json");
  return read_model_info(config);
}

TEST(Registry, EveryFamilyIsThereOnceAndFoundByItsName) {
  std::set<std::string> names;
  for (const ModelFamily& family : model_families()) {
    EXPECT_TRUE(names.insert(family.model_type).second) << family.model_type;
    EXPECT_NE(family.spec, nullptr);
    const ConfigReader config(Json{{"model_type", family.model_type}}, "config.json");
    // A config with nothing in it is refused by the name of a key.
    expect_error(ErrorCode::kInvalidArgument, {"config.json: no '"},
                 [&] { read_model_info(config); });
  }
  EXPECT_TRUE(names.contains("llama"));
}

TEST(Registry, UnknownModelTypesAreRefusedWithThoseThatWork) {
  expect_error(ErrorCode::kUnsupported, {"model_type", "mamba", "llama"},
               [] { info_of({{"model_type", "mamba"}}); });
  expect_error(ErrorCode::kInvalidArgument, {"model_type"}, [] { info_of(Json::object()); });
  expect_error(ErrorCode::kInvalidArgument, {"model_type"}, [] { info_of({{"model_type", 7}}); });
}

TEST(Llama, ReadsItsConfig) {
  const ModelInfo info = info_of(llama_json());
  EXPECT_EQ(info.num_layers, 2);
  EXPECT_EQ(info.hidden_size, 64);
  EXPECT_EQ(info.vocab_size, 320);
  EXPECT_EQ(info.max_position, 2048);
  EXPECT_EQ(info.num_kv_heads, 2);
  EXPECT_EQ(info.head_dim, 16);
  EXPECT_EQ(info.v_head_dim, 16);
  EXPECT_EQ(info.recompute_length, 0);
  EXPECT_EQ(info.eos_token_ids, (std::vector<int32_t>{2, 5}));
  EXPECT_EQ(info.unpacked_weights, std::vector<std::string>{"lm_head.weight"});
}

TEST(Llama, AcceptsThePublishedVariants) {
  Json json = llama_json();
  // Llama 1 and 2.
  json.erase("num_key_value_heads");
  json.erase("tie_word_embeddings");
  json.update({{"pretraining_tp", 2}, {"max_sequence_length", 2048}});
  EXPECT_EQ(info_of(json).num_kv_heads, 4);
  EXPECT_EQ(info_of(json).unpacked_weights, std::vector<std::string>{"model.embed_tokens.weight"});
  // SmolLM2.
  json = llama_json();
  json.update({{"is_llama_config", true}, {"rope_interleaved", false}, {"rope_scaling", nullptr}});
  EXPECT_EQ(info_of(json).num_layers, 2);
  // A head size of its own.
  json["head_dim"] = 32;
  EXPECT_EQ(info_of(json).head_dim, 32);
}

TEST(Llama, RefusesWrongConfigsByKey) {
  struct Case {
    Json changes;  // null takes a key away
    ErrorCode code;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {{{"hidden_act", "swish7"}}, ErrorCode::kUnsupported, {"hidden_act", "swish7"}},
      {{{"hidden_size", nullptr}}, ErrorCode::kInvalidArgument, {"hidden_size"}},
      {{{"hidden_size", -64}}, ErrorCode::kInvalidArgument, {"hidden_size", "-64"}},
      {{{"hidden_size", "64"}}, ErrorCode::kInvalidArgument, {"hidden_size"}},
      {{{"hidden_size", 66}}, ErrorCode::kInvalidArgument, {"num_attention_heads", "66"}},
      {{{"hidden_size", 12}}, ErrorCode::kInvalidArgument, {"num_attention_heads", "even"}},
      {{{"vocab_size", 0}}, ErrorCode::kInvalidArgument, {"vocab_size"}},
      {{{"vocab_size", 1e300}}, ErrorCode::kInvalidArgument, {"vocab_size"}},
      {{{"num_hidden_layers", 0}}, ErrorCode::kInvalidArgument, {"num_hidden_layers"}},
      {{{"num_attention_heads", 0}}, ErrorCode::kInvalidArgument, {"num_attention_heads"}},
      {{{"num_key_value_heads", 3}}, ErrorCode::kInvalidArgument, {"num_key_value_heads"}},
      {{{"num_key_value_heads", 0}}, ErrorCode::kInvalidArgument, {"num_key_value_heads"}},
      {{{"head_dim", 15}}, ErrorCode::kInvalidArgument, {"head_dim", "even"}},
      {{{"intermediate_size", nullptr}}, ErrorCode::kInvalidArgument, {"intermediate_size"}},
      {{{"rms_norm_eps", nullptr}}, ErrorCode::kInvalidArgument, {"rms_norm_eps"}},
      {{{"rms_norm_eps", -1.0}}, ErrorCode::kInvalidArgument, {"rms_norm_eps"}},
      {{{"max_position_embeddings", nullptr}},
       ErrorCode::kInvalidArgument,
       {"max_position_embeddings"}},
      {{{"eos_token_id", "two"}}, ErrorCode::kInvalidArgument, {"eos_token_id"}},
      {{{"tie_word_embeddings", 1}}, ErrorCode::kInvalidArgument, {"tie_word_embeddings"}},
      {{{"attention_bias", "no"}}, ErrorCode::kInvalidArgument, {"attention_bias"}},
      {{{"rope_interleaved", true}}, ErrorCode::kUnsupported, {"rope_interleaved"}},
      {{{"rope_scaling", {{"type", "spiral"}, {"factor", 2.0}}}},
       ErrorCode::kUnsupported,
       {"rope_scaling.type", "spiral"}},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}, {"twist", 3}}}},
       ErrorCode::kUnsupported,
       {"rope_scaling.twist"}},
      {{{"sliding_window", 128}}, ErrorCode::kUnsupported, {"sliding_window"}},
      {{{"quantization_config", {{"bits", 4}}}}, ErrorCode::kUnsupported, {"quantization_config"}},
      {{{"logit_scale", 0.5}}, ErrorCode::kUnsupported, {"logit_scale"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.changes.dump());
    Json json = llama_json();
    for (const auto& [key, value] : c.changes.items()) json[key] = value;
    expect_error(c.code, c.words, [&] { info_of(json); });
  }
}

}  // namespace
}  // namespace lanner
