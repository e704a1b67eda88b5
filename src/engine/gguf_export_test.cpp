// SPDX-License-Identifier: Apache-2.0
// GGUF files that quantize_model writes: they compute what the folder computes that they were made
// of, and tokenize as it does. (tests/e2e/quantize_test.py has them read by the PyPI package gguf.)
#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/gguf_text.h"
#include "engine/model_runner.h"
#include "engine/testing/tiny_model.h"
#include "lanner/quantize.h"
#include "text/tokenizer.h"
#include "weights/hf_vocabulary.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

std::vector<float> logits_of(const std::string& path, const std::string& dtype, int tokens = 24) {
  LlmConfig config = tiny_config();
  config.dtype = dtype;
  ModelRunner runner(open_model(path), config, {});
  std::vector<float> all;
  runner.logits(tiny_prompt(tokens), 0, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
    }
  });
  return all;
}

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  float largest = 1.0f;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], 1e-5 * largest) << "element " << i;
  }
}

constexpr const char* kFamilies[] = {
    "llama-mha", "llama-tied", "llama-bias", "llama-llama3", "llama-linear", "mistral-nemo",
    "mixtral",   "qwen2",      "qwen2-tied", "qwen2_moe",    "qwen3",        "qwen3-tied",
    "qwen3_moe", "olmo2",      "olmoe",      "granite",      "cohere",       "cohere-qknorm",
    "stablelm",  "nemotron",   "ernie4_5",   "seed_oss",
};

class GgufExport : public testing::TestWithParam<const char*> {};

TEST_P(GgufExport, ComputesWhatItsSourceComputes) {
  const std::string source = golden_folder(GetParam());
  const TempFolder folder;
  const std::string target = folder.file("model.gguf");
  quantize_model(source, target, {.dtype = "fp32", .threads = 2});
  expect_near(logits_of(target, "fp32"), logits_of(source, "fp32"));
  // Quantised, the same bits: Q and K are permuted row by row, and back.
  quantize_model(source, target,
                 {.dtype = "q4_0", .embedding_dtype = "fp32", .overwrite = true, .threads = 2});
  EXPECT_EQ(logits_of(target, "int4"), logits_of(source, "int4"));
}

