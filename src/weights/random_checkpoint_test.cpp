// SPDX-License-Identifier: Apache-2.0
#include "weights/random_checkpoint.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "base/json.h"
#include "kernels/convert/convert.h"
#include "weights/model_files.h"
#include "weights/testing/expect_error.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

std::vector<float> values_of(const Checkpoint& checkpoint, const char* name, const Shape& shape) {
  const CheckpointTensor tensor = checkpoint.tensor(name, shape);
  EXPECT_EQ(tensor.view.shape(), shape);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  select_convert(tensor.view.dtype(), DType::kF32)(tensor.view.raw(), shape.numel(), values.data());
  return values;
}

struct Moments {
  double mean = 0;
  double deviation = 0;
};

Moments moments(const std::vector<float>& values) {
  double sum = 0;
  double squares = 0;
  for (float value : values) {
    sum += value;
    squares += double{value} * value;
  }
  const double count = static_cast<double>(values.size());
  const double mean = sum / count;
  return {mean, std::sqrt(squares / count - mean * mean)};
}

TEST(RandomCheckpoint, DrawsFromTheNormalDistribution) {
  const auto checkpoint = make_random_checkpoint("x");
  const Moments matrix = moments(values_of(*checkpoint, "a.weight", Shape{333, 1001}));
  EXPECT_NEAR(matrix.mean, 0, 0.001);
  EXPECT_NEAR(matrix.deviation, 0.02, 0.001);
  const Moments norm = moments(values_of(*checkpoint, "model.norm.weight", Shape{4096}));
  EXPECT_NEAR(norm.mean, 1, 0.01);
  EXPECT_NEAR(moments(values_of(*checkpoint, "model.norm.bias", Shape{4096})).mean, 0, 0.01);
}

TEST(RandomCheckpoint, TheSameNameHasTheSameValuesAndAnotherNameOthers) {
  const auto one = make_random_checkpoint("x");
  const auto two = make_random_checkpoint("y");
  const Shape shape{7, 13};
  const auto values = values_of(*one, "a.weight", shape);
  EXPECT_EQ(values_of(*two, "b.weight", Shape{999, 999}).size(), 999u * 999u);
  EXPECT_EQ(values_of(*two, "a.weight", shape), values);
  EXPECT_NE(values_of(*two, "b.weight", shape), values);
}

TEST(RandomCheckpoint, TensorsThatLiveTogetherHaveMemoryOfTheirOwn) {
  const auto checkpoint = make_random_checkpoint("x");
  const Shape shape{1024, 2048};
  for (int round = 0; round < 3; ++round) {
    const CheckpointTensor q = checkpoint->tensor("q", shape);
    const std::vector<std::byte> before(q.view.raw(), q.view.raw() + q.view.bytes());
    const CheckpointTensor k = checkpoint->tensor("k", shape);
    EXPECT_NE(q.view.raw(), k.view.raw());
    EXPECT_EQ(std::memcmp(before.data(), q.view.raw(), before.size()), 0);
  }
}

TEST(RandomCheckpoint, HasNoTensorWithoutAShape) {
  const auto checkpoint = make_random_checkpoint("shapes");
  EXPECT_TRUE(checkpoint->names().empty());
  EXPECT_FALSE(checkpoint->contains("a.weight"));
  expect_error(ErrorCode::kUnsupported, {"shapes", "'a.weight'"},
               [&] { checkpoint->get("a.weight"); });
}

TEST(RandomModel, ComesFromAPresetAFolderOrAConfig) {
  for (const ModelPreset& preset : model_presets()) {
    const ModelFiles files = open_random_model(preset.name);
    EXPECT_TRUE(files.has_random_weights);
    EXPECT_EQ(files.folder, "");
    EXPECT_EQ(files.config.required_string("model_type"), "llama");
  }
  const TempFolder folder;
  folder.write("config.json", R"({"model_type": "llama", "vocab_size": 5})");
  for (const std::string& path : {folder.path(), folder.path() + "/config.json"}) {
    const ModelFiles files = open_random_model(path);
    EXPECT_EQ(files.config.required_int("vocab_size"), 5);
    EXPECT_EQ(files.folder, folder.path());
  }
  expect_error(ErrorCode::kNotFound, {"llama-2b", "llama-1b", "llama2-7b-4l"},
               [] { open_random_model("llama-2b"); });
  expect_error(ErrorCode::kNotFound, {"config.json"}, [] { open_random_model("/proc"); });
}

}  // namespace
}  // namespace lanner
