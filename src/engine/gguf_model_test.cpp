// SPDX-License-Identifier: Apache-2.0
// A model computes the same from a GGUF file as from safetensors, in every type that a file may
// have.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "base/float16.h"
#include "base/testing/random.h"
#include "engine/model_runner.h"
#include "engine/testing/tiny_model.h"
#include "kernels/convert/convert.h"
#include "weights/testing/file_builders.h"

namespace lanner {
namespace {

using Logits = std::vector<float>;  // [num_tokens, vocab_size]

Logits compute(const std::string& path, const std::string& dtype,
               const std::vector<int32_t>& tokens) {
  LlmConfig config = tiny_config();
  config.dtype = dtype;
  ModelRunner runner(open_model(path), config, {});
  Logits all;
  runner.logits(tokens, 0, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
    }
  });
  return all;
}

// Root mean square of the difference, as a part of that of the expected values. NaN stays NaN.
double relative_error(const Logits& actual, const Logits& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / size);
}

// The metadata of a Llama without rope scaling from its config.json.
GgufBuilder llama_metadata(const Json& config) {
  GgufBuilder gguf;
  gguf.string("general.architecture", "llama")
      .uint32("llama.block_count", config.at("num_hidden_layers"))
      .uint32("llama.context_length", config.at("max_position_embeddings"))
      .uint32("llama.embedding_length", config.at("hidden_size"))
      .uint32("llama.feed_forward_length", config.at("intermediate_size"))
      .uint32("llama.attention.head_count", config.at("num_attention_heads"))
      .uint32("llama.attention.head_count_kv", config.at("num_key_value_heads"))
      .float32("llama.attention.layer_norm_rms_epsilon", config.at("rms_norm_eps"))
      .float32("llama.rope.freq_base", 10000.0f);
  return gguf;
}

// Rows of Q and K as llama.cpp's converter puts them: from halves to pairs, head by head.
std::vector<float> permuted(const std::vector<float>& rows, int64_t heads, int64_t width) {
  const int64_t num_rows = static_cast<int64_t>(rows.size()) / width;
  const int64_t head_dim = num_rows / heads;
  std::vector<float> result(rows.size());
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t head = row / head_dim;
    const int64_t i = row % head_dim;
    const int64_t half = i / (head_dim / 2);
    const int64_t target = head * head_dim + 2 * (i % (head_dim / 2)) + half;
    std::copy_n(rows.begin() + row * width, width, result.begin() + target * width);
  }
  return result;
}

constexpr std::array<std::array<const char*, 2>, 9> kLayerNames = {{
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
}};

