// SPDX-License-Identifier: Apache-2.0
// A model that was quantised to a folder computes the same, bit by bit, as one that is quantised
// while it is loaded.
#include "lanner/quantize.h"

#include <filesystem>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/model_runner.h"
#include "engine/testing/tiny_model.h"
#include "weights/quantized_checkpoint.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

// The logits of all positions of a prompt, as bits.
std::vector<uint32_t> logits_of(const std::string& path, const std::string& dtype,
                                const std::vector<int32_t>& prompt = tiny_prompt(24)) {
  LlmConfig config = tiny_config();
  config.dtype = dtype;
  ModelRunner runner(open_model(path), config, {});
  std::vector<uint32_t> bits;
  runner.logits(prompt, 0, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      const auto* row = reinterpret_cast<const uint32_t*>(rows.row<float>(i));
      bits.insert(bits.end(), row, row + rows.size(-1));
    }
  });
  return bits;
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden_folder(""))) {
    if (fs::exists(entry.path() / "golden.json")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A prompt of a golden folder: some families want tokens of their own in it.
std::vector<int32_t> golden_prompt(const std::string& folder) {
  if (!fs::exists(folder + "/golden.json")) return tiny_prompt(24);
  std::vector<int32_t> longest;
  const Json golden = read_json_file(folder + "/golden.json");
  for (const Json& prompt : golden.at("prompts")) {
    auto ids = prompt.at("ids").get<std::vector<int32_t>>();
    if (ids.size() <= 64 && ids.size() > longest.size()) longest = std::move(ids);
  }
  return longest;
}

void expect_same_logits(const std::string& source, const std::string& dtype) {
  SCOPED_TRACE(source + " " + dtype);
  const TempFolder folder;
  const std::string target = folder.file("quantised");
  const QuantizeReport report = quantize_model(source, target, {.dtype = dtype, .threads = 2});
  EXPECT_GT(report.quantized_tensors, 0);
  EXPECT_LT(report.bytes, report.source_bytes);
  const std::vector<int32_t> prompt = golden_prompt(source);
  EXPECT_EQ(logits_of(target, "auto", prompt), logits_of(source, dtype, prompt));
}

// Families whose matrices lie transposed in the file, or all in one tensor per layer: nothing to
// store quantised but the few that are not.
const std::set<std::string> kRefused = {"gpt2"};
// Their rows are no whole number of groups of 32.
const std::set<std::string> kNoGroups = {"baichuan-13b", "cohere2", "llama-bias", "qwen2-tied",
                                         "starcoder2"};

class QuantizeFamily : public testing::TestWithParam<std::string> {};

TEST_P(QuantizeFamily, LoadsToTheLogitsOfQuantisingAtLoad) {
  const std::string source = golden_folder(GetParam());
  if (kRefused.contains(GetParam())) {
    const TempFolder folder;
    expect_error(ErrorCode::kUnsupported, {"none of its matrices"},
                 [&] { quantize_model(source, folder.file("x"), {.dtype = "int4"}); });
    EXPECT_TRUE(fs::is_empty(folder.path()));
    return;
  }
  if (!kNoGroups.contains(GetParam())) expect_same_logits(source, "int4");
  expect_same_logits(source, "w8a8");
}

INSTANTIATE_TEST_SUITE_P(Golden, QuantizeFamily, testing::ValuesIn(golden_names()),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = std::isalnum(c) ? c : '_';
                           return name;
                         });

TEST(Quantize, EveryTypeLoadsToTheLogitsOfQuantisingAtLoad) {
  for (const char* dtype : {"int8", "w8a8", "int4", "int4g64", "int4_asym"}) {
    expect_same_logits(golden_folder("llama-tied"), dtype);
    expect_same_logits(golden_folder("qwen3-tied"), dtype);
  }
  // From a GGUF file, whose table of token vectors is in blocks.
  for (const char* dtype : {"int4", "w8a8"}) {
    expect_same_logits(LANNER_TESTS_DIR "/gguf/llama-tied-q8_0.gguf", dtype);
  }
}

// A model of sixteen bits is an ordinary folder.
TEST(Quantize, PlainTypesAreOrdinaryCheckpoints) {
  const TempFolder folder;
  const std::string target = folder.file("plain");
  quantize_model(golden_folder("llama-mha"), target, {.dtype = "bf16"});
  const Json config = read_json_file(target + "/config.json");
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config.at("torch_dtype"), "bfloat16");
  const ModelFiles files = open_model(target);
  EXPECT_EQ(files.checkpoint->info("model.embed_tokens.weight").dtype, "BF16");
  EXPECT_EQ(files.checkpoint->info("model.norm.weight").dtype, "F32");
  EXPECT_FALSE(logits_of(target, "auto").empty());
}

