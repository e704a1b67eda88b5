// SPDX-License-Identifier: Apache-2.0
// The classes of this folder over the C interface of rust/: the one file that includes its header.
#include <utility>

#include <lanner_text.h>

#include "base/error.h"
#include "base/json.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lanner {
namespace {

LannerTextView view(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Frees what the library hands out, whatever happens in between.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { lanner_text_buffer_free(buffer_); }

  LannerTextBuffer* out() { return &buffer_; }
  std::string text() const { return {reinterpret_cast<const char*>(buffer_.data), buffer_.size}; }

 private:
  LannerTextBuffer buffer_{nullptr, 0};
};

ErrorCode code_of(LannerTextStatus status) {
  switch (status) {
    case LANNER_TEXT_STATUS_INVALID_ARGUMENT:
      return ErrorCode::kInvalidArgument;
    case LANNER_TEXT_STATUS_NOT_FOUND:
      return ErrorCode::kNotFound;
    case LANNER_TEXT_STATUS_UNSUPPORTED:
      return ErrorCode::kUnsupported;
    case LANNER_TEXT_STATUS_CORRUPT_FILE:
      return ErrorCode::kCorruptFile;
    case LANNER_TEXT_STATUS_IO:
      return ErrorCode::kIo;
    case LANNER_TEXT_STATUS_OK:
    case LANNER_TEXT_STATUS_INTERNAL:
      break;
  }
  return ErrorCode::kInternal;
}

// Calls function(arguments…, result, message) and returns the result or throws the message.
template <typename Result, typename Function, typename... Arguments>
void call(Result* result, Function function, Arguments... arguments) {
  Buffer message;
  const LannerTextStatus status = function(arguments..., result, message.out());
  if (status != LANNER_TEXT_STATUS_OK) throw Error(code_of(status), message.text());
}

template <typename Function, typename... Arguments>
std::string call_for_text(Function function, Arguments... arguments) {
  Buffer text;
  call(text.out(), function, arguments...);
  return text.text();
}

// A list of texts as the library takes it: end to end.
struct TextList {
  explicit TextList(const std::vector<std::string>& texts) {
    offsets.reserve(texts.size() + 1);
    offsets.push_back(0);
    for (const std::string& text : texts) offsets.push_back(offsets.back() + text.size());
    bytes.reserve(offsets.back());
    for (const std::string& text : texts) bytes += text;
  }
  LannerTextList lend() const { return {view(bytes), offsets.data(), offsets.size()}; }

  std::string bytes;
  std::vector<uint64_t> offsets;
};

// -1 stands for none; files that say so mean the same.
int64_t id_or_none(std::optional<int32_t> id) { return id ? *id : -1; }

int32_t flag_or_unknown(std::optional<bool> flag) { return flag ? int32_t{*flag} : -1; }

std::optional<int32_t> optional_id(int64_t id) {
  if (id < 0) return std::nullopt;
  return static_cast<int32_t>(id);
}

}  // namespace

void Tokenizer::Deleter::operator()(LannerTextTokenizer* tokenizer) const {
  lanner_text_tokenizer_free(tokenizer);
}

std::unique_ptr<Tokenizer> Tokenizer::from_folder(const std::string& folder) {
  LannerTextTokenizer* tokenizer = nullptr;
  call(&tokenizer, lanner_text_tokenizer_from_folder, view(folder));
  return std::unique_ptr<Tokenizer>(new Tokenizer(tokenizer));
}

