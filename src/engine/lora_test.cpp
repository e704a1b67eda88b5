// SPDX-License-Identifier: Apache-2.0
// Adapters in PEFT's format, written here, against a checkpoint whose weights were merged by hand.
#include "weights/lora.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/json.h"
#include "base/testing/random.h"
#include "engine/model_runner.h"
#include "engine/testing/tiny_model.h"
#include "kernels/convert/convert.h"
#include "lanner/quantize.h"
#include "weights/safetensors.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

constexpr const char* kModel = "llama-mha";
constexpr int64_t kRank = 4;

struct Matrix {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

void write_file(const std::string& path, const std::vector<Matrix>& tensors) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Matrix& m : tensors) entries.push_back({m.name, DType::kF32, m.shape});
  SafetensorsWriter writer(path, entries);
  for (const Matrix& m : tensors) {
    writer.append(Tensor(const_cast<float*>(m.values.data()), DType::kF32, m.shape));
  }
  writer.finish();
}

std::vector<Matrix> read_model() {
  const ModelFiles files = open_model(golden_folder(kModel));
  std::vector<Matrix> tensors;
  for (const std::string& name : files.checkpoint->names()) {
    const Tensor view = files.checkpoint->get(name).view;
    Matrix m{name, view.shape(), std::vector<float>(static_cast<size_t>(view.numel()))};
    select_convert(view.dtype(), DType::kF32)(view.raw(), view.numel(), m.values.data());
    tensors.push_back(std::move(m));
  }
  return tensors;
}

Json adapter_config() {
  return {{"peft_type", "LORA"},
          {"r", kRank},
          {"lora_alpha", 8},
          {"use_rslora", false},
          {"bias", "none"},
          {"target_modules", {"q_proj", "down_proj"}},
          {"lora_dropout", 0.1},
          {"use_dora", false},
          {"fan_in_fan_out", false},
          {"modules_to_save", nullptr},
          {"rank_pattern", Json::object()},
          {"alpha_pattern", Json::object()},
          {"task_type", "CAUSAL_LM"}};
}

// Writes an adapter for q_proj and down_proj of every layer, and merges it by hand into `model`.
void make_adapter(const std::string& folder, const Json& config, float scale, float down_scale,
                  std::vector<Matrix>& model) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/adapter_config.json") << config.dump();
  std::vector<Matrix> tensors;
  uint32_t seed = 1;
  for (Matrix& w : model) {
    const bool is_down = w.name.find("down_proj.weight") != std::string::npos;
    if (!is_down && w.name.find("q_proj.weight") == std::string::npos) continue;
    const int64_t n = w.shape.size(0), k = w.shape.size(1);
    const std::string module = "base_model.model." + w.name.substr(0, w.name.rfind('.'));
    const Matrix a{module + ".lora_A.weight", Shape{kRank, k},
                   random_normal(kRank * k, seed++, 0.1f)};
    const Matrix b{module + ".lora_B.weight", Shape{n, kRank},
                   random_normal(n * kRank, seed++, 0.1f)};
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t column = 0; column < k; ++column) {
        double change = 0;
        for (int64_t r = 0; r < kRank; ++r) {
          change += double{b.values[static_cast<size_t>(row * kRank + r)]} *
                    double{a.values[static_cast<size_t>(r * k + column)]};
        }
        w.values[static_cast<size_t>(row * k + column)] +=
            static_cast<float>((is_down ? down_scale : scale) * change);
      }
    }
    tensors.push_back(a);
    tensors.push_back(b);
  }
  write_file(folder + "/adapter_model.safetensors", tensors);
}

std::vector<float> logits_of(const std::string& path) {
  ModelRunner runner(open_model(path), tiny_config(), {});
  std::vector<float> all;
  runner.logits(tiny_prompt(24), 0, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
    }
  });
  return all;
}

