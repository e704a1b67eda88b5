// SPDX-License-Identifier: Apache-2.0
#include "weights/config_reader.h"

#include <filesystem>

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/json.h"
#include "weights/config_keys.h"
#include "weights/generation_config.h"
#include "weights/testing/expect_error.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

using testing::ElementsAre;

ConfigReader reader(const std::string& text) {
  return ConfigReader(parse_json(text, "config.json"), "config.json");
}

void expect_invalid(const char* word, const std::function<void()>& call) {
  expect_error(ErrorCode::kInvalidArgument, {"config.json", word}, call);
}

TEST(ConfigReader, ReadsEveryType) {
  const ConfigReader c = reader(
      R"({"i":4096,"f":1e-05,"whole":10000,"b":true,"s":"silu","o":{"x":2},"null":null,
          "is":[1,2],"fs":[1.5,2],"ss":["a","b"]})");
  EXPECT_EQ(c.required_int("i"), 4096);
  EXPECT_EQ(c.required_double("f"), 1e-5);
  EXPECT_EQ(c.required_float("f"), 1e-5f);
  EXPECT_EQ(c.required_double("whole"), 10000.0);
  EXPECT_TRUE(c.required_bool("b"));
  EXPECT_EQ(c.required_string("s"), "silu");
  EXPECT_EQ(c.required_object("o").required_int("x"), 2);
  EXPECT_THAT(c.required_ints("is"), ElementsAre(1, 2));
  EXPECT_THAT(c.required_doubles("fs"), ElementsAre(1.5, 2.0));
  EXPECT_THAT(c.required_strings("ss"), ElementsAre("a", "b"));
  for (const char* missing : {"null", "none"}) {
    EXPECT_FALSE(c.contains(missing));
    EXPECT_EQ(c.optional_int(missing), std::nullopt);
    EXPECT_EQ(c.optional_int(missing, 7), 7);
    EXPECT_EQ(c.optional_double(missing, 0.5), 0.5);
    EXPECT_EQ(c.optional_float(missing, 0.5f), 0.5f);
    EXPECT_EQ(c.optional_bool(missing, true), true);
    EXPECT_EQ(c.optional_string(missing, "x"), "x");
    EXPECT_FALSE(c.optional_object(missing).has_value());
    EXPECT_FALSE(c.optional_ints(missing).has_value());
    expect_invalid(missing, [&] { c.required_int(missing); });
    expect_invalid(missing, [&] { c.required_float(missing); });
    expect_invalid(missing, [&] { c.required_object(missing); });
  }
}

TEST(ConfigReader, RefusesOtherTypesNamingKeyAndValue) {
  for (const char* value : {"\"abc\"", "1.5", "true", "[1]", "{}", "-1", "0", "2147483648",
                            "18446744073709551615", "9223372036854775808", "1e300"}) {
    const ConfigReader c = reader(fmt::format(R"({{"hidden_size":{}}})", value));
    expect_invalid("'hidden_size'", [&] { c.required_int("hidden_size"); });
    expect_invalid("'hidden_size'", [&] { c.optional_int("hidden_size", 5); });
    if (std::string(value) == "[1]") continue;
    expect_invalid("'hidden_size'", [&] { c.required_ints("hidden_size"); });
  }
  for (const char* value : {"\"1\"", "true", "[1]", "{}", "-1.5", "0", "0.0"}) {
    const ConfigReader c = reader(fmt::format(R"({{"eps":{}}})", value));
    expect_invalid("'eps'", [&] { c.required_double("eps"); });
    expect_invalid("'eps'", [&] { c.required_float("eps"); });
  }
  for (const char* value : {"1e39", "1e-39"}) {  // no float
    expect_invalid("'eps'",
                   [&] { reader(fmt::format(R"({{"eps":{}}})", value)).required_float("eps"); });
  }
  const ConfigReader c = reader(R"({"x":5,"list":[1,-2]})");
  expect_invalid("'x'", [&] { c.required_bool("x"); });
  expect_invalid("'x'", [&] { c.required_string("x"); });
  expect_invalid("'x'", [&] { c.required_object("x"); });
  expect_invalid("'x'", [&] { c.required_strings("x"); });
  expect_invalid("'list' is -2", [&] { c.required_ints("list"); });
  expect_invalid("from 1 to 4", [&] { c.required_int("x", {1, 4}); });
  EXPECT_EQ(c.required_int("x", {5, 5}), 5);
  EXPECT_EQ(reader(R"({"x":-3.5})").required_double("x", DoubleRange::any()), -3.5);
  EXPECT_EQ(reader(R"({"x":0})").required_double("x", DoubleRange::not_negative()), 0.0);
}

