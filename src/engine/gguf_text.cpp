// SPDX-License-Identifier: Apache-2.0
#include "engine/gguf_text.h"

namespace lanner {

GgufVocabulary to_vocabulary(const GgufTokenizerData& data, const std::string& name) {
  GgufVocabulary vocabulary{.name = name,
                            .model = data.model,
                            .pre = data.pre,
                            .tokens = data.tokens,
                            .scores = data.scores,
                            .token_types = {},
                            .merges = data.merges,
                            .bos_id = data.bos_id,
                            .eos_id = data.eos_id,
                            .unk_id = data.unk_id,
                            .pad_id = data.pad_id,
                            .add_bos = data.add_bos,
                            .add_eos = data.add_eos,
                            .add_space_prefix = data.add_space_prefix,
                            .chat_template = data.chat_template};
  for (GgufTokenType type : data.token_types) {
    vocabulary.token_types.push_back(static_cast<int32_t>(type));
  }
  return vocabulary;
}

std::optional<ChatTemplate> make_chat_template(const GgufVocabulary& vocabulary,
                                               const Tokenizer& tokenizer) {
  if (vocabulary.chat_template.empty()) return std::nullopt;
  const auto text = [&](std::optional<int32_t> id) {
    return id ? tokenizer.token(*id).value_or("") : std::string();
  };
  return ChatTemplate::from_source(vocabulary.chat_template, {.bos = text(vocabulary.bos_id),
                                                              .eos = text(vocabulary.eos_id),
                                                              .unk = text(vocabulary.unk_id),
                                                              .pad = text(vocabulary.pad_id)});
}

}  // namespace lanner