// Matrices and norms of a Llama by both names: {HF, GGUF}.
std::vector<std::array<std::string, 2>> tensor_names(int num_layers) {
  std::vector<std::array<std::string, 2>> names = {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"}};
  for (int layer = 0; layer < num_layers; ++layer) {
    for (const auto& [hf, gguf] : kLayerNames) {
      names.push_back({fmt::format("model.layers.{}.{}.weight", layer, hf),
                       fmt::format("blk.{}.{}.weight", layer, gguf)});
    }
  }
  return names;
}

TEST(GgufModel, Fp32EqualsSafetensors) {
  const std::string folder = golden_folder("llama-mha");
  const ModelFiles files = open_model(folder);
  const Json config = read_json_file(folder + "/config.json");
  GgufBuilder gguf = llama_metadata(config);
  for (const auto& [hf, name] : tensor_names(config.at("num_hidden_layers"))) {
    const CheckpointTensor tensor = files.checkpoint->get(hf);
    std::vector<float> values(tensor.view.data<float>(),
                              tensor.view.data<float>() + tensor.view.numel());
    std::vector<uint64_t> dims;
    for (int i = tensor.view.shape().rank() - 1; i >= 0; --i) {
      dims.push_back(static_cast<uint64_t>(tensor.view.size(i)));
    }
    if (name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight")) {
      values = permuted(values, config.at("num_attention_heads"), tensor.view.size(1));
    }
    gguf.fp32_tensor(name, dims, values);
  }
  const TempFolder temp;
  const std::string path = temp.write("model.gguf", gguf.bytes());
  const Logits expected = compute(folder, "fp32", tiny_prompt(70));
  const Logits actual = compute(path, "fp32", tiny_prompt(70));
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(actual[i], expected[i], 1e-4);
}

// Written by the PyPI package gguf (tools/make_gguf_model.py), with Q and K permuted and the llama3
// rope scaling as rope_freqs.weight. Rounding the weights alone moves the logits by 0.0384.
TEST(GgufModel, Q8IsAsCloseToSafetensorsAsEightBitsAre) {
  const std::string path = std::string(LANNER_TESTS_DIR) + "/gguf/llama-tied-q8_0.gguf";
  const Logits expected = compute(golden_folder("llama-tied"), "fp32", tiny_prompt(150));
  EXPECT_LT(relative_error(compute(path, "fp32", tiny_prompt(150)), expected), 0.06);
  EXPECT_LT(relative_error(compute(path, "auto", tiny_prompt(150)), expected), 0.08);
}

struct FileType {
  DType dtype;
  uint32_t ggml_type;
  std::vector<int> scale_offsets;  // of the fp16 scales and minima in a block
};

const std::vector<FileType>& file_types() {
  static const std::vector<FileType> types = {
      {DType::kF32, 0, {}},      {DType::kF16, 1, {}},      {DType::kBf16, 30, {}},
      {DType::kQ4_0, 2, {0}},    {DType::kQ4_1, 3, {0, 2}}, {DType::kQ5_0, 6, {0}},
      {DType::kQ5_1, 7, {0, 2}}, {DType::kQ8_0, 8, {0}},    {DType::kQ2K, 10, {80, 82}},
      {DType::kQ3K, 11, {108}},  {DType::kQ4K, 12, {0, 2}}, {DType::kQ5K, 13, {0, 2}},
      {DType::kQ6K, 14, {208}},
  };
  return types;
}

struct Matrix {
  std::string bytes;          // as in the file
  std::vector<float> values;  // what they stand for
};

Matrix quantised(const FileType& type, int64_t count, float scale, uint32_t seed) {
  const DTypeInfo& info = dtype_info(type.dtype);
  Matrix matrix{std::string(static_cast<size_t>(dtype_bytes(type.dtype, count)), '\0'),
                std::vector<float>(static_cast<size_t>(count))};
  std::mt19937 random(seed);
  for (char& byte : matrix.bytes) byte = static_cast<char>(random());
  const uint16_t half = fp32_to_fp16(scale);
  const auto block_bytes = static_cast<size_t>(info.block_bytes);
  for (size_t block = 0; block < matrix.bytes.size(); block += block_bytes) {
    for (int offset : type.scale_offsets) {
      std::memcpy(matrix.bytes.data() + block + static_cast<size_t>(offset), &half, sizeof half);
    }
  }
  select_convert(type.dtype, DType::kF32)(matrix.bytes.data(), count, matrix.values.data());
  return matrix;
}

// Random values of about 1/16, the size that keeps a layer of width 256 in bounds.
Matrix random_matrix(const FileType& type, int64_t count, uint32_t seed) {
  constexpr float kSize = 1.0f / 16;
  if (type.scale_offsets.empty()) {
    const std::vector<float> values = random_normal(count, seed, kSize);
    Matrix matrix{std::string(static_cast<size_t>(dtype_bytes(type.dtype, count)), '\0'), values};
    if (type.dtype == DType::kF32) {
      std::memcpy(matrix.bytes.data(), values.data(), matrix.bytes.size());
    } else {
      select_convert(DType::kF32, type.dtype)(values.data(), count, matrix.bytes.data());
      select_convert(type.dtype, DType::kF32)(matrix.bytes.data(), count, matrix.values.data());
    }
    return matrix;
  }
  // Values are proportional to the scales.
  constexpr float kTrial = 1.0f / 64;
  double squares = 0;
  for (float value : quantised(type, count, kTrial, seed).values) squares += double{value} * value;
  const double size = std::sqrt(squares / static_cast<double>(count));
  return quantised(type, count, static_cast<float>(kTrial * kSize / size), seed);
}

class GgufTypeTest : public testing::TestWithParam<FileType> {};

TEST_P(GgufTypeTest, LoadsAndEqualsTheSameValuesInFp32) {
  const FileType& type = GetParam();
  const Json config = {{"num_hidden_layers", 2},   {"max_position_embeddings", 512},
                       {"hidden_size", 256},       {"intermediate_size", 512},
                       {"num_attention_heads", 4}, {"num_key_value_heads", 2},
                       {"rms_norm_eps", 1e-5}};
  constexpr int64_t kVocab = 64;
  GgufBuilder original = llama_metadata(config);
  GgufBuilder twin = llama_metadata(config);
  uint32_t seed = 1;
  for (const auto& [hf, name] : tensor_names(2)) {
    if (name.find("norm") != std::string::npos) {
      const std::vector<float> ones(256, 1.0f);
      original.fp32_tensor(name, {256}, ones);
      twin.fp32_tensor(name, {256}, ones);
      continue;
    }
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    const int64_t columns = has("ffn_down") ? 512 : 256;
    int64_t num_rows = 256;
    if (has("ffn_gate") || has("ffn_up")) num_rows = 512;
    if (has("attn_k") || has("attn_v")) num_rows = 128;
    if (has("token_embd") || name == "output.weight") num_rows = kVocab;
    const Matrix matrix = random_matrix(type, num_rows * columns, seed++);
    const std::vector<uint64_t> dims = {static_cast<uint64_t>(columns),
                                        static_cast<uint64_t>(num_rows)};
    original.tensor(name, dims, type.ggml_type, matrix.bytes);
    twin.fp32_tensor(name, dims, matrix.values);
  }
  const TempFolder temp;
  const std::string path = temp.write("original.gguf", original.bytes());
  const std::string twin_path = temp.write("twin.gguf", twin.bytes());

  std::vector<int32_t> tokens = tiny_prompt(40);
  for (int32_t& token : tokens) token = static_cast<int32_t>(token % kVocab);
  const Logits expected = compute(twin_path, "fp32", tokens);
  EXPECT_LT(relative_error(compute(path, "fp32", tokens), expected), 1e-5);
  // In the file's own type activations are rounded to 8 bits, or to bf16.
  EXPECT_LT(relative_error(compute(path, "auto", tokens), expected), 0.05);
}

INSTANTIATE_TEST_SUITE_P(AllTypes, GgufTypeTest, testing::ValuesIn(file_types()),
                         [](const auto& test) {
                           return std::string(dtype_name(test.param.dtype));
                         });

TEST(GgufModel, EveryBlockTypeIsTested) {
  for (const DTypeInfo& info : dtypes()) {
    if (!is_block_dtype(info.dtype) || is_packing(info.dtype)) continue;
    EXPECT_TRUE(std::ranges::any_of(file_types(), [&](const FileType& type) {
      return type.dtype == info.dtype;
    })) << info.name;
  }
}

}  // namespace
}  // namespace lanner
