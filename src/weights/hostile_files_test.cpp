// SPDX-License-Identifier: Apache-2.0
// Valid small models, damaged at every place: each must open, or be refused with an Error that says
// where, and what opens must be readable to its last byte. Worth most under the address sanitizer.
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/log.h"
#include "weights/model_files.h"
#include "weights/testing/file_builders.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

constexpr const char* kConfig =
    R"({"model_type":"llama","vocab_size":6,"hidden_size":8,"eos_token_id":[1,2],"bos_token_id":0})";
constexpr const char* kGeneration =
    R"({"temperature":0.6,"top_k":50,"top_p":0.9,"do_sample":true,"eos_token_id":1})";
constexpr const char* kHeader =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},)"
    R"("c":{"dtype":"F16","shape":[0,9],"data_offsets":[32,32]}})";
constexpr const char* kIndex =
    R"({"metadata":{"total_size":32},"weight_map":{"a":"s1.safetensors","b":"s1.safetensors"}})";

// A file of a model, and how to find the model.
struct Target {
  const char* name;
  const char* file;   // the one that is damaged
  const char* model;  // what is opened; "" is the folder
};

class HostileFilesTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);  // damaged keys are warned of
    const std::string data(32, '\x01');
    const std::string shard = safetensors_bytes(kHeader, data);
    const bool sharded = std::string(GetParam().file).ends_with(".index.json");
    folder_.write("config.json", kConfig);
    folder_.write("generation_config.json", kGeneration);
    folder_.write("model.gguf", tiny_gguf().bytes());
    if (sharded) {
      folder_.write("s1.safetensors", shard);
      folder_.write("model.safetensors.index.json", kIndex);
    } else {
      folder_.write("model.safetensors", shard);
    }
    valid_ = read_file(folder_.file(GetParam().file));
    ASSERT_FALSE(valid_.empty());
    ASSERT_TRUE(opens(valid_)) << "the undamaged model";
  }

  // Whether the model opens with this content of the file. Fails unless it does, or the Error is a
  // proper one.
  bool opens(const std::string& content) {
    folder_.write(GetParam().file, content);
    try {
      const ModelFiles model = open_model(folder_.file(GetParam().model));
      unsigned sum = 0;
      for (const std::string& name : model.checkpoint->names()) {
        model.checkpoint->info(name);
        try {
          const CheckpointTensor tensor = model.checkpoint->get(name);
          for (int64_t i = 0; i < tensor.view.bytes(); ++i) {
            sum += static_cast<unsigned>(tensor.view.raw()[i]);
          }
        } catch (const Error& e) {
          check(e);
        }
      }
      checksum_ = sum;  // keeps the reads
      return true;
    } catch (const Error& e) {
      check(e);
      return false;
    }
  }

  void check(const Error& e) {
    EXPECT_NE(e.code(), ErrorCode::kInternal) << e.what();
    EXPECT_NE(std::string(e.what()).find(folder_.path()), std::string::npos) << e.what();
    EXPECT_LT(std::string(e.what()).size(), 2000u);
  }

  TempFolder folder_;
  std::string valid_;
  volatile unsigned checksum_ = 0;
};

TEST_P(HostileFilesTest, CutOffAnywhereIsRefused) {
  for (size_t length = 0; length < valid_.size(); ++length) {
    ASSERT_FALSE(opens(valid_.substr(0, length))) << length << " of " << valid_.size();
  }
}

TEST_P(HostileFilesTest, EveryFlippedBitIsRefusedOrHarmless) {
  for (size_t i = 0; i < valid_.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = valid_;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      opens(damaged);
      ASSERT_FALSE(HasFailure()) << "byte " << i << " bit " << bit;
    }
  }
}

TEST_P(HostileFilesTest, OverwrittenBytesAreRefusedOrHarmless) {
  std::mt19937 generator(7);
  const std::string values[] = {std::string(8, '\xff'), std::string(8, '\0'),
                                std::string(7, '\xff') + '\x7f',
                                std::string("\0\0\0\0\1\0\0\0", 8)};
  for (size_t i = 0; i < valid_.size(); ++i) {
    for (const std::string& value : values) {
      std::string damaged = valid_;
      damaged.replace(i, std::min<size_t>(8, damaged.size() - i), value);
      opens(damaged);
      ASSERT_FALSE(HasFailure()) << "byte " << i;
    }
  }
  for (int round = 0; round < 1000; ++round) {
    std::string damaged = valid_;
    for (int k = 0; k < 4; ++k)
      damaged[generator() % damaged.size()] = static_cast<char>(generator());
    opens(damaged);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
}

TEST_P(HostileFilesTest, InsertedAndRemovedBytesAreRefusedOrHarmless) {
  for (size_t i = 0; i < valid_.size(); ++i) {
    std::string longer = valid_;
    longer.insert(i, 1, valid_[i]);
    opens(longer);
    std::string shorter = valid_;
    shorter.erase(i, 1);
    opens(shorter);
    ASSERT_FALSE(HasFailure()) << "byte " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, HostileFilesTest,
                         testing::Values(Target{"safetensors", "model.safetensors", ""},
                                         Target{"index", "model.safetensors.index.json", ""},
                                         Target{"gguf", "model.gguf", "model.gguf"},
                                         Target{"config", "config.json", ""},
                                         Target{"generation_config", "generation_config.json", ""}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace lanner
