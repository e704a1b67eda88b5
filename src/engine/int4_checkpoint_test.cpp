// SPDX-License-Identifier: Apache-2.0
// GPTQ and AWQ checkpoints, written here as their tools do it, against the same model with the
// weights that they stand for in fp32.
#include "weights/int4_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "base/float16.h"
#include "base/json.h"
#include "engine/model_runner.h"
#include "engine/testing/tiny_model.h"
#include "kernels/convert/convert.h"
#include "weights/safetensors.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

constexpr int64_t kGroup = 32;

struct Form {
  const char* name;
  bool awq = false;
  bool symmetric = false;
  bool act_order = false;
  bool v2 = false;  // GPTQ's zeros as they are
};

// A matrix [n, k] as a tool has quantised it.
struct Quantized {
  int64_t n, k, groups;
  std::vector<int> q;             // [n, k]
  std::vector<int> zero;          // [n, groups]
  std::vector<uint16_t> scale;    // [n, groups] fp16
  std::vector<int32_t> group_of;  // [k]

  float value(int64_t row, int64_t column) const {
    const auto g = static_cast<size_t>(row * groups + group_of[static_cast<size_t>(column)]);
    return fp16_to_fp32(scale[g]) *
           static_cast<float>(q[static_cast<size_t>(row * k + column)] - zero[g]);
  }
};

Quantized quantize(const std::vector<float>& w, int64_t n, int64_t k, const Form& form,
                   uint32_t seed) {
  Quantized result{n, k, k / kGroup, {}, {}, {}, {}};
  for (int64_t i = 0; i < k; ++i) result.group_of.push_back(static_cast<int32_t>(i / kGroup));
  std::mt19937 random(seed);
  if (form.act_order) std::shuffle(result.group_of.begin(), result.group_of.end(), random);
  const auto at = [&](int64_t row, int64_t i) { return w[static_cast<size_t>(row * k + i)]; };
  result.q.resize(w.size());
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t g = 0; g < result.groups; ++g) {
      float low = 0, high = 0;
      for (int64_t i = 0; i < k; ++i) {
        if (result.group_of[static_cast<size_t>(i)] != g) continue;
        low = std::min(low, at(row, i));
        high = std::max(high, at(row, i));
      }
      const float range = form.symmetric ? 2 * std::max(high, -low) : high - low;
      result.scale.push_back(fp32_to_fp16(std::max(range / 15, 1e-4f)));
      const float scale = fp16_to_fp32(result.scale.back());
      // Zeros of 0 stand for what AWQ can say and GPTQ's first format cannot.
      const int zero = form.symmetric ? 8
                                      : std::clamp(static_cast<int>(std::nearbyint(-low / scale)),
                                                   form.awq || form.v2 ? 0 : 1, 15);
      result.zero.push_back(zero);
      for (int64_t i = 0; i < k; ++i) {
        if (result.group_of[static_cast<size_t>(i)] != g) continue;
        result.q[static_cast<size_t>(row * k + i)] =
            std::clamp(static_cast<int>(std::nearbyint(at(row, i) / scale)) + zero, 0, 15);
      }
    }
  }
  return result;
}

// A tensor of the file to come.
struct Part {
  SafetensorsWriter::Entry entry;
  std::string bytes;
};

