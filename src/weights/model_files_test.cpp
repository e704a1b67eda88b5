// SPDX-License-Identifier: Apache-2.0
#include "weights/model_files.h"

#include <filesystem>

#include <gmock/gmock.h>

#include "base/error.h"
#include "weights/testing/expect_error.h"
#include "weights/testing/file_builders.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

TEST(OpenModel, OpensAFolder) {
  const std::string path = std::string(LANNER_TESTS_DIR) + "/golden/llama-llama3";
  const ModelFiles model = open_model(path);
  EXPECT_FALSE(model.is_gguf);
  EXPECT_EQ(model.folder, path);
  EXPECT_EQ(model.config.required_string("model_type"), "llama");
  EXPECT_THAT(model.generation.eos_token_ids, testing::ElementsAre(501, 508, 509));
  EXPECT_TRUE(model.checkpoint->contains("lm_head.weight"));
  EXPECT_FALSE(model.gguf_tokenizer.has_value());
}

TEST(OpenModel, OpensAGgufFileWhateverItIsCalled) {
  const TempFolder folder;
  for (const char* name : {"x.gguf", "model"}) {
    const ModelFiles model = open_model(folder.write(name, tiny_gguf().bytes()));
    EXPECT_TRUE(model.is_gguf);
    EXPECT_EQ(model.folder, folder.path());
    EXPECT_EQ(model.config.required_string("model_type"), "llama");
    EXPECT_EQ(model.gguf_tokenizer->tokens.size(), 6u);
    EXPECT_THAT(model.generation.eos_token_ids, testing::ElementsAre(1));
    EXPECT_TRUE(model.checkpoint->contains("model.norm.weight"));
  }
}

TEST(OpenModel, SaysWhatIsWrongWithAPath) {
  const TempFolder folder;
  const auto refused = [](ErrorCode code, const std::string& path, const std::string& word) {
    expect_error(code, {path, word}, [&] { open_model(path); });
  };
  refused(ErrorCode::kNotFound, folder.file("none"), "no such file");
  refused(ErrorCode::kNotFound, "HuggingFaceTB/SmolLM2-135M-Instruct", "hub");
  refused(ErrorCode::kNotFound, "", "no such file");
  refused(ErrorCode::kNotFound, folder.path(), "config.json");
  refused(ErrorCode::kUnsupported, folder.write("pytorch_model.bin", "x"), "pickle");
  refused(ErrorCode::kUnsupported, folder.write("x.safetensors", "x"), "folder");
  refused(ErrorCode::kUnsupported, folder.write("x.txt", "x"), "neither");
  refused(ErrorCode::kCorruptFile, folder.write("x.gguf", "no gguf"), "GGUF");
  refused(ErrorCode::kIo, "/dev/null", "regular");
  // Now the folder holds a .gguf file, and then a config.json beside a pickle.
  refused(ErrorCode::kNotFound, folder.path(), "x.gguf");
  folder.write("config.json", "{}");
  refused(ErrorCode::kUnsupported, folder.path(), "pickle");
}

TEST(OpenModelText, NeedsNoConfigAndNoWeights) {
  const TempFolder folder;
  const ModelTextFiles text = open_model_text(folder.path());
  EXPECT_FALSE(text.is_gguf);
  EXPECT_EQ(text.folder, folder.path());
  EXPECT_FALSE(text.gguf_tokenizer.has_value());
}

TEST(OpenModelText, ReadsTheVocabularyOfAGgufFile) {
  const TempFolder folder;
  const std::string path = folder.write("model", tiny_gguf().bytes());
  const ModelTextFiles text = open_model_text(path);
  EXPECT_TRUE(text.is_gguf);
  EXPECT_EQ(text.path, path);
  EXPECT_EQ(text.folder, folder.path());
  EXPECT_EQ(text.gguf_tokenizer->tokens.size(), 6u);
}

TEST(OpenModelText, SaysWhatIsWrongWithAPath) {
  const TempFolder folder;
  const auto refused = [](ErrorCode code, const std::string& path, const std::string& word) {
    expect_error(code, {path, word}, [&] { open_model_text(path); });
  };
  refused(ErrorCode::kNotFound, folder.file("none"), "no such file");
  refused(ErrorCode::kUnsupported, folder.write("pytorch_model.bin", "x"), "pickle");
  refused(ErrorCode::kCorruptFile, folder.write("x.gguf", "no gguf"), "GGUF");
}

TEST(OpenModel, RefusesMoreTokensThanEmbeddings) {
  const TempFolder folder;
  GgufBuilder builder;
  builder.string("general.architecture", "llama")
      .uint32("llama.block_count", 1)
      .uint32("llama.context_length", 128)
      .uint32("llama.embedding_length", 8)
      .uint32("llama.feed_forward_length", 16)
      .uint32("llama.attention.head_count", 2)
      .float32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .string("tokenizer.ggml.model", "gpt2")
      .strings("tokenizer.ggml.tokens", {"a", "b", "c"})
      .fp32_tensor("token_embd.weight", {8, 2}, std::vector<float>(16));
  const std::string path = folder.write("x.gguf", builder.bytes());
  expect_error(ErrorCode::kInvalidArgument, {path, "3 tokens", "2 rows"},
               [&] { open_model(path); });
}

}  // namespace
}  // namespace lanner
