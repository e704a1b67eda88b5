// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_tokenizer.h"

#include "base/error.h"

namespace lanner {
namespace {

constexpr size_t kMaxTokenBytes = size_t{1} << 16;

void check_length(const GgufFile& file, const char* key, size_t length, size_t num_tokens) {
  if (length != 0 && length != num_tokens) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} has {} elements, but there are {} tokens",
                file.path(), quote_name(key), length, num_tokens);
  }
}

std::optional<int32_t> read_id(const GgufFile& file, const char* key, size_t num_tokens) {
  const std::optional<int64_t> id = file.optional_int(key);
  // -1, also as an unsigned number, stands for none.
  if (!id || *id == -1 || *id == 0xffffffff) return std::nullopt;
  if (*id < 0 || *id >= static_cast<int64_t>(num_tokens)) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} is {}, but there are {} tokens", file.path(),
                quote_name(key), *id, num_tokens);
  }
  return static_cast<int32_t>(*id);
}

}  // namespace

std::optional<GgufTokenizerData> read_gguf_tokenizer(const GgufFile& file) {
  GgufTokenizerData data;
  data.model = file.optional_string("tokenizer.ggml.model").value_or("");
  if (data.model.empty() || data.model == "none" || data.model == "no_vocab") return std::nullopt;
  data.pre = file.optional_string("tokenizer.ggml.pre").value_or("");

  data.tokens = file.strings("tokenizer.ggml.tokens");
  const size_t num_tokens = data.tokens.size();
  if (num_tokens == 0 || num_tokens > size_t{1} << 28) {
    throw_error(ErrorCode::kCorruptFile, "{}: tokenizer.ggml.tokens has {} tokens", file.path(),
                num_tokens);
  }
  for (size_t id = 0; id < num_tokens; ++id) {
    if (data.tokens[id].size() > kMaxTokenBytes) {
      throw_error(ErrorCode::kCorruptFile, "{}: token {} has {} bytes, at most {} are read",
                  file.path(), id, data.tokens[id].size(), kMaxTokenBytes);
    }
  }
  data.scores = file.floats("tokenizer.ggml.scores");
  check_length(file, "tokenizer.ggml.scores", data.scores.size(), num_tokens);
  const std::vector<int64_t> types = file.ints("tokenizer.ggml.token_type");
  check_length(file, "tokenizer.ggml.token_type", types.size(), num_tokens);
  for (int64_t type : types) {
    if (type < 0 || type > static_cast<int64_t>(GgufTokenType::kByte)) {
      throw_error(ErrorCode::kCorruptFile, "{}: tokenizer.ggml.token_type has the unknown type {}",
                  file.path(), type);
    }
    data.token_types.push_back(static_cast<GgufTokenType>(type));
  }
  data.merges = file.strings("tokenizer.ggml.merges");

  data.bos_id = read_id(file, "tokenizer.ggml.bos_token_id", num_tokens);
  data.eos_id = read_id(file, "tokenizer.ggml.eos_token_id", num_tokens);
  data.eot_id = read_id(file, "tokenizer.ggml.eot_token_id", num_tokens);
  data.eom_id = read_id(file, "tokenizer.ggml.eom_token_id", num_tokens);
  data.unk_id = read_id(file, "tokenizer.ggml.unknown_token_id", num_tokens);
  data.pad_id = read_id(file, "tokenizer.ggml.padding_token_id", num_tokens);
  data.add_bos = file.optional_bool("tokenizer.ggml.add_bos_token");
  data.add_eos = file.optional_bool("tokenizer.ggml.add_eos_token");
  data.add_space_prefix = file.optional_bool("tokenizer.ggml.add_space_prefix");
  data.remove_extra_whitespaces = file.optional_bool("tokenizer.ggml.remove_extra_whitespaces");
  data.chat_template = file.optional_string("tokenizer.chat_template").value_or("");
  return data;
}

}  // namespace lanner
