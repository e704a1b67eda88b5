// SPDX-License-Identifier: Apache-2.0
// For tests only: the tiny checkpoints of tests/golden as model folders that a test may change.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/json.h"
#include "lanner/llm.h"
#include "weights/testing/temp_folder.h"

namespace lanner {

inline std::string golden_folder(const std::string& name) {
  return std::string(LANNER_TESTS_DIR) + "/golden/" + name;
}

// 320 tokens: three special ones, single printable ASCII characters, words, and every fourth of the
// rest one byte, so that generated text has characters in several pieces and broken ones.
inline std::string tiny_tokenizer_json() {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int i = 3; i < 320; ++i) {
    std::string token(1, static_cast<char>(i - 3 + ' '));
    if (i >= 98 && i % 4 == 0) token = fmt::format("<0x{:02X}>", 0xc0 + (i - 98) % 64);
    if (i >= 98 && (i % 4 != 0 || vocab.contains(token))) token = fmt::format(" w{}", i);
    vocab[token] = i;
  }
  Json special = Json::array();
  for (int id = 0; id < 3; ++id) {
    special.push_back({{"id", id},
                       {"content", std::vector<std::string>{"<unk>", "<s>", "</s>"}[size_t(id)]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
  }
  const Json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", special},
      {"normalizer", nullptr},
      {"pre_tokenizer", nullptr},
      {"post_processor", nullptr},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders", Json::array({{{"type", "ByteFallback"}}, {{"type", "Fuse"}}})}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", "<unk>"},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"vocab", vocab},
        {"merges", Json::array()}}}};
  return tokenizer.dump();
}

// A copy of a golden folder's model with keys of config.json replaced (null takes one away).
class TinyModel {
 public:
  explicit TinyModel(const std::string& golden = "llama-mha",
                     const Json& changes = Json::object()) {
    Json config = read_json_file(golden_folder(golden) + "/config.json");
    for (const auto& [key, value] : changes.items()) {
      if (value.is_null()) {
        config.erase(key);
      } else {
        config[key] = value;
      }
    }
    folder_.write("config.json", config.dump());
    folder_.write("tokenizer.json", tiny_tokenizer_json());
    std::filesystem::create_symlink(golden_folder(golden) + "/model.safetensors",
                                    folder_.file("model.safetensors"));
  }

  const std::string& path() const { return folder_.path(); }
  const TempFolder& folder() const { return folder_; }

 private:
  TempFolder folder_;
};

// fp32 throughout, two threads, little memory.
inline LlmConfig tiny_config() {
  LlmConfig config;
  config.dtype = "fp32";
  config.kv_dtype = "fp32";
  config.threads = 2;
  config.kv_cache_bytes = 8 << 20;
  return config;
}

inline std::vector<int32_t> tiny_prompt(int length, int seed = 0) {
  std::vector<int32_t> prompt;
  for (int i = 0; i < length; ++i) prompt.push_back(3 + (i * 37 + seed * 11) % 300);
  return prompt;
}

// Greedy, as many tokens as asked for.
inline Request tiny_request(std::vector<int32_t> prompt, int max_tokens) {
  Request request{.prompt = std::move(prompt), .sampling = {}};
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

}  // namespace lanner
