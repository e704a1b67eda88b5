// SPDX-License-Identifier: Apache-2.0
// For tests only: checkpoint files as bytes, the valid ones and the broken ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace lanner {

template <typename T>
void append_raw(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// header is JSON; the length in front of it is right.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string bytes;
  append_raw<uint64_t>(bytes, header.size());
  return bytes + header + data;
}

// A GGUF file, piece by piece. The fields may be set to anything.
class GgufBuilder {
 public:
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t extra_tensors = 0;  // more than there are
  uint64_t extra_pairs = 0;
  uint64_t alignment = 32;  // of the data; set general.alignment as well if it is another

  static void append_string(std::string& bytes, const std::string& text) {
    append_raw<uint64_t>(bytes, text.size());
    bytes += text;
  }

  // A pair with the value's bytes as they are.
  GgufBuilder& raw(const std::string& key, uint32_t type, const std::string& value) {
    append_string(pairs_, key);
    append_raw(pairs_, type);
    pairs_ += value;
    ++num_pairs_;
    return *this;
  }
  GgufBuilder& uint32(const std::string& key, uint32_t value) { return number(key, 4, value); }
  GgufBuilder& int32(const std::string& key, int32_t value) { return number(key, 5, value); }
  GgufBuilder& float32(const std::string& key, float value) { return number(key, 6, value); }
  GgufBuilder& boolean(const std::string& key, uint8_t value) { return number(key, 7, value); }
  GgufBuilder& uint64(const std::string& key, uint64_t value) { return number(key, 10, value); }
  GgufBuilder& string(const std::string& key, const std::string& value) {
    std::string bytes;
    append_string(bytes, value);
    return raw(key, 8, bytes);
  }
  GgufBuilder& strings(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes;
    append_raw<uint32_t>(bytes, 8);
    append_raw<uint64_t>(bytes, values.size());
    for (const std::string& value : values) append_string(bytes, value);
    return raw(key, 9, bytes);
  }
  template <typename T>
  GgufBuilder& array(const std::string& key, uint32_t type, const std::vector<T>& values) {
    std::string bytes;
    append_raw<uint32_t>(bytes, type);
    append_raw<uint64_t>(bytes, values.size());
    for (const T& value : values) append_raw(bytes, value);
    return raw(key, 9, bytes);
  }

  // A tensor at the next aligned place. dims: innermost first, as in the file.
  GgufBuilder& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                      const std::string& data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    tensor_at(name, dims, type, data_.size());
    data_ += data;
    return *this;
  }
  GgufBuilder& fp32_tensor(const std::string& name, const std::vector<uint64_t>& dims,
                           const std::vector<float>& values) {
    return tensor(
        name, dims, 0,
        std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  }
  // Only the description.
  GgufBuilder& tensor_at(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                         uint64_t offset) {
    append_string(tensors_, name);
    append_raw(tensors_, static_cast<uint32_t>(dims.size()));
    for (uint64_t dim : dims) append_raw(tensors_, dim);
    append_raw(tensors_, type);
    append_raw(tensors_, offset);
    ++num_tensors_;
    return *this;
  }

  std::string bytes() const {
    std::string bytes = magic;
    append_raw(bytes, version);
    append_raw(bytes, num_tensors_ + extra_tensors);
    append_raw(bytes, num_pairs_ + extra_pairs);
    bytes += pairs_ + tensors_;
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
    return bytes + data_;
  }

 private:
  template <typename T>
  GgufBuilder& number(const std::string& key, uint32_t type, T value) {
    std::string bytes;
    append_raw(bytes, value);
    return raw(key, type, bytes);
  }

  uint64_t num_pairs_ = 0;
  uint64_t num_tensors_ = 0;
  std::string pairs_;
  std::string tensors_;
  std::string data_;
};

// A llama of one layer: hidden size 8, two heads of 4, one of K and V, 6 tokens. Element i of each
// tensor is i. Without `tied` it has an output.weight.
inline GgufBuilder tiny_gguf(bool tied = true) {
  GgufBuilder gguf;
  gguf.string("general.architecture", "llama")
      .uint32("llama.block_count", 1)
      .uint32("llama.context_length", 128)
      .uint32("llama.embedding_length", 8)
      .uint32("llama.feed_forward_length", 16)
      .uint32("llama.attention.head_count", 2)
      .uint32("llama.attention.head_count_kv", 1)
      .float32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .float32("llama.rope.freq_base", 10000.0f)
      .string("tokenizer.ggml.model", "gpt2")
      .strings("tokenizer.ggml.tokens", {"a", "b", "c", "d", "ab", "abc"})
      .array<int32_t>("tokenizer.ggml.token_type", 5, {3, 1, 1, 1, 1, 1})
      .strings("tokenizer.ggml.merges", {"a b", "ab c"})
      .uint32("tokenizer.ggml.bos_token_id", 0)
      .uint32("tokenizer.ggml.eos_token_id", 1);
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
    uint64_t count = 1;
    for (uint64_t dim : dims) count *= dim;
    std::vector<float> values(count);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    gguf.fp32_tensor(name, dims, values);
  };
  add("token_embd.weight", {8, 6});
  add("blk.0.attn_norm.weight", {8});
  add("blk.0.attn_q.weight", {8, 8});
  add("blk.0.attn_k.weight", {8, 4});
  add("blk.0.attn_v.weight", {8, 4});
  add("blk.0.attn_output.weight", {8, 8});
  add("blk.0.ffn_norm.weight", {8});
  add("blk.0.ffn_gate.weight", {8, 16});
  add("blk.0.ffn_up.weight", {8, 16});
  add("blk.0.ffn_down.weight", {16, 8});
  add("output_norm.weight", {8});
  if (!tied) add("output.weight", {8, 6});
  return gguf;
}

}  // namespace lanner