template <typename T>
Part make_part(const std::string& name, DType dtype, const Shape& shape,
               const std::vector<T>& values) {
  return {{name, dtype, shape},
          std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
}

std::vector<Part> parts_of(const std::string& module, const Quantized& m, const Form& form) {
  const auto word = [](const auto& nibble) {
    uint32_t bits = 0;
    for (int i = 0; i < 8; ++i) bits |= static_cast<uint32_t>(nibble(i)) << (4 * i);
    return static_cast<int32_t>(bits);
  };
  constexpr int kAwqOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<int32_t> values, zeros;
  std::vector<uint16_t> scales;
  const auto q = [&](int64_t n, int64_t k) { return m.q[static_cast<size_t>(n * m.k + k)]; };
  const auto zero = [&](int64_t n, int64_t g) {
    return m.zero[static_cast<size_t>(n * m.groups + g)];
  };
  if (form.awq) {
    for (int64_t k = 0; k < m.k; ++k) {
      for (int64_t n = 0; n < m.n; n += 8) {
        values.push_back(word([&](int i) { return q(n + kAwqOrder[i], k); }));
      }
    }
  } else {
    for (int64_t k = 0; k < m.k; k += 8) {
      for (int64_t n = 0; n < m.n; ++n) values.push_back(word([&](int i) { return q(n, k + i); }));
    }
  }
  for (int64_t g = 0; g < m.groups; ++g) {
    for (int64_t n = 0; n < m.n; n += 8) {
      zeros.push_back(word([&](int i) {
        return form.awq ? zero(n + kAwqOrder[i], g) : zero(n + i, g) - (form.v2 ? 0 : 1);
      }));
    }
    for (int64_t n = 0; n < m.n; ++n)
      scales.push_back(m.scale[static_cast<size_t>(n * m.groups + g)]);
  }
  std::vector<Part> parts;
  const Shape shape = form.awq ? Shape{m.k, m.n / 8} : Shape{m.k / 8, m.n};
  parts.push_back(make_part(module + ".qweight", DType::kI32, shape, values));
  parts.push_back(make_part(module + ".qzeros", DType::kI32, Shape{m.groups, m.n / 8}, zeros));
  parts.push_back(make_part(module + ".scales", DType::kF16, Shape{m.groups, m.n}, scales));
  if (!form.awq) {
    parts.push_back(make_part(module + ".g_idx", DType::kI32, Shape{m.k}, m.group_of));
  }
  return parts;
}

void write_model(const std::string& folder, const Json& config, const std::vector<Part>& parts) {
  std::filesystem::create_directories(folder);
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Part& part : parts) entries.push_back(part.entry);
  SafetensorsWriter writer(folder + "/model.safetensors", entries);
  for (const Part& part : parts) {
    writer.append(Tensor(const_cast<char*>(part.bytes.data()), part.entry.dtype, part.entry.shape));
  }
  writer.finish();
  std::ofstream(folder + "/config.json") << config.dump();
}

Json quantization_config(const Form& form) {
  if (form.awq) {
    return {{"quant_method", "awq"}, {"bits", 4},         {"group_size", kGroup},
            {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", nullptr}};
  }
  return {{"quant_method", "gptq"},
          {"bits", 4},
          {"group_size", kGroup},
          {"desc_act", form.act_order},
          {"sym", form.symmetric},
          {"damp_percent", 0.01},
          {"checkpoint_format", form.v2 ? "gptq_v2" : "gptq"}};
}

// Writes llama-tied twice: quantised, and with what that stands for.
void write_twins(const Form& form, const std::string& quantized, const std::string& plain) {
  const ModelFiles files = open_model(golden_folder("llama-tied"));
  std::vector<Part> packed, exact;
  uint32_t seed = 1;
  for (const std::string& name : files.checkpoint->names()) {
    const Tensor view = files.checkpoint->get(name).view;
    std::vector<float> values(static_cast<size_t>(view.numel()));
    select_convert(view.dtype(), DType::kF32)(view.raw(), view.numel(), values.data());
    if (name.find("_proj.weight") != std::string::npos) {
      const Quantized m = quantize(values, view.size(0), view.size(1), form, seed++);
      const std::string module = name.substr(0, name.size() - std::string(".weight").size());
      for (Part& part : parts_of(module, m, form)) packed.push_back(std::move(part));
      for (int64_t i = 0; i < view.numel(); ++i) {
        values[static_cast<size_t>(i)] = m.value(i / m.k, i % m.k);
      }
    } else {
      packed.push_back(make_part(name, DType::kF32, view.shape(), values));
    }
    exact.push_back(make_part(name, DType::kF32, view.shape(), values));
  }
  Json config = files.config.json();
  write_model(plain, config, exact);
  config["quantization_config"] = quantization_config(form);
  write_model(quantized, config, packed);
}

std::vector<float> logits_of(const std::string& path, const std::string& dtype) {
  LlmConfig config = tiny_config();
  config.dtype = dtype;
  ModelRunner runner(open_model(path), config, {});
  std::vector<float> all;
  runner.logits(tiny_prompt(24), 0, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
    }
  });
  return all;
}

class Int4Forms : public testing::TestWithParam<Form> {};

