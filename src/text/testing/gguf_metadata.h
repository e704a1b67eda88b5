// SPDX-License-Identifier: Apache-2.0
// The vocabulary of a GGUF file, for tests of this folder, which knows nothing of weights/. Trusts
// the file.
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

#include "text/gguf_vocabulary.h"

namespace lanner {

class GgufMetadata {
 public:
  explicit GgufMetadata(const std::string& path) : file_(path, std::ios::binary) {
    vocabulary_.name = path;
    if (number<uint32_t>() != 0x46554747) throw std::runtime_error(path + ": not a GGUF file");
    number<uint32_t>();  // version
    number<uint64_t>();  // tensors
    for (auto left = number<uint64_t>(); left > 0; --left) {
      const std::string key = text();
      value(key, number<uint32_t>());
    }
  }

  const GgufVocabulary& vocabulary() const { return vocabulary_; }

 private:
  enum Type : uint32_t {
    kUint32 = 4,
    kInt32 = 5,
    kFloat32 = 6,
    kBool = 7,
    kString = 8,
    kArray = 9
  };

  template <typename T>
  T number() {
    T result{};
    file_.read(reinterpret_cast<char*>(&result), sizeof(result));
    if (!file_) throw std::runtime_error(vocabulary_.name + ": too short");
    return result;
  }

  std::string text() {
    std::string result(number<uint64_t>(), '\0');
    file_.read(result.data(), static_cast<std::streamsize>(result.size()));
    return result;
  }

  void value(const std::string& key, uint32_t type) {
    GgufVocabulary& v = vocabulary_;
    if (type == kArray) {
      const auto element = number<uint32_t>();
      for (auto left = number<uint64_t>(); left > 0; --left) value(key, element);
    } else if (type == kString) {
      const std::string value = text();
      if (key == "tokenizer.ggml.model") v.model = value;
      if (key == "tokenizer.ggml.pre") v.pre = value;
      if (key == "tokenizer.ggml.tokens") v.tokens.push_back(value);
      if (key == "tokenizer.ggml.merges") v.merges.push_back(value);
      if (key == "tokenizer.chat_template") v.chat_template = value;
    } else if (type == kUint32) {
      const auto value = static_cast<int32_t>(number<uint32_t>());
      if (key == "tokenizer.ggml.bos_token_id") v.bos_id = value;
      if (key == "tokenizer.ggml.eos_token_id") v.eos_id = value;
      if (key == "tokenizer.ggml.unknown_token_id") v.unk_id = value;
      if (key == "tokenizer.ggml.padding_token_id") v.pad_id = value;
    } else if (type == kInt32) {
      const auto value = number<int32_t>();
      if (key == "tokenizer.ggml.token_type") v.token_types.push_back(value);
    } else if (type == kFloat32) {
      const auto value = number<float>();
      if (key == "tokenizer.ggml.scores") v.scores.push_back(value);
    } else if (type == kBool) {
      const bool value = number<uint8_t>() != 0;
      if (key == "tokenizer.ggml.add_bos_token") v.add_bos = value;
      if (key == "tokenizer.ggml.add_eos_token") v.add_eos = value;
      if (key == "tokenizer.ggml.add_space_prefix") v.add_space_prefix = value;
    } else {
      static constexpr int kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
      if (type >= std::size(kSizes)) throw std::runtime_error(key + ": unknown type");
      file_.ignore(kSizes[type]);
    }
  }

  std::ifstream file_;
  GgufVocabulary vocabulary_;
};

}  // namespace lanner
