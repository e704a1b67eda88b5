// SPDX-License-Identifier: Apache-2.0
#include "engine/builtin_chat_template.h"

#include <fmt/format.h>

namespace lanner {
namespace {

// make_context of qwen_generation_utils.py.
constexpr const char* kQwen = R"({%- if messages[0]['role'] != 'system' -%}
{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%})";

// build_chat_input of Baichuan's generation_utils.py; the two role tokens are 195 and 196.
constexpr const char* kBaichuan = R"({%- for message in messages -%}
{%- if message['role'] == 'system' -%}{{ message['content'] }}
{%- elif message['role'] == 'user' -%}{{ 'USER' + message['content'] }}
{%- else -%}{{ 'ASSISTANT' + message['content'] }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'ASSISTANT' }}{%- endif -%})";

// build_prompt of ChatGLM2's, and chat of ChatGLM-6B's modelling code: numbered rounds. The first
// version has no frame around a conversation of one question, and ends with its mask.
constexpr const char* kRounds = R"({%- set state = namespace(round=FIRST) -%}
{%- set rounds = FRAMED or messages | length > 1 -%}
{{- 'BEGIN' -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{ ('[Round ' ~ state.round ~ ']GAP问：' if rounds else '') + message['content']
   + ('GAP答：' if rounds else '') }}
{%- set state.round = state.round + 1 -%}
{%- elif message['role'] == 'assistant' -%}
{{ message['content'] + 'GAP' }}
{%- else -%}
{{ raise_exception("this model's prompts have no place for the role '" + message['role'] + "'") }}
{%- endif -%}
{%- endfor -%}
{{- 'END' -}})";

// build_chat_input of ChatGLM3's tokenization_chatglm.py, which encodes a content apart from its
// line break: it has a prefix blank of its own, unless it is empty.
constexpr const char* kChatglm3 = R"({{- '[gMASK]sop' -}}
{%- for message in messages -%}
{{ '<|' + message['role'] + '|>\n' + (' ' + message['content'] if message['content'] else '') }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%})";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string rounds(const char* first, const char* framed, const char* gap, const char* begin,
                   const char* end) {
  std::string text = replaced(kRounds, "FIRST", first);
  text = replaced(text, "FRAMED", framed);
  text = replaced(text, "GAP", gap);
  text = replaced(text, "BEGIN", begin);
  return replaced(text, "END", end);
}

std::string chatglm(const Json& config, const Tokenizer& tokenizer) {
  if (config.contains("position_encoding_2d") || config.contains("inner_hidden_size")) {
    return rounds("0", "false", "\\n", "", "[gMASK]<sop>");
  }
  if (tokenizer.token_id("<|user|>")) return kChatglm3;
  return rounds("1", "true", "\\n\\n", "[gMASK]sop", "");
}

std::string baichuan(const Json& config) {
  const auto norm_head = config.find("norm_head");
  const bool is_second =
      norm_head != config.end() ? *norm_head == true : config.value("vocab_size", Json()) == 125696;
  const std::string text =
      replaced(kBaichuan, "USER", is_second ? "<reserved_106>" : "<reserved_102>");
  return replaced(text, "ASSISTANT", is_second ? "<reserved_107>" : "<reserved_103>");
}

}  // namespace

std::optional<std::string> builtin_chat_template(const Json& config, const Tokenizer& tokenizer) {
  const Json model_type = config.is_object() ? config.value("model_type", Json()) : Json();
  if (model_type == "qwen") return kQwen;
  if (model_type == "baichuan") return baichuan(config);
  if (model_type == "chatglm") return chatglm(config, tokenizer);
  return std::nullopt;
}

}  // namespace lanner