TEST(ConfigReader, NamesNestedKeysInFull) {
  const ConfigReader c = reader(R"({"rope_scaling":{"factor":"x"}})");
  expect_invalid("'rope_scaling.factor'",
                 [&] { c.required_object("rope_scaling").required_double("factor"); });
  expect_invalid("'rope_scaling.type'",
                 [&] { c.required_object("rope_scaling").required_string("type"); });
}

TEST(ConfigReader, FinishRefusesKeysNobodyRead) {
  const ConfigReader c = reader(
      R"({"hidden_size":8,"surprise":1,"use_cache":true,"attention_dropout":0.0,"later":null,
          "rope_scaling":{"type":"linear","factor":2.0,"twist":3}})");
  c.required_int("hidden_size");
  c.required_object("rope_scaling").required_string("type");
  expect_error(ErrorCode::kUnsupported,
               {"config.json", "'surprise'", "'rope_scaling.factor'", "'rope_scaling.twist'"},
               [&] { c.finish(); });
  c.ignore("surprise");
  const ConfigReader copy = c;
  copy.required_object("rope_scaling").required_double("factor");
  copy.required_object("rope_scaling").refuse_unless("twist", 3);
  c.finish();
}

TEST(ConfigReader, FinishHoldsSomeKeysToTheirHarmlessValue) {
  reader(R"({"is_encoder_decoder":false,"pruned_heads":{},"add_cross_attention":false})").finish();
  for (const char* text : {R"({"is_encoder_decoder":true})", R"({"pruned_heads":{"0":[1]}})",
                           R"({"add_cross_attention":true})"}) {
    expect_error(ErrorCode::kUnsupported, {"config.json"}, [&] { reader(text).finish(); });
  }
}

// Keys that change the result in some family must never be in the list.
TEST(ConfigKeys, ThatMatterAreNotInTheList) {
  const auto keys = config_keys_without_effect();
  for (const char* key : {"alibi",
                          "attention_bias",
                          "attn_logit_softcapping",
                          "clip_qkv",
                          "gmask_token_id",
                          "head_dim",
                          "hidden_act",
                          "layer_types",
                          "logit_scale",
                          "mlp_bias",
                          "norm_topk_prob",
                          "original_rope",
                          "partial_rotary_factor",
                          "quantization_config",
                          "rope_interleaved",
                          "rope_scaling",
                          "rope_theta",
                          "scale_attn_weights",
                          "sliding_window",
                          "swiglu_limit",
                          "tie_word_embeddings",
                          "use_qk_norm",
                          "use_sliding_window",
                          "vocab_size"}) {
    EXPECT_EQ(std::ranges::find(keys, key), keys.end()) << key;
  }
}

TEST(ConfigReader, RefusesUnsupportedValuesByName) {
  const ConfigReader c = reader(R"({"b":true,"i":2,"f":0.5,"s":"x","none":null})");
  c.refuse_unless("b", true);
  c.refuse_unless("i", 2);
  c.refuse_unless("f", 0.5);
  c.refuse_unless("s", "x");
  c.refuse_unless("none", true);
  c.refuse_unless("missing", 1);
  c.finish();
  const auto refused = [](const char* word, const std::function<void()>& call) {
    expect_error(ErrorCode::kUnsupported, {"config.json", word}, call);
  };
  refused("'b' is true, only false", [&] { c.refuse_unless("b", false); });
  refused("'i' is 2, only 1", [&] { c.refuse_unless("i", 1); });
  refused("'f'", [&] { c.refuse_unless("f", 1.0); });
  refused("'s' is \"x\", only \"y\"", [&] { c.refuse_unless("s", "y"); });
  refused("'s'", [&] { c.refuse_unless("s", true); });
}