std::unique_ptr<Tokenizer> Tokenizer::from_gguf(const GgufVocabulary& vocabulary) {
  const TextList tokens(vocabulary.tokens);
  const TextList merges(vocabulary.merges);
  const LannerTextGgufVocabulary lent = {
      .name = view(vocabulary.name),
      .model = view(vocabulary.model),
      .pre = view(vocabulary.pre),
      .tokens = tokens.lend(),
      .merges = merges.lend(),
      .scores = vocabulary.scores.data(),
      .num_scores = vocabulary.scores.size(),
      .token_types = vocabulary.token_types.data(),
      .num_token_types = vocabulary.token_types.size(),
      .roles = {id_or_none(vocabulary.bos_id), id_or_none(vocabulary.eos_id),
                id_or_none(vocabulary.unk_id), id_or_none(vocabulary.pad_id)},
      .add_bos = flag_or_unknown(vocabulary.add_bos),
      .add_eos = flag_or_unknown(vocabulary.add_eos),
      .add_space_prefix = flag_or_unknown(vocabulary.add_space_prefix),
  };
  LannerTextTokenizer* tokenizer = nullptr;
  call(&tokenizer, lanner_text_tokenizer_from_gguf, &lent);
  return std::unique_ptr<Tokenizer>(new Tokenizer(tokenizer));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special,
                                       SpecialInText special_in_text) const {
  LannerTextSpecialInText special = LANNER_TEXT_SPECIAL_IN_TEXT_DEFAULT;
  switch (special_in_text) {
    case SpecialInText::kDefault:
      break;
    case SpecialInText::kRecognise:
      special = LANNER_TEXT_SPECIAL_IN_TEXT_RECOGNISE;
      break;
    case SpecialInText::kIgnore:
      special = LANNER_TEXT_SPECIAL_IN_TEXT_IGNORE;
      break;
  }
  LannerTextIds ids = {nullptr, 0};
  call(&ids, lanner_text_tokenizer_encode, tokenizer_.get(), view(text), add_special, special);
  const auto free = [](LannerTextIds* lent) { lanner_text_ids_free(*lent); };
  const std::unique_ptr<LannerTextIds, decltype(free)> owner(&ids, free);
  return {ids.data, ids.data + ids.size};
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  // The bits of a negative id are an id that no vocabulary reaches.
  const auto* data = reinterpret_cast<const uint32_t*>(ids.data());
  return call_for_text(lanner_text_tokenizer_decode, tokenizer_.get(), data, ids.size(),
                       skip_special);
}

int Tokenizer::vocab_size() const {
  return static_cast<int>(lanner_text_tokenizer_vocab_size(tokenizer_.get()));
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  int64_t id = -1;
  call(&id, lanner_text_tokenizer_token_id, tokenizer_.get(), view(token));
  return optional_id(id);
}

std::optional<std::string> Tokenizer::token(int32_t id) const {
  std::string token =
      call_for_text(lanner_text_tokenizer_token, tokenizer_.get(), static_cast<uint32_t>(id));
  if (token.empty()) return std::nullopt;
  return token;
}

bool Tokenizer::is_special(int32_t id) const {
  return lanner_text_tokenizer_is_special(tokenizer_.get(), static_cast<uint32_t>(id));
}

RoleTokenIds Tokenizer::role_ids() const {
  const LannerTextRoles roles = lanner_text_tokenizer_roles(tokenizer_.get());
  return {optional_id(roles.bos), optional_id(roles.eos), optional_id(roles.unk),
          optional_id(roles.pad)};
}

void StreamDecoder::Deleter::operator()(LannerTextStreamDecoder* decoder) const {
  lanner_text_stream_decoder_free(decoder);
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special) {
  LannerTextStreamDecoder* decoder = nullptr;
  call(&decoder, lanner_text_stream_decoder_new, tokenizer.tokenizer_.get(), skip_special);
  decoder_.reset(decoder);
}

std::string StreamDecoder::push(int32_t id) {
  return call_for_text(lanner_text_stream_decoder_push, decoder_.get(), static_cast<uint32_t>(id));
}

std::string StreamDecoder::flush() {
  return call_for_text(lanner_text_stream_decoder_flush, decoder_.get());
}

void ChatTemplate::Deleter::operator()(LannerTextChatTemplate* chat_template) const {
  lanner_text_chat_template_free(chat_template);
}

ChatTemplate ChatTemplate::from_source(std::string_view source, const TemplateTokens& tokens) {
  Json variables = Json::object();
  const std::pair<const char*, const std::string*> named[] = {{"bos_token", &tokens.bos},
                                                              {"eos_token", &tokens.eos},
                                                              {"unk_token", &tokens.unk},
                                                              {"pad_token", &tokens.pad}};
  for (const auto& [name, token] : named) {
    if (!token->empty()) variables[name] = *token;
  }
  std::string text;
  try {
    text = variables.dump();
  } catch (const Json::exception& e) {
    throw_error(ErrorCode::kInvalidArgument, "a special token is not valid UTF-8: {}", e.what());
  }
  LannerTextChatTemplate* chat_template = nullptr;
  call(&chat_template, lanner_text_chat_template_from_source, view(source), view(text));
  return ChatTemplate(chat_template);
}

std::optional<ChatTemplate> ChatTemplate::from_folder(const std::string& folder) {
  LannerTextChatTemplate* chat_template = nullptr;
  call(&chat_template, lanner_text_chat_template_from_folder, view(folder));
  if (chat_template == nullptr) return std::nullopt;
  return ChatTemplate(chat_template);
}

std::string ChatTemplate::render(std::string_view messages_json, bool add_generation_prompt,
                                 std::string_view tools_json,
                                 std::string_view variables_json) const {
  return call_for_text(lanner_text_chat_template_render, template_.get(), view(messages_json),
                       view(tools_json), add_generation_prompt, view(variables_json));
}

}  // namespace lanner