INSTANTIATE_TEST_SUITE_P(Golden, GgufExport, testing::ValuesIn(kFamilies), [](const auto& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(GgufExport, WritesEveryType) {
  const std::string source = golden_folder("llama-tied");
  const std::vector<float> exact = logits_of(source, "fp32");
  struct Case {
    const char* dtype;
    const char* type;  // of a matrix, in the file
    float error;       // of the logits at most, as a share of the largest
  };
  // Rows of 64 values are no block of q4_k.
  for (const Case& c :
       {Case{"fp32", "F32", 1e-5f}, Case{"fp16", "F16", 0.05f}, Case{"bf16", "BF16", 0.1f},
        Case{"q8_0", "Q8_0", 0.1f}, Case{"int8", "Q8_0", 0.1f}, Case{"q4_0", "Q4_0", 0.8f},
        Case{"q4_1", "Q4_1", 0.8f}, Case{"q4_k", "Q8_0", 0.1f}}) {
    SCOPED_TRACE(c.dtype);
    const TempFolder folder;
    const std::string target = folder.file("model.gguf");
    const QuantizeReport report = quantize_model(source, target, {.dtype = c.dtype});
    EXPECT_EQ(std::string(c.dtype) == "q4_k", report.notes.size() > 1);
    const ModelFiles files = open_model(target);
    EXPECT_EQ(files.checkpoint->info("model.layers.0.self_attn.q_proj.weight").dtype, c.type);
    EXPECT_EQ(files.checkpoint->info("model.norm.weight").dtype, "F32");
    const std::vector<float> logits = logits_of(target, "auto");
    ASSERT_EQ(logits.size(), exact.size());
    double largest = 0, worst = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      largest = std::max(largest, double{std::abs(exact[i])});
      worst = std::max(worst, double{std::abs(exact[i] - logits[i])});
    }
    EXPECT_LE(worst, c.error * largest);
  }
}

TEST(GgufExport, FromAGgufFileKeepsItsText) {
  const std::string source = LANNER_TESTS_DIR "/gguf/llama-tied-q8_0.gguf";
  const TempFolder folder;
  const std::string target = folder.file("again.gguf");
  quantize_model(source, target, {.dtype = "q8_0"});
  // Blocks of the type that is asked for stay what they are.
  EXPECT_EQ(logits_of(target, "auto"), logits_of(source, "auto"));
}

TEST(GgufExport, RefusesWhatAGgufFileCannotSay) {
  const TempFolder folder;
  const std::string target = folder.file("model.gguf");
  const auto refuse = [&](const std::string& source, const std::vector<std::string>& words) {
    SCOPED_TRACE(source);
    expect_error(ErrorCode::kUnsupported, words,
                 [&] { quantize_model(source, target, {.dtype = "q8_0"}); });
    EXPECT_TRUE(fs::is_empty(folder.path()));
  };
  refuse(golden_folder("bloom"), {"'bloom'", "llama", "qwen3"});
  refuse(golden_folder("deepseek_v3"), {"'deepseek_v3'"});
  refuse(golden_folder("llama-dynamic"), {"rope_scaling"});
  refuse(golden_folder("qwen2-swa"), {"window"});
  const TinyModel model("llama-mha", {{"hidden_act", "gelu"}});
  fs::remove(model.folder().file("tokenizer.json"));
  refuse(model.path(), {"hidden_act", "gelu"});
  expect_error(ErrorCode::kInvalidArgument, {"'w8a8'", "q4_k"},
               [&] { quantize_model(golden_folder("llama-mha"), target, {.dtype = "w8a8"}); });
}

class GgufVocabularyExport : public testing::TestWithParam<const char*> {};

TEST_P(GgufVocabularyExport, TokenizesAsTheFolderDoes) {
  const std::string folder = std::string(LANNER_TESTS_DIR "/tokenizers/") + GetParam();
  const Json vectors = read_json_file(folder + "/vectors.json");
  const auto original = Tokenizer::from_folder(folder);
  const auto data = read_hf_vocabulary(folder, original->vocab_size() + 5, {});
  ASSERT_TRUE(data.has_value());
  const auto exported = Tokenizer::from_gguf(to_vocabulary(*data, "exported.gguf"));
  int cases = 0;
  for (const Json& vector : vectors.at("cases")) {
    const auto text = vector.at("text").get<std::string>();
    if (text.find("<unk>") != std::string::npos) continue;  // GGUF's unknown token is special
    EXPECT_EQ(exported->encode(text, false), original->encode(text, false)) << text;
    EXPECT_EQ(exported->encode(text, true), original->encode(text, true)) << text;
    ++cases;
  }
  EXPECT_GT(cases, 20);
}

INSTANTIATE_TEST_SUITE_P(Kinds, GgufVocabularyExport,
                         testing::Values("gpt2", "llama2", "llama3", "qwen2"),
                         [](const auto& test) { return std::string(test.param); });

TEST(GgufVocabularyExport, RefusesWhatItDoesNotKnow) {
  const TempFolder folder;
  EXPECT_FALSE(read_hf_vocabulary(folder.path(), 10, {}).has_value());
  folder.write("tokenizer.model", "x");
  expect_error(ErrorCode::kUnsupported, {"tokenizer.model"},
               [&] { read_hf_vocabulary(folder.path(), 10, {}); });
  struct Case {
    const char* json;
    ErrorCode code;
    const char* word;
  };
  const Case cases[] = {
      {R"({"model": {"type": "Unigram", "vocab": []}})", ErrorCode::kUnsupported, "Unigram"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": null})",
       ErrorCode::kUnsupported, "pre_tokenizer"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 99}, "merges": []}})", ErrorCode::kCorruptFile,
       "99"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [1]}})", ErrorCode::kCorruptFile,
       "merge"},
      {R"({"model": 1})", ErrorCode::kCorruptFile, "'model'"},
  };
  for (const Case& c : cases) {
    folder.write("tokenizer.json", c.json);
    expect_error(c.code, {"tokenizer.json", c.word},
                 [&] { read_hf_vocabulary(folder.path(), 10, {}); });
  }
}

}  // namespace
}  // namespace lanner
