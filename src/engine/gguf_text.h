// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "weights/gguf_tokenizer.h"

namespace lanner {

// What a GGUF file says of its text, handed from the reader of the file to the text part, which
// know nothing of each other. `name` starts the messages of errors.
GgufVocabulary to_vocabulary(const GgufTokenizerData& data, const std::string& name);

// Nothing if the file has no template.
std::optional<ChatTemplate> make_chat_template(const GgufVocabulary& vocabulary,
                                               const Tokenizer& tokenizer);

}  // namespace lanner
