// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lanner/llm.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "weights/gguf_tokenizer.h"

namespace lanner {

// Owns the tokenizer and the chat template of a model: of a folder's files, or of a GGUF file's
// metadata. LlmImpl holds one beside its engine, ModelText::load gives one alone. Immutable.
class LoadedText final : public ModelText {
 public:
  // A model without tokenizer files is no error before its text is used. `path` starts the
  // messages.
  static LoadedText of_folder(const std::string& folder, const std::string& path);
  static LoadedText of_gguf(const std::optional<GgufTokenizerData>& vocabulary,
                            const std::string& path);

  // Of a model that has no files.
  static LoadedText none(const std::string& path) { return LoadedText(path); }

  // Null if there is none.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  // Throws Error(kNotFound) if there is none.
  const Tokenizer& required_tokenizer() const;

  std::vector<int32_t> tokenize(const std::string& text, bool with_special) const override;
  std::string detokenize(const std::vector<int32_t>& ids, bool skip_special) const override;
  std::string render(const ChatRequest& chat) const override;
  // Throws Error(kUnsupported) if there is none.
  const ChatTemplate& chat_template() const;
  bool has_chat_template() const override { return template_.has_value(); }

 private:
  explicit LoadedText(std::string path) : path_(std::move(path)) {}

  std::string path_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> template_;
};

}  // namespace lanner
