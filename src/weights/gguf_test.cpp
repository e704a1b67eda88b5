// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf.h"

#include <cmath>

#include <gmock/gmock.h>

#include "base/error.h"
#include "kernels/convert/convert.h"
#include "weights/gguf_checkpoint.h"
#include "weights/gguf_config.h"
#include "weights/gguf_names.h"
#include "weights/gguf_tokenizer.h"
#include "weights/gguf_types.h"
#include "weights/safetensors.h"
#include "weights/testing/expect_error.h"
#include "weights/testing/file_builders.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

using testing::ElementsAre;

class GgufTest : public testing::Test {
 protected:
  GgufFile open(const GgufBuilder& builder) {
    return GgufFile::open(folder_.write("x.gguf", builder.bytes()));
  }
  std::unique_ptr<Checkpoint> checkpoint(const GgufBuilder& builder) {
    return make_gguf_checkpoint(std::make_shared<const GgufFile>(open(builder)));
  }
  ConfigReader config(const GgufBuilder& builder) { return read_gguf_config(open(builder)); }
  void expect_refused(const GgufBuilder& builder, ErrorCode code, const std::string& word) {
    expect_error(code, {"x.gguf", word}, [&] { open(builder); });
  }

  TempFolder folder_;
};

std::vector<float> to_fp32(const Tensor& x) {
  std::vector<float> y(static_cast<size_t>(x.numel()));
  select_convert(x.dtype(), DType::kF32)(x.raw(), x.numel(), y.data());
  return y;
}

TEST_F(GgufTest, ReadsMetadataByType) {
  GgufBuilder builder;
  builder.uint32("u32", 7)
      .int32("i32", -7)
      .uint64("u64", 1ull << 40)
      .float32("f32", 1e-5f)
      .boolean("bool", 1)
      .string("string", "text")
      .strings("strings", {"a", "", "c"})
      .array<int16_t>("int16s", 3, {-1, 2})
      .array<float>("floats", 6, {0.5f, 2.0f});
  const GgufFile file = open(builder);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.optional_int("u32"), 7);
  EXPECT_EQ(file.optional_int("i32"), -7);
  EXPECT_EQ(file.required_int("u64"), int64_t{1} << 40);
  EXPECT_EQ(file.optional_double("f32"), 1e-5);  // not the float's 9.999999747378752e-06
  EXPECT_EQ(file.optional_double("u32"), 7.0);
  EXPECT_EQ(file.optional_bool("bool"), true);
  EXPECT_EQ(file.required_string("string"), "text");
  EXPECT_THAT(file.strings("strings"), ElementsAre("a", "", "c"));
  EXPECT_THAT(file.ints("int16s"), ElementsAre(-1, 2));
  EXPECT_THAT(file.floats("floats"), ElementsAre(0.5f, 2.0f));
  EXPECT_EQ(file.optional_int("none"), std::nullopt);
  EXPECT_TRUE(file.strings("none").empty());
}

TEST_F(GgufTest, NamesTheKeyWhoseTypeIsAnother) {
  GgufBuilder builder;
  builder.uint32("u32", 7).string("string", "text").strings("strings", {"a"}).uint64("big", ~0ull);
  const GgufFile file = open(builder);
  const auto corrupt = [](const char* key, auto&& call) {
    expect_error(ErrorCode::kCorruptFile, {"x.gguf", key}, call);
  };
  corrupt("'u32'", [&] { file.optional_string("u32"); });
  corrupt("'u32'", [&] { file.optional_bool("u32"); });
  corrupt("'u32'", [&] { file.strings("u32"); });
  corrupt("'string'", [&] { file.optional_int("string"); });
  corrupt("'string'", [&] { file.optional_double("string"); });
  corrupt("'strings'", [&] { file.optional_string("strings"); });
  corrupt("'strings'", [&] { file.ints("strings"); });
  corrupt("'strings'", [&] { file.floats("strings"); });
  corrupt("'big'", [&] { file.optional_int("big"); });
  expect_error(ErrorCode::kNotFound, {"'none'"}, [&] { file.required_string("none"); });
}

TEST_F(GgufTest, ReadsVersion2AndOtherAlignments) {
  GgufBuilder builder = tiny_gguf();
  builder.version = 2;
  EXPECT_EQ(open(builder).version(), 2u);

  GgufBuilder aligned;
  aligned.alignment = 128;
  aligned.uint32("general.alignment", 128)
      .fp32_tensor("a", {1}, {1.0f})
      .fp32_tensor("b", {1}, {2.0f});
  const GgufFile file = open(aligned);
  EXPECT_EQ(file.tensors()[1].offset % 128, 0u);
  EXPECT_EQ(*file.tensor(file.tensors()[1]).view.data<float>(), 2.0f);
}

