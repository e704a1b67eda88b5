// SPDX-License-Identifier: Apache-2.0
// The classes of this folder over the C interface of rust/: the one file that includes its header.
#include <utility>

#include <lanner_text.h>

#include "base/error.h"
#include "base/json.h"
#include "text/chat_template.h"
#include "text/delayed_constraint.h"
#include "text/grammar.h"
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

template <typename Function, typename... Arguments>
std::vector<int32_t> call_for_ids(Function function, Arguments... arguments) {
  LannerTextIds ids = {nullptr, 0};
  call(&ids, function, arguments...);
  const auto free = [](LannerTextIds* lent) { lanner_text_ids_free(*lent); };
  const std::unique_ptr<LannerTextIds, decltype(free)> owner(&ids, free);
  return {ids.data, ids.data + ids.size};
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
  return call_for_ids(lanner_text_tokenizer_encode, tokenizer_.get(), view(text), add_special,
                      special);
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

std::string Tokenizer::token_bytes(int32_t id) const {
  return call_for_text(lanner_text_tokenizer_token_bytes, tokenizer_.get(),
                       static_cast<uint32_t>(id));
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

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special,
                             std::span<const int32_t> shown_special) {
  for (const int32_t id : shown_special) shown_.emplace_back(id, tokenizer.token(id).value_or(""));
  LannerTextStreamDecoder* decoder = nullptr;
  call(&decoder, lanner_text_stream_decoder_new, tokenizer.tokenizer_.get(), skip_special);
  decoder_.reset(decoder);
}

std::string StreamDecoder::push(int32_t id) {
  for (const auto& [shown, text] : shown_) {
    if (shown == id) return text;
  }
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

std::string ChatTemplate::source(bool with_tools) const {
  return call_for_text(lanner_text_chat_template_source, template_.get(), with_tools);
}

namespace {

// The grammar of one sequence.
class GrammarConstraint final : public TokenConstraint {
 public:
  GrammarConstraint(LannerTextGrammarMatcher* matcher, size_t num_words)
      : matcher_(matcher), bits_(num_words) {}

  void prepare() override {
    if (prepared_) return;
    size_t count = 0;
    call(&count, lanner_text_grammar_matcher_mask, matcher_.get(), bits_.data(), bits_.size());
    prepared_ = true;
  }
  std::span<const uint32_t> allowed() override {
    prepare();
    return bits_;
  }
  void accept(int32_t token) override {
    bool complete = false;
    const auto id = static_cast<uint32_t>(token);
    prepared_ = false;
    call(&complete, lanner_text_grammar_matcher_consume, matcher_.get(), &id, size_t{1});
  }
  std::vector<int32_t> forced() override {
    return call_for_ids(lanner_text_grammar_matcher_forced, matcher_.get());
  }
  std::unique_ptr<TokenConstraint> clone() const override {
    LannerTextGrammarMatcher* matcher = nullptr;
    call(&matcher, lanner_text_grammar_matcher_fork, matcher_.get());
    return std::make_unique<GrammarConstraint>(matcher, bits_.size());
  }

 private:
  struct Deleter {
    void operator()(LannerTextGrammarMatcher* matcher) const {
      lanner_text_grammar_matcher_free(matcher);
    }
  };

  std::unique_ptr<LannerTextGrammarMatcher, Deleter> matcher_;
  std::vector<uint32_t> bits_;
  bool prepared_ = false;
};

std::string choices_json(const std::vector<std::string>& choices) {
  try {
    return Json(choices).dump();
  } catch (const Json::exception& e) {
    throw_error(ErrorCode::kInvalidArgument, "[structured] choice: not valid UTF-8: {}", e.what());
  }
}

}  // namespace

void GrammarCompiler::Deleter::operator()(LannerTextGrammarCompiler* compiler) const {
  lanner_text_grammar_compiler_free(compiler);
}

GrammarCompiler::GrammarCompiler(const Tokenizer& tokenizer, int64_t vocab_size,
                                 std::span<const int32_t> eos_ids)
    : num_words_((static_cast<size_t>(vocab_size) + 31) / 32) {
  for (const int32_t id : eos_ids) {
    if (id >= 0 && id < vocab_size) eos_ids_.push_back(id);
  }
  LannerTextGrammarCompiler* compiler = nullptr;
  call(&compiler, lanner_text_grammar_compiler_new, tokenizer.tokenizer_.get(),
       static_cast<uint32_t>(vocab_size), reinterpret_cast<const uint32_t*>(eos_ids_.data()),
       eos_ids_.size());
  compiler_.reset(compiler);
}

std::unique_ptr<TokenConstraint> GrammarCompiler::compile(const StructuredOutput& form,
                                                          std::optional<int32_t> after) const {
  LannerTextGrammarKind kind = LANNER_TEXT_GRAMMAR_KIND_JSON_OBJECT;
  std::string source = form.source;
  switch (form.kind) {
    case StructuredOutput::Kind::kNone:
      return nullptr;
    case StructuredOutput::Kind::kJsonObject:
      break;
    case StructuredOutput::Kind::kJsonSchema:
      kind = LANNER_TEXT_GRAMMAR_KIND_JSON_SCHEMA;
      break;
    case StructuredOutput::Kind::kRegex:
      kind = LANNER_TEXT_GRAMMAR_KIND_REGEX;
      break;
    case StructuredOutput::Kind::kChoice:
      kind = LANNER_TEXT_GRAMMAR_KIND_CHOICE;
      source = choices_json(form.choices);
      break;
    case StructuredOutput::Kind::kLark:
      kind = LANNER_TEXT_GRAMMAR_KIND_LARK;
      break;
  }
  LannerTextGrammarMatcher* matcher = nullptr;
  call(&matcher, lanner_text_grammar_compile, compiler_.get(), kind, view(source));
  auto constraint = std::make_unique<GrammarConstraint>(matcher, num_words_);
  if (!after) return constraint;
  return std::make_unique<DelayedConstraint>(std::move(constraint), *after, num_words_, eos_ids_);
}

}  // namespace lanner
