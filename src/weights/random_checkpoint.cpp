// SPDX-License-Identifier: Apache-2.0
#include "weights/random_checkpoint.h"

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

constexpr ModelPreset kPresets[] = {
    // 1.04 billion parameters.
    {"llama-1b",
     R"({"model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16,
         "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192,
         "vocab_size": 32000, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
         "max_position_embeddings": 131072, "tie_word_embeddings": true})"},
    // Layers as wide as those of Llama 2 7B, four of them.
    {"llama2-7b-4l",
     R"({"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 4,
         "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 11008,
         "vocab_size": 32000, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
         "max_position_embeddings": 131072, "tie_word_embeddings": false})"},
};

constexpr float kDeviation = 0.02f;
constexpr int kDrawBits = 12;
constexpr size_t kDraws = size_t{1} << kDrawBits;

uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x8000u) >> 16);
}

// A sample of the distribution around `mean` that tensors are drawn from.
std::array<uint16_t, kDraws> make_draws(float mean) {
  std::mt19937 generator(1);
  // Box and Muller's, since std::normal_distribution is not the same everywhere.
  const auto uniform = [&] { return (static_cast<double>(generator()) + 1) / 4294967297.0; };
  std::array<uint16_t, kDraws> draws{};
  for (uint16_t& draw : draws) {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    const double normal = radius * std::cos(2 * 3.14159265358979323846 * uniform());
    draw = to_bf16(mean + kDeviation * static_cast<float>(normal));
  }
  return draws;
}

// splitmix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0;
  for (char c : name) hash = mix(hash ^ static_cast<unsigned char>(c));
  return hash;
}

bool is_norm_weight(std::string_view name, const Shape& shape) {
  return shape.rank() == 1 && !name.ends_with("bias") &&
         (name.find("norm") != std::string_view::npos ||
          name.find("ln_") != std::string_view::npos);
}

// Keeps the memory of tensors for the next ones: the system clears no page twice.
class BufferPool {
 public:
  Buffer take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    for (Buffer& spare : spares_) {
      if (spare.size() >= bytes) return std::exchange(spare, Buffer());
    }
    spares_ = {};  // all at once may be too much
    return Buffer(bytes);
  }
  void give_back(Buffer buffer) {
    const std::lock_guard lock(mutex_);
    for (Buffer& spare : spares_) {
      if (buffer.size() > spare.size()) std::swap(spare, buffer);
    }
  }

 private:
  std::mutex mutex_;
  std::array<Buffer, 3> spares_;  // Q, K and V
};

class RandomCheckpoint final : public Checkpoint {
 public:
  explicit RandomCheckpoint(std::string path)
      : path_(std::move(path)), draws_(make_draws(0)), norm_draws_(make_draws(1)) {}

  std::vector<std::string> names() const override { return {}; }
  bool contains(std::string_view) const override { return false; }
  TensorInfo info(std::string_view name) const override { throw_unknown(name); }
  CheckpointTensor get(std::string_view name) const override { throw_unknown(name); }

  CheckpointTensor tensor(std::string_view name, const Shape& shape) const override {
    const int64_t count = shape.numel();
    const auto bytes = static_cast<size_t>(dtype_bytes(DType::kBf16, count));
    Buffer buffer = pool_->take(bytes);
    draw(hash_name(name), is_norm_weight(name, shape) ? norm_draws_ : draws_, count,
         buffer.as<uint16_t>());
    const Tensor view(buffer.data(), DType::kBf16, shape);
    std::shared_ptr<Buffer> owner(new Buffer(std::move(buffer)), [pool = pool_](Buffer* used) {
      pool->give_back(std::move(*used));
      delete used;
    });
    return {view, std::move(owner)};
  }

  const std::string& path() const override { return path_; }

 private:
  [[noreturn]] void throw_unknown(std::string_view name) const {
    throw_error(ErrorCode::kUnsupported,
                "{}: tensor {} is asked for without a shape, so random weights cannot be drawn",
                path_, quote_name(name));
  }

  static void draw(uint64_t seed, const std::array<uint16_t, kDraws>& draws, int64_t count,
                   uint16_t* out) {
    constexpr int kPerWord = 5;
    int64_t i = 0;
    for (; i + kPerWord <= count; i += kPerWord) {
      const uint64_t word = mix(seed++);
      for (int j = 0; j < kPerWord; ++j) out[i + j] = draws[(word >> (kDrawBits * j)) % kDraws];
    }
    for (uint64_t word = mix(seed); i < count; ++i, word >>= kDrawBits) {
      out[i] = draws[word % kDraws];
    }
  }

  std::string path_;
  std::array<uint16_t, kDraws> draws_;
  std::array<uint16_t, kDraws> norm_draws_;
  std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>();
};

}  // namespace

std::span<const ModelPreset> model_presets() { return kPresets; }

ConfigReader random_model_config(const std::string& config_or_preset) {
  std::vector<std::string_view> known;
  for (const ModelPreset& preset : kPresets) {
    if (config_or_preset == preset.name) {
      return ConfigReader(parse_json(preset.config, preset.name), preset.name);
    }
    known.push_back(preset.name);
  }
  const fs::path path(config_or_preset);
  std::error_code failure;
  if (fs::is_directory(path, failure)) {
    return ConfigReader::from_file((path / "config.json").string());
  }
  if (fs::is_regular_file(path, failure)) return ConfigReader::from_file(config_or_preset);
  throw_error(ErrorCode::kNotFound,
              "{}: neither a folder with config.json nor a preset; presets: {}", config_or_preset,
              fmt::join(known, ", "));
}

std::unique_ptr<Checkpoint> make_random_checkpoint(std::string path) {
  return std::make_unique<RandomCheckpoint>(std::move(path));
}

}  // namespace lanner