TEST_F(GgufTest, PresentsDimensionsOutermostFirst) {
  GgufBuilder builder;
  builder.fp32_tensor("a", {2, 3}, {0, 1, 2, 3, 4, 5});
  const GgufFile file = open(builder);
  const CheckpointTensor a = file.tensor(*file.find_tensor("a"));
  EXPECT_EQ(a.view.shape(), (Shape{3, 2}));
  EXPECT_EQ(a.view.row<float>(2)[1], 5.0f);
  EXPECT_EQ(file.find_tensor("b"), nullptr);
}

TEST_F(GgufTest, RefusesTypesWhenTheyAreUsedNotWhenTheyAreThere) {
  GgufBuilder builder;
  builder.tensor("a", {256}, 16, std::string(66, 'x'))
      .tensor_at("b", {1}, 99, 96)
      .fp32_tensor("c", {1}, {1.0f});
  const GgufFile file = open(builder);
  expect_error(ErrorCode::kUnsupported, {"'a'", "IQ2_XXS", "Q4_K"},
               [&] { file.tensor(*file.find_tensor("a")); });
  expect_error(ErrorCode::kUnsupported, {"'b'", "99"},
               [&] { file.tensor(*file.find_tensor("b")); });
}

TEST_F(GgufTest, EveryTypeHasTheSizeOfItsDType) {
  int count = 0;
  for (uint32_t id = 0; id < 64; ++id) {
    const GgufTensorType* type = find_gguf_tensor_type(id);
    if (type == nullptr || !type->dtype) continue;
    const DTypeInfo& info = dtype_info(*type->dtype);
    EXPECT_EQ(type->block_elements, info.block_elements) << type->name;
    EXPECT_EQ(type->block_bytes, info.block_bytes) << type->name;
    ++count;
  }
  EXPECT_EQ(count, 13);
}

TEST_F(GgufTest, RefusesWhatIsNoGguf) {
  GgufBuilder builder;
  builder.magic = "GGML";
  expect_refused(builder, ErrorCode::kCorruptFile, "GGUF");
  builder.magic = "GGUF";
  for (uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    builder.version = version;
    expect_refused(builder, ErrorCode::kUnsupported, "version");
  }
}

TEST_F(GgufTest, RefusesCountsThatTheFileCannotHold) {
  for (uint64_t extra : {uint64_t{1} << 20, uint64_t{1} << 62, ~uint64_t{0} - 100}) {
    GgufBuilder tensors = tiny_gguf();
    tensors.extra_tensors = extra;
    expect_refused(tensors, ErrorCode::kCorruptFile, "tensors");
    GgufBuilder pairs = tiny_gguf();
    pairs.extra_pairs = extra;
    expect_refused(pairs, ErrorCode::kCorruptFile, "metadata keys");
  }
}