TEST_P(Int4Forms, StandForTheValuesOfTheReference) {
  const Form& form = GetParam();
  const TempFolder folder;
  const std::string quantized = folder.file("quantized"), plain = folder.file("plain");
  write_twins(form, quantized, plain);
  const ModelFiles a = open_model(quantized), b = open_model(plain);
  ASSERT_EQ(a.checkpoint->names(), b.checkpoint->names());
  for (const std::string& name : a.checkpoint->names()) {
    const CheckpointTensor got = a.checkpoint->get(name), expected = b.checkpoint->get(name);
    ASSERT_EQ(got.view.shape(), expected.view.shape()) << name;
    EXPECT_EQ(a.checkpoint->info(name).shape, b.checkpoint->info(name).shape) << name;
    if (name.find("_proj") == std::string::npos) continue;
    const DType dtype = form.act_order ? DType::kF16 : form.symmetric ? DType::kQ4_0 : DType::kQ4_1;
    EXPECT_EQ(got.view.dtype(), dtype) << name;
    std::vector<float> values(static_cast<size_t>(got.view.numel()));
    select_convert(dtype, DType::kF32)(got.view.raw(), got.view.numel(), values.data());
    const auto* reference = expected.view.data<float>();
    for (size_t i = 0; i < values.size(); ++i) {
      // Exactly, but for scale * zero or the value itself in fp16.
      const float rounding = form.symmetric && !form.act_order ? 0.0f : 0x1p-11f;
      const float span = std::max(std::abs(reference[i]), 1.0f);
      ASSERT_NEAR(values[i], reference[i], rounding * span) << name << " " << i;
    }
  }
  const std::vector<float> logits = logits_of(quantized, "fp32"), exact = logits_of(plain, "fp32");
  if (form.symmetric && !form.act_order) {
    EXPECT_EQ(logits, exact);
    return;
  }
  ASSERT_EQ(logits.size(), exact.size());
  for (size_t i = 0; i < exact.size(); ++i) ASSERT_NEAR(logits[i], exact[i], 2e-2f) << i;
}

TEST_P(Int4Forms, RunInFourBits) {
  const TempFolder folder;
  write_twins(GetParam(), folder.file("quantized"), folder.file("plain"));
  const std::vector<float> logits = logits_of(folder.file("quantized"), "auto");
  const std::vector<float> exact = logits_of(folder.file("plain"), "fp32");
  double largest = 0, worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    largest = std::max(largest, double{std::abs(exact[i])});
    worst = std::max(worst, double{std::abs(exact[i] - logits[i])});
  }
  EXPECT_LE(worst, 0.05 * largest);  // activations of eight bits
}

INSTANTIATE_TEST_SUITE_P(Published, Int4Forms,
                         testing::Values(Form{"gptq_symmetric", false, true},
                                         Form{"gptq", false, false},
                                         Form{"gptq_act_order", false, true, true},
                                         Form{"gptq_v2", false, false, false, true},
                                         Form{"awq", true, false}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Int4Checkpoint, RefusesWhatItDoesNotKnow) {
  const TempFolder folder;
  const std::string quantized = folder.file("quantized");
  write_twins({"gptq", false, true}, quantized, folder.file("plain"));
  const Json good = read_json_file(quantized + "/config.json");
  const auto refuse = [&](const Json& change, ErrorCode code, const std::string& word) {
    SCOPED_TRACE(change.dump());
    Json config = good;
    config["quantization_config"].update(change);
    std::ofstream(quantized + "/config.json") << config.dump();
    expect_error(code, {word}, [&] { logits_of(quantized, "auto"); });
  };
  refuse({{"bits", 3}}, ErrorCode::kUnsupported, "quantization_config.bits");
  refuse({{"bits", 8}}, ErrorCode::kUnsupported, "quantization_config.bits");
  refuse({{"checkpoint_format", "marlin"}}, ErrorCode::kUnsupported, "checkpoint_format");
  refuse({{"group_size", "x"}}, ErrorCode::kUnsupported, "group_size");
  refuse({{"group_size", 48}}, ErrorCode::kUnsupported, "groups of 48");
  refuse({{"group_size", 64}}, ErrorCode::kCorruptFile, "scales");
  refuse({{"dynamic", {{"x", 1}}}}, ErrorCode::kUnsupported, "dynamic");
  refuse({{"new_key", 1}}, ErrorCode::kUnsupported, "new_key");
  refuse({{"quant_method", "awq"}, {"version", "gemv"}}, ErrorCode::kUnsupported, "version");
  refuse({{"quant_method", "bitsandbytes"}}, ErrorCode::kUnsupported, "quantization_config");
  // Not quantised at all, whatever it says.
  Json config = read_json_file(folder.file("plain/config.json"));
  config["quantization_config"] = good["quantization_config"];
  std::ofstream(folder.file("plain/config.json")) << config.dump();
  expect_error(ErrorCode::kCorruptFile, {".qweight"}, [&] { open_model(folder.file("plain")); });
}

}  // namespace
}  // namespace lanner
