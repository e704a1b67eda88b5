// SPDX-License-Identifier: Apache-2.0
#include "engine/model_text.h"

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "engine/builtin_chat_template.h"
#include "engine/gguf_text.h"
#include "text/chat_prompt.h"
#include "weights/gguf.h"
#include "weights/gguf_tokenizer.h"
#include "weights/model_files.h"
#include "weights/quantized_folder.h"

namespace lanner {
namespace {

// Empty if a folder has none: its text can be used without it.
Json read_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  return std::filesystem::exists(path) ? read_json_file(path) : Json::object();
}

}  // namespace

LoadedText LoadedText::of_folder(const std::string& folder, const std::string& path) {
  // A quantised folder that was made of a GGUF file has the vocabulary as such files do.
  const std::filesystem::path vocabulary = std::filesystem::path(folder) / kVocabularyFile;
  if (std::filesystem::exists(vocabulary)) {
    return of_gguf(read_gguf_tokenizer(GgufFile::open(vocabulary.string())), path);
  }
  LoadedText text(path);
  try {
    text.tokenizer_ = Tokenizer::from_folder(folder);
  } catch (const Error& e) {
    // A folder of weights alone works on token ids.
    if (e.code() != ErrorCode::kNotFound) throw;
    return text;
  }
  text.template_ = ChatTemplate::from_folder(folder);
  if (!text.template_) {
    const auto source = builtin_chat_template(read_config(folder), *text.tokenizer_);
    if (source) text.template_ = ChatTemplate::from_source(*source);
  }
  return text;
}

LoadedText LoadedText::of_gguf(const std::optional<GgufTokenizerData>& data,
                               const std::string& path) {
  LoadedText text(path);
  if (!data) return text;
  const GgufVocabulary vocabulary = to_vocabulary(*data, path);
  text.tokenizer_ = Tokenizer::from_gguf(vocabulary);
  text.template_ = make_chat_template(vocabulary, *text.tokenizer_);
  return text;
}

const Tokenizer& LoadedText::required_tokenizer() const {
  if (tokenizer_) return *tokenizer_;
  throw_error(ErrorCode::kNotFound, "{}: there are no tokenizer files; only token ids work", path_);
}

std::vector<int32_t> LoadedText::tokenize(const std::string& text, bool with_special) const {
  return required_tokenizer().encode(text, with_special);
}

std::string LoadedText::detokenize(const std::vector<int32_t>& ids, bool skip_special) const {
  return required_tokenizer().decode(ids, skip_special);
}

const ChatTemplate& LoadedText::chat_template() const {
  if (template_) return *template_;
  throw_error(ErrorCode::kUnsupported,
              "{}: the model has no chat template; give it a plain prompt instead", path_);
}

std::string LoadedText::render(const ChatRequest& chat) const {
  const bool has_tools = !chat.tools.empty() && chat.tool_choice.kind != ToolChoice::Kind::kNone;
  if (has_tools && chat_template().source(has_tools).find("tools") == std::string::npos) {
    throw_error(ErrorCode::kUnsupported, "{}: the chat template does not render tools", path_);
  }
  return chat_template().render(messages_json(chat.messages), chat.add_generation_prompt,
                                has_tools ? tools_json(chat.tools) : "", chat.template_arguments);
}

std::unique_ptr<ModelText> ModelText::load(const std::string& path) {
  const ModelTextFiles files = open_model_text(path);
  auto text =
      std::make_unique<LoadedText>(files.is_gguf ? LoadedText::of_gguf(files.gguf_tokenizer, path)
                                                 : LoadedText::of_folder(files.folder, path));
  text->required_tokenizer();
  return text;
}

}  // namespace lanner