TEST_F(GgufTest, RefusesLengthsPastTheEnd) {
  for (uint64_t length : {uint64_t{100}, uint64_t{1} << 31, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string number;
    append_raw(number, length);
    expect_refused(GgufBuilder().raw("k", 8, number), ErrorCode::kCorruptFile, "a string");
    for (uint32_t type : {0u, 7u, 8u, 12u}) {
      std::string array;
      append_raw(array, type);
      expect_refused(GgufBuilder().raw("k", 9, array + number), ErrorCode::kCorruptFile, "array");
    }
  }
  // A token of an absurd length inside an array.
  std::string tokens;
  append_raw<uint32_t>(tokens, 8);
  append_raw<uint64_t>(tokens, 1);
  append_raw<uint64_t>(tokens, uint64_t{1} << 32);
  expect_refused(GgufBuilder().raw("tokenizer.ggml.tokens", 9, tokens), ErrorCode::kCorruptFile,
                 "a string");
}

TEST_F(GgufTest, RefusesBadMetadata) {
  std::string nested;
  append_raw<uint32_t>(nested, 9);
  append_raw<uint64_t>(nested, 1);
  expect_refused(GgufBuilder().raw("k", 9, nested), ErrorCode::kUnsupported, "array of arrays");
  expect_refused(GgufBuilder().raw("k", 13, "12345678"), ErrorCode::kCorruptFile, "unknown type");
  expect_refused(GgufBuilder().boolean("k", 2), ErrorCode::kCorruptFile, "boolean");
  expect_refused(GgufBuilder().uint32("k", 1).uint32("k", 1), ErrorCode::kCorruptFile, "twice");
  expect_refused(GgufBuilder().uint32("", 1), ErrorCode::kCorruptFile, "empty");
  for (uint32_t alignment : {0u, 3u, 48u, 1u << 30}) {
    expect_refused(GgufBuilder().uint32("general.alignment", alignment), ErrorCode::kCorruptFile,
                   "alignment");
  }
  expect_refused(GgufBuilder().uint32("split.count", 3), ErrorCode::kUnsupported, "split");
}

TEST_F(GgufTest, RefusesBadTensors) {
  const auto bad = [&](const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset,
                       const char* word) {
    GgufBuilder builder;
    builder.fp32_tensor("first", {8}, std::vector<float>(8)).tensor_at("bad", dims, type, offset);
    expect_refused(builder, ErrorCode::kCorruptFile, word);
  };
  bad({}, 0, 0, "dimensions");
  bad({1, 1, 1, 1, 1}, 0, 0, "dimensions");
  bad({0}, 0, 0, "zero");
  bad({4, 0}, 0, 0, "zero");
  bad({~0ull}, 0, 0, "too large");
  bad({1ull << 32, 1ull << 32}, 0, 0, "too large");
  bad({1ull << 62}, 0, 0, "overflows");
  bad({33}, 2, 0, "Q4_0");
  bad({8}, 0, 1, "multiple");
  bad({8}, 0, 32, "past the end");
  bad({8}, 0, 1ull << 63, "past the end");
  bad({8}, 0, ~0ull - 31, "past the end");
  bad({4}, 0, 0, "overlap");
  GgufBuilder twice;
  twice.fp32_tensor("a", {1}, {0.0f}).fp32_tensor("a", {1}, {0.0f});
  expect_refused(twice, ErrorCode::kCorruptFile, "twice");
}

TEST_F(GgufTest, MapsTheNamesOfLlama) {
  const auto weights = checkpoint(tiny_gguf(/*tied=*/false));
  EXPECT_THAT(
      weights->names(),
      testing::UnorderedElementsAre(
          "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight",
          "model.layers.0.input_layernorm.weight", "model.layers.0.self_attn.q_proj.weight",
          "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight",
          "model.layers.0.self_attn.o_proj.weight",
          "model.layers.0.post_attention_layernorm.weight", "model.layers.0.mlp.gate_proj.weight",
          "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"));
  EXPECT_EQ(weights->info("model.layers.0.mlp.down_proj.weight").dtype, "F32");
  EXPECT_THAT(weights->info("model.layers.0.mlp.down_proj.weight").shape, ElementsAre(8, 16));
  expect_error(ErrorCode::kNotFound, {"'x'"}, [&] { weights->get("x"); });
}

TEST_F(GgufTest, NamesFitWholeOrNotAtAll) {
  const auto architecture = [&](const char* name) -> const GgufArchitecture& {
    return find_gguf_architecture(open(GgufBuilder().string("general.architecture", name)));
  };
  const GgufArchitecture& llama = architecture("llama");
  EXPECT_EQ(hf_tensor_name(llama, "blk.12.attn_q.bias")->name,
            "model.layers.12.self_attn.q_proj.bias");
  for (const char* name :
       {"blk..attn_q.weight", "blk.x.attn_q.weight", "blk.01.attn_q.weight", "blk.-1.attn_q.weight",
        "blk.9999999.attn_q.weight", "token_embd.weightx", "blk.0.attn_q.weight.x", ""}) {
    EXPECT_FALSE(hf_tensor_name(llama, name).has_value()) << name;
  }
  expect_error(ErrorCode::kUnsupported, {"x.gguf", "'mamba'", "llama"},
               [&] { architecture("mamba"); });
}

TEST_F(GgufTest, RefusesTensorsWithoutAPlace) {
  GgufBuilder builder = tiny_gguf();
  builder.fp32_tensor("blk.0.attn_q_norm.weight", {4}, {1, 1, 1, 1});
  expect_error(ErrorCode::kUnsupported, {"'blk.0.attn_q_norm.weight'", "llama"},
               [&] { checkpoint(builder); });
}

TEST_F(GgufTest, TurnsTheRowsOfQAndKFromPairsToHalves) {
  GgufBuilder builder = tiny_gguf();
  builder.fp32_tensor("blk.0.attn_q.bias", {8}, {0, 1, 2, 3, 4, 5, 6, 7});
  const auto weights = checkpoint(builder);
  // Heads of 4: HF rows 0 1 2 3 were rows 0 2 1 3. Row i of the file starts with 8 i.
  const CheckpointTensor q = weights->get("model.layers.0.self_attn.q_proj.weight");
  std::vector<float> firsts;
  for (int64_t i = 0; i < 8; ++i) firsts.push_back(q.view.row<float>(i)[0]);
  EXPECT_THAT(firsts, ElementsAre(0, 16, 8, 24, 32, 48, 40, 56));
  EXPECT_EQ(q.view.row<float>(1)[7], 23.0f);
  const CheckpointTensor bias = weights->get("model.layers.0.self_attn.q_proj.bias");
  EXPECT_EQ(bias.view.shape(), Shape{8});
  EXPECT_THAT(to_fp32(bias.view), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST_F(GgufTest, RefusesHeadsThatDoNotDivideTheRows) {
  GgufBuilder odd = tiny_gguf();
  odd.fp32_tensor("blk.1.attn_q.weight", {8, 6}, std::vector<float>(48));
  const auto weights = checkpoint(odd);
  expect_error(ErrorCode::kInvalidArgument, {"layers.1.self_attn.q_proj", "2 heads"},
               [&] { weights->get("model.layers.1.self_attn.q_proj.weight"); });
  for (uint32_t heads : {0u, 0xffffffffu}) {
    GgufBuilder builder;
    builder.string("general.architecture", "llama").uint32("llama.attention.head_count", heads);
    expect_error(ErrorCode::kInvalidArgument, {"head_count"}, [&] { checkpoint(builder); });
  }
}

// The file was written by the PyPI package gguf from tests/golden/llama-tied.
class GgufFileTest : public testing::Test {
 protected:
  static constexpr const char* kFile = LANNER_TESTS_DIR "/gguf/llama-tied-q8_0.gguf";
  static constexpr const char* kFolder = LANNER_TESTS_DIR "/golden/llama-tied";
};

TEST_F(GgufFileTest, HoldsTheTensorsOfTheHuggingFaceFolder) {
  const auto expected = open_safetensors_folder(kFolder);
  const auto actual = make_gguf_checkpoint(std::make_shared<const GgufFile>(GgufFile::open(kFile)));
  ASSERT_EQ(actual->names(), expected->names());
  for (const std::string& name : expected->names()) {
    const CheckpointTensor wanted = expected->get(name);
    const CheckpointTensor found = actual->get(name);
    ASSERT_EQ(found.view.shape(), wanted.view.shape()) << name;
    const std::vector<float> x = to_fp32(wanted.view);
    const std::vector<float> y = to_fp32(found.view);
    for (size_t i = 0; i < x.size(); ++i) {
      // Half a step of q8_0, of the largest of its 32 elements; scales are fp16.
      float largest = 0.0f;
      for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; ++j) {
        largest = std::max(largest, std::abs(x[j]));
      }
      const float bound = found.view.dtype() == DType::kQ8_0 ? largest * 0.0046f : 0.0f;
      ASSERT_NEAR(y[i], x[i], bound) << name << " " << i;
    }
  }
}

TEST_F(GgufFileTest, HasTheConfigOfTheHuggingFaceFolder) {
  const ConfigReader actual = read_gguf_config(GgufFile::open(kFile));
  const ConfigReader expected = ConfigReader::from_file(std::string(kFolder) + "/config.json");
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "num_key_value_heads", "head_dim",
                          "max_position_embeddings", "bos_token_id"}) {
    EXPECT_EQ(actual.required_int(key), expected.required_int(key)) << key;
  }
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    EXPECT_EQ(actual.required_double(key), expected.required_double(key)) << key;
  }
  for (const char* key : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    EXPECT_EQ(actual.required_bool(key), expected.required_bool(key)) << key;
  }
  for (const char* key : {"model_type", "hidden_act"}) {
    EXPECT_EQ(actual.required_string(key), expected.required_string(key)) << key;
  }
  EXPECT_EQ(actual.token_ids("eos_token_id"), expected.token_ids("eos_token_id"));
  const ConfigReader rope = actual.required_object("rope_scaling");
  const ConfigReader expected_rope = expected.required_object("rope_scaling");
  EXPECT_EQ(rope.required_string("rope_type"), "llama3");
  for (const char* key :
       {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    EXPECT_EQ(rope.required_double(key), expected_rope.required_double(key)) << key;
  }
  actual.finish();
}