TEST(ConfigReader, TakesRopeParametersOfTransformers5) {
  const ConfigReader plain =
      reader(R"({"rope_parameters":{"rope_theta":500000.0,"rope_type":"default"}})");
  EXPECT_EQ(plain.required_double("rope_theta"), 500000.0);
  EXPECT_FALSE(plain.contains("rope_scaling"));
  plain.finish();

  const ConfigReader scaled = reader(
      R"({"rope_parameters":{"rope_theta":10000,"rope_type":"linear","factor":2.0,
          "partial_rotary_factor":0.5}})");
  EXPECT_EQ(scaled.required_double("rope_theta"), 10000.0);
  EXPECT_EQ(scaled.required_double("partial_rotary_factor"), 0.5);
  EXPECT_EQ(scaled.required_object("rope_scaling").required_double("factor"), 2.0);
  EXPECT_EQ(scaled.required_object("rope_scaling").required_string("rope_type"), "linear");
  scaled.finish();

  // One object per layer type is for the family to read.
  const ConfigReader layered =
      reader(R"({"rope_parameters":{"full_attention":{"rope_theta":1.0}}})");
  EXPECT_EQ(layered.required_object("rope_parameters")
                .required_object("full_attention")
                .required_double("rope_theta"),
            1.0);
  layered.finish();
  expect_invalid("'rope_theta'", [] {
    reader(R"({"rope_theta":1.0,"rope_parameters":{"rope_theta":2.0,"rope_type":"default"}})");
  });
}

TEST(ConfigReader, TakesOneTokenIdOrSeveral) {
  EXPECT_THAT(reader(R"({"eos_token_id":2})").token_ids("eos_token_id"), ElementsAre(2));
  EXPECT_THAT(reader(R"({"eos_token_id":[0,5]})").token_ids("eos_token_id"), ElementsAre(0, 5));
  EXPECT_TRUE(reader(R"({"eos_token_id":null})").token_ids("eos_token_id").empty());
  for (const char* value : {"-1", "\"2\"", "[2,\"3\"]", "[[2]]", "1.5", "4294967296"}) {
    expect_invalid("'eos_token_id'", [&] {
      reader(fmt::format(R"({{"eos_token_id":{}}})", value)).token_ids("eos_token_id");
    });
  }
}

TEST(ConfigReader, RefusesWhatIsNoObject) {
  for (const char* text : {"[]", "5", "null", "\"x\""}) {
    expect_error(ErrorCode::kCorruptFile, {"config.json"}, [&] { reader(text); });
  }
  const TempFolder folder;
  expect_error(ErrorCode::kNotFound, {"none.json"},
               [&] { ConfigReader::from_file(folder.file("none.json")); });
  expect_error(ErrorCode::kCorruptFile, {"big.json"}, [&] {
    ConfigReader::from_file(
        folder.write("big.json", "{\"a\":\"" + std::string(1 << 20, 'x') + "\"}"));
  });
}

// Every key of Llama's golden folders is one that the family reads, or known to be without effect.
TEST(ConfigReader, FinishesEveryGoldenLlama) {
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(LANNER_TESTS_DIR) + "/golden")) {
    if (!entry.path().filename().string().starts_with("llama-")) continue;
    const ConfigReader c = ConfigReader::from_file((entry.path() / "config.json").string());
    for (const char* key : {"model_type", "hidden_act"}) c.required_string(key);
    for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "max_position_embeddings"}) {
      c.required_int(key);
    }
    for (const char* key : {"num_key_value_heads", "head_dim"}) c.optional_int(key);
    for (const char* key : {"attention_bias", "mlp_bias", "tie_word_embeddings"})
      c.optional_bool(key);
    c.required_float("rms_norm_eps");
    c.optional_double("rope_theta");
    if (const auto scaling = c.optional_object("rope_scaling")) {
      for (const char* key : {"type", "rope_type"}) scaling->optional_string(key);
      for (const char* key :
           {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
        scaling->optional_double(key);
      }
    }
    EXPECT_NO_THROW(c.finish()) << entry.path();
  }
}