TEST(Quantize, CopiesWhatBelongsToAModel) {
  const TinyModel model;
  model.folder().write("chat_template.jinja", "{{ messages }}");
  model.folder().write("pytorch_model.bin", "pickle");
  const TempFolder folder;
  const std::string target = folder.file("copy/");
  quantize_model(model.path(), target, {.dtype = "int8"});
  EXPECT_TRUE(fs::exists(target + "/tokenizer.json"));
  EXPECT_TRUE(fs::exists(target + "/chat_template.jinja"));
  EXPECT_FALSE(fs::exists(target + "/pytorch_model.bin"));
  EXPECT_FALSE(ModelText::load(target)->tokenize("Hello").empty());
}

TEST(Quantize, ReplacesOnlyModelsAndOnlyWhenTold) {
  const std::string source = golden_folder("llama-mha");
  const TempFolder folder;
  const std::string target = folder.file("model");
  quantize_model(source, target, {.dtype = "int8"});
  expect_error(ErrorCode::kInvalidArgument, {target, "is there already"},
               [&] { quantize_model(source, target, {.dtype = "int4"}); });
  quantize_model(source, target, {.dtype = "int4", .overwrite = true});
  EXPECT_EQ(QuantizedFormat::read(open_model(target).config)->dtype, DType::kI4);
  const std::string other = folder.file("holiday photos");
  fs::create_directory(other);
  expect_error(ErrorCode::kInvalidArgument, {other, "is no model folder"},
               [&] { quantize_model(source, other, {.dtype = "int4", .overwrite = true}); });
  expect_error(ErrorCode::kInvalidArgument, {"over itself"},
               [&] { quantize_model(target, target, {.dtype = "int4", .overwrite = true}); });
  expect_error(ErrorCode::kInvalidArgument, {"'int3'", "int4g64"},
               [&] { quantize_model(source, target, {.dtype = "int3"}); });
  expect_error(ErrorCode::kIo, {"no/such"},
               [&] { quantize_model(source, folder.file("no/such/x"), {.dtype = "int4"}); });
}

TEST(Quantize, LeavesNothingBehindWhenItIsStopped) {
  const TempFolder folder;
  struct Stop {};
  EXPECT_THROW(quantize_model(golden_folder("llama-mha"), folder.file("model"), {.dtype = "int8"},
                              [](const char*, int64_t done, int64_t total) {
                                if (done * 2 > total) throw Stop();
                              }),
               Stop);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Quantize, RefusesOtherTypesForWhatIsStoredInLannersOwn) {
  const TempFolder folder;
  const std::string target = folder.file("model");
  quantize_model(golden_folder("llama-tied"), target, {.dtype = "int4g64"});
  expect_error(ErrorCode::kUnsupported, {"int4g64", "int8", "auto"},
               [&] { logits_of(target, "int8"); });
}

TEST(Quantize, RefusesDamagedFormats) {
  struct Case {
    const char* config;
    ErrorCode code;
    const char* word;
  };
  const Case cases[] = {
      {R"({"quant_method": "lanner", "version": 2, "dtype": "int4"})", ErrorCode::kUnsupported,
       "version"},
      {R"({"quant_method": "lanner", "dtype": "int4"})", ErrorCode::kUnsupported, "version"},
      {R"({"quant_method": "lanner", "version": 1})", ErrorCode::kCorruptFile, "dtype"},
      {R"({"quant_method": "lanner", "version": 1, "dtype": "int3"})", ErrorCode::kCorruptFile,
       "int3"},
      {R"({"quant_method": "lanner", "version": 1, "dtype": "int4", "bits": 4})",
       ErrorCode::kCorruptFile, "'bits'"},
      {R"({"quant_method": "lanner", "version": 1, "dtype": "int4", "tensors": {"x": 1}})",
       ErrorCode::kCorruptFile, "tensors.x"},
      // Another type than the bytes are of.
      {R"({"quant_method": "lanner", "version": 1, "dtype": "q6_k"})", ErrorCode::kCorruptFile,
       "no q6_k"},
  };
  const TempFolder folder;
  const std::string target = folder.file("model");
  quantize_model(golden_folder("llama-mha"), target, {.dtype = "int4"});
  Json config = read_json_file(target + "/config.json");
  for (const Case& c : cases) {
    config["quantization_config"] = Json::parse(c.config);
    std::ofstream(target + "/config.json") << config.dump();
    expect_error(c.code, {c.word}, [&] { logits_of(target, "auto"); });
  }
}

}  // namespace
}  // namespace lanner