TEST_F(GgufFileTest, HasAVocabulary) {
  const auto data = read_gguf_tokenizer(GgufFile::open(kFile));
  ASSERT_TRUE(data.has_value());
  EXPECT_EQ(data->model, "gpt2");
  EXPECT_EQ(data->pre, "llama-bpe");
  EXPECT_EQ(data->tokens.size(), 320u);
  EXPECT_EQ(data->tokens[319], "si");
  EXPECT_EQ(data->token_types[2], GgufTokenType::kControl);
  EXPECT_EQ(data->token_types[3], GgufTokenType::kNormal);
  EXPECT_THAT(data->merges, testing::SizeIs(320 - 3 - 256));
  EXPECT_EQ(data->merges.front(), "Ġ e");
  EXPECT_TRUE(data->scores.empty());
  EXPECT_EQ(data->bos_id, 1);
  EXPECT_EQ(data->eos_id, 2);
  EXPECT_EQ(data->pad_id, std::nullopt);
  EXPECT_EQ(data->add_bos, true);
  EXPECT_EQ(data->add_eos, std::nullopt);
  EXPECT_THAT(data->chat_template, testing::StartsWith("{{ bos_token }}"));
}

TEST_F(GgufTest, ConfigHasDefaultsForWhatIsMissing) {
  const ConfigReader reader = config(tiny_gguf());
  EXPECT_EQ(reader.required_int("vocab_size"), 6);
  EXPECT_EQ(reader.required_int("head_dim"), 4);
  EXPECT_EQ(reader.required_double("rms_norm_eps"), 1e-5);
  EXPECT_TRUE(reader.required_bool("tie_word_embeddings"));
  EXPECT_FALSE(reader.contains("rope_scaling"));
  EXPECT_FALSE(config(tiny_gguf(/*tied=*/false)).required_bool("tie_word_embeddings"));
}