TEST(Lora, MergesToTheLogitsOfMergedWeights) {
  struct Case {
    Json change;
    float scale;
    float down_scale;
  };
  for (const Case& c : {Case{Json::object(), 2.0f, 2.0f}, Case{{{"use_rslora", true}}, 4.0f, 4.0f},
                        Case{{{"alpha_pattern", {{"down_proj", 2}}}}, 2.0f, 0.5f}}) {
    SCOPED_TRACE(c.change.dump());
    const TempFolder folder;
    std::vector<Matrix> model = read_model();
    Json config = adapter_config();
    config.update(c.change);
    make_adapter(folder.file("adapter"), config, c.scale, c.down_scale, model);
    std::filesystem::create_directories(folder.file("expected"));
    std::filesystem::copy_file(golden_folder(kModel) + "/config.json",
                               folder.file("expected/config.json"));
    write_file(folder.file("expected/model.safetensors"), model);
    quantize_model(golden_folder(kModel), folder.file("merged"),
                   {.dtype = "fp32", .lora = {folder.file("adapter")}});
    const std::vector<float> merged = logits_of(folder.file("merged"));
    const std::vector<float> expected = logits_of(folder.file("expected"));
    const std::vector<float> base = logits_of(golden_folder(kModel));
    double largest = 0, difference = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, double{std::abs(expected[i])});
      difference = std::max(difference, double{std::abs(expected[i] - base[i])});
    }
    EXPECT_GT(difference, 0.01 * largest);  // the adapter does something
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(merged[i], expected[i], 1e-4 * largest) << i;
    }
  }
}

TEST(Lora, RefusesWhatItCannotDo) {
  const TempFolder folder;
  const std::string adapter = folder.file("adapter");
  const auto refuse = [&](const Json& change, ErrorCode code, const char* word) {
    SCOPED_TRACE(change.dump());
    std::vector<Matrix> model = read_model();
    Json config = adapter_config();
    config.update(change);
    make_adapter(adapter, config, 1, 1, model);
    expect_error(code, {word}, [&] { read_lora_adapter(adapter); });
  };
  refuse({{"peft_type", "IA3"}}, ErrorCode::kUnsupported, "peft_type");
  refuse({{"use_dora", true}}, ErrorCode::kUnsupported, "use_dora");
  refuse({{"bias", "all"}}, ErrorCode::kUnsupported, "bias");
  refuse({{"modules_to_save", {"lm_head"}}}, ErrorCode::kUnsupported, "modules_to_save");
  refuse({{"fan_in_fan_out", true}}, ErrorCode::kUnsupported, "fan_in_fan_out");
  refuse({{"alpha_pattern", {{".*q_proj", 2}}}}, ErrorCode::kUnsupported, "alpha_pattern");
  refuse({{"lora_alpha", nullptr}}, ErrorCode::kUnsupported, "lora_alpha");
  refuse({{"new_key", 1}}, ErrorCode::kUnsupported, "new_key");
  std::ofstream(adapter + "/adapter_config.json") << adapter_config().dump();
  const Matrix a{"base_model.model.x.lora_A.weight", Shape{2, 4}, std::vector<float>(8)};
  const Matrix b{"base_model.model.x.lora_B.weight", Shape{4, 2}, std::vector<float>(8)};
  const auto refuse_tensors = [&](const std::vector<Matrix>& tensors, const char* word) {
    write_file(adapter + "/adapter_model.safetensors", tensors);
    try {
      merge_lora(open_model(golden_folder(kModel)).checkpoint, read_lora_adapter(adapter));
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refuse_tensors({a}, "lora_B");
  refuse_tensors({a, b}, "does not have");
  Matrix other = b;
  other.shape = Shape{2, 4};
  refuse_tensors({a, other}, "no product");
  Matrix embedding = a;
  embedding.name = "base_model.model.model.embed_tokens.lora_embedding_A";
  refuse_tensors({embedding}, "lora_embedding_A");
  Matrix q_a = a, q_b = b;
  q_a.name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  q_b.name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
  refuse_tensors({q_a, q_b}, "[4, 4]");
  expect_error(ErrorCode::kNotFound, {"adapter_config.json"},
               [&] { read_lora_adapter(folder.file("none")); });
}

}  // namespace
}  // namespace lanner