class GenerationConfigTest : public testing::Test {
 protected:
  GenerationConfig read(const std::string& generation, const std::string& config = "{}") {
    folder_.write("generation_config.json", generation);
    return read_generation_config(folder_.path(), reader(config));
  }
  TempFolder folder_;
};

TEST_F(GenerationConfigTest, ReadsWhatTheModelProposes) {
  const GenerationConfig g = read(
      R"({"do_sample":true,"temperature":0.6,"top_k":50,"top_p":0.9,"min_p":0.05,
          "repetition_penalty":1.05,"max_new_tokens":2048,"eos_token_id":[128001,128009],
          "bos_token_id":128000,"pad_token_id":-1,"transformers_version":"4.45.0","num_beams":1})",
      R"({"eos_token_id":2})");
  EXPECT_EQ(g.do_sample, true);
  EXPECT_EQ(g.temperature, 0.6);
  EXPECT_EQ(g.top_k, 50);
  EXPECT_EQ(g.top_p, 0.9);
  EXPECT_EQ(g.min_p, 0.05);
  EXPECT_EQ(g.repetition_penalty, 1.05);
  EXPECT_EQ(g.max_new_tokens, 2048);
  EXPECT_THAT(g.eos_token_ids, ElementsAre(128001, 128009));
  EXPECT_EQ(g.bos_token_id, 128000);
  EXPECT_EQ(g.pad_token_id, std::nullopt);
}

TEST_F(GenerationConfigTest, TakesIdsFromConfigJsonWhereItHasNone) {
  const GenerationConfig g =
      read("{}", R"({"eos_token_id":[2,3],"bos_token_id":1,"vocab_size":4})");
  EXPECT_THAT(g.eos_token_ids, ElementsAre(2, 3));
  EXPECT_EQ(g.bos_token_id, 1);
  EXPECT_EQ(g.temperature, std::nullopt);
  const TempFolder empty;
  EXPECT_THAT(read_generation_config(empty.path(), reader(R"({"eos_token_id":2})")).eos_token_ids,
              ElementsAre(2));
}

TEST_F(GenerationConfigTest, RefusesValuesOutOfRangeNamingTheKey) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
           {"temperature", "-0.1"},
           {"temperature", "101"},
           {"temperature", "\"hot\""},
           {"temperature", "true"},
           {"top_k", "-1"},
           {"top_k", "1.5"},
           {"top_k", "1e10"},
           {"top_p", "0"},
           {"top_p", "1.1"},
           {"top_p", "-1"},
           {"min_p", "2"},
           {"min_p", "-0.5"},
           {"do_sample", "1"},
           {"repetition_penalty", "0"},
           {"repetition_penalty", "-1"},
           {"max_new_tokens", "-5"},
           {"eos_token_id", "-2"},
           {"eos_token_id", "\"x\""},
           {"bos_token_id", "-2"},
           {"bos_token_id", "[1]"},
       }) {
    expect_error(ErrorCode::kInvalidArgument, {"generation_config.json", "'" + key + "'"},
                 [&] { read(fmt::format(R"({{"{}":{}}})", key, value)); });
  }
  expect_error(ErrorCode::kCorruptFile, {"generation_config.json"},
               [&] { read(R"({"temperature":NaN})"); });
  expect_error(ErrorCode::kCorruptFile, {"generation_config.json"}, [&] { read("[]"); });
  expect_error(ErrorCode::kInvalidArgument, {"eos_token_id", "320"},
               [&] { read(R"({"eos_token_id":[1,320]})", R"({"vocab_size":320})"); });
  expect_error(ErrorCode::kInvalidArgument, {"bos_token_id", "320"},
               [&] { read("{}", R"({"vocab_size":320,"bos_token_id":320})"); });
}

}  // namespace
}  // namespace lanner