TEST_F(GgufTest, ConfigKnowsRopeScalings) {
  const ConfigReader linear = config(tiny_gguf()
                                         .string("llama.rope.scaling.type", "linear")
                                         .float32("llama.rope.scaling.factor", 4.0f))
                                  .required_object("rope_scaling");
  EXPECT_EQ(linear.required_string("rope_type"), "linear");
  EXPECT_EQ(linear.required_double("factor"), 4.0);

  const ConfigReader yarn = config(tiny_gguf()
                                       .string("llama.rope.scaling.type", "yarn")
                                       .float32("llama.rope.scaling.factor", 8.0f)
                                       .uint32("llama.rope.scaling.original_context_length", 64))
                                .required_object("rope_scaling");
  EXPECT_EQ(yarn.required_string("rope_type"), "yarn");
  EXPECT_EQ(yarn.required_int("original_max_position_embeddings"), 64);
  EXPECT_FALSE(yarn.contains("attention_factor"));

  // Divisors that no llama3 scaling gives.
  const ConfigReader listed =
      config(tiny_gguf().fp32_tensor("rope_freqs.weight", {2}, {1.5f, 3.0f}))
          .required_object("rope_scaling");
  EXPECT_EQ(listed.required_string("rope_type"), "longrope");
  EXPECT_THAT(listed.required_doubles("short_factor"), ElementsAre(1.5, 3.0));
  EXPECT_THAT(listed.required_doubles("long_factor"), ElementsAre(1.5, 3.0));
  EXPECT_EQ(listed.required_double("attention_factor"), 1.0);
}

TEST_F(GgufTest, ConfigRefusesByNameWhatItDoesNotKnow) {
  const auto refused = [&](const GgufBuilder& builder, const char* word) {
    expect_error(ErrorCode::kUnsupported, {"x.gguf", word}, [&] { config(builder); });
  };
  refused(tiny_gguf().uint32("llama.expert_count", 8), "llama.expert_count");
  refused(tiny_gguf().float32("llama.attention.clamp_kqv", 8.0f), "'llama.attention.clamp_kqv'");
  refused(tiny_gguf().float32("llama.logit_scale", 8.0f), "'llama.logit_scale'");
  refused(tiny_gguf().boolean("llama.attention.causal", 0), "llama.attention.causal");
  refused(tiny_gguf().string("llama.rope.scaling.type", "spiral"), "'spiral'");
  refused(tiny_gguf().uint32("llama.rope.dimension_count", 2), "llama.rope.dimension_count");
  refused(tiny_gguf().uint32("llama.attention.value_length", 2), "llama.attention.value_length");
  refused(tiny_gguf().fp32_tensor("blk.0.attn_q.bias", {8}, std::vector<float>(8)), "bias");
  config(tiny_gguf().uint32("llama.expert_count", 0).string("llama.tensor_data_layout", "x"));
}

TEST_F(GgufTest, ConfigRefusesValuesThatMakeNoSense) {
  const auto invalid = [&](const GgufBuilder& builder, const char* word) {
    expect_error(ErrorCode::kInvalidArgument, {"x.gguf", word}, [&] { config(builder); });
  };
  invalid(tiny_gguf().uint32("llama.vocab_size", 7), "vocabulary");
  invalid(tiny_gguf().float32("llama.rope.scaling.factor", 0.0f), "factor");
  invalid(tiny_gguf().float32("llama.rope.scaling.factor", NAN), "factor");
  invalid(tiny_gguf().int32("llama.attention.key_length", -4), "head");
  invalid(tiny_gguf().fp32_tensor("rope_freqs.weight", {2}, {1.0f, NAN}), "rope_freqs");
  invalid(tiny_gguf().fp32_tensor("rope_freqs.weight", {2}, {1.0f, 0.0f}), "rope_freqs");
  invalid(tiny_gguf().fp32_tensor("rope_freqs.weight", {3}, {1.0f, 1.0f, 1.0f}), "rope_freqs");
  invalid(tiny_gguf().float32("general.sampling.temp", -1.0f), "temperature");
  invalid(GgufBuilder().string("general.architecture", "llama").uint32("llama.block_count", 0),
          "block_count");
  expect_error(ErrorCode::kNotFound, {"general.architecture"}, [&] { config(GgufBuilder()); });
  expect_error(ErrorCode::kNotFound, {"llama.block_count"},
               [&] { config(GgufBuilder().string("general.architecture", "llama")); });
}

TEST_F(GgufTest, EndTokensAreThoseOfTextAndTurn) {
  const GenerationConfig generation =
      read_gguf_generation_config(open(tiny_gguf()
                                           .uint32("tokenizer.ggml.eot_token_id", 5)
                                           .uint32("tokenizer.ggml.eom_token_id", 1)
                                           .float32("general.sampling.temp", 0.5f)
                                           .int32("general.sampling.top_k", 20)));
  EXPECT_THAT(generation.eos_token_ids, ElementsAre(1, 5));
  EXPECT_EQ(generation.bos_token_id, 0);
  EXPECT_EQ(generation.temperature, 0.5);
  EXPECT_EQ(generation.top_k, 20);
}

TEST_F(GgufTest, RefusesAVocabularyThatDoesNotFitTogether) {
  const auto vocabulary = [] {
    GgufBuilder builder;
    builder.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", {"a", "b"});
    return builder;
  };
  const auto corrupt = [&](const GgufBuilder& builder, const char* word) {
    expect_error(ErrorCode::kCorruptFile, {"x.gguf", word},
                 [&] { read_gguf_tokenizer(open(builder)); });
  };
  EXPECT_EQ(read_gguf_tokenizer(open(vocabulary()))->tokens.size(), 2u);
  EXPECT_EQ(read_gguf_tokenizer(open(GgufBuilder())), std::nullopt);
  corrupt(vocabulary().array<float>("tokenizer.ggml.scores", 6, {0.0f}), "scores");
  corrupt(vocabulary().array<int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1}), "token_type");
  corrupt(vocabulary().array<int32_t>("tokenizer.ggml.token_type", 5, {1, 7}), "token_type");
  corrupt(vocabulary().uint32("tokenizer.ggml.eos_token_id", 2), "eos_token_id");
  corrupt(vocabulary().int32("tokenizer.ggml.bos_token_id", -2), "bos_token_id");
  corrupt(vocabulary().uint32("tokenizer.ggml.add_bos_token", 1), "add_bos_token");
  corrupt(GgufBuilder().string("tokenizer.ggml.model", "gpt2"), "tokens");
  GgufBuilder long_token;
  long_token.string("tokenizer.ggml.model", "gpt2")
      .strings("tokenizer.ggml.tokens", {"a", std::string(70'000, 'x')});
  corrupt(long_token, "token 1");
}

}  // namespace
}  // namespace lanner
