// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

// Opaque type of the Rust library; only rust_api.cpp knows more.
struct LannerTextChatTemplate;

namespace lanner {

// Special tokens as text, for a template's variables bos_token and so on; "" leaves one undefined.
struct TemplateTokens {
  std::string bos = {};
  std::string eos = {};
  std::string unk = {};
  std::string pad = {};
};

// A model's Jinja template: a conversation in, the prompt's text out. Runs in a sandbox with bounds
// on work, output and recursion. Immutable: any number of threads may use one.
class ChatTemplate {
 public:
  // Throws Error(kUnsupported) with the line if the template cannot be parsed.
  static ChatTemplate from_source(std::string_view source, const TemplateTokens& tokens = {});
  // Of a model folder: chat_template.jinja, else chat_template of tokenizer_config.json (a
  // template, or a list of named ones: "default", and "tool_use" when there are tools). Special
  // tokens come from tokenizer_config.json. nullopt if the model has no template. Throws Error
  // naming the file: kIo, kCorruptFile, kUnsupported.
  static std::optional<ChatTemplate> from_folder(const std::string& folder);

  // All as JSON text. messages_json: a list of {"role", "content", …}; tools_json: a list of tool
  // schemas, or ""; variables_json: an object with further variables for the template
  // (e.g. {"enable_thinking": false}), or "".
  // Throws Error(kInvalidArgument): with the template's own message when it raises one; when it
  // does not come to an end; when its output is longer than 16 MiB; when the JSON is bad.
  std::string render(std::string_view messages_json, bool add_generation_prompt,
                     std::string_view tools_json = "", std::string_view variables_json = "") const;
  // The source of the template that conversations with, or without, tools are rendered with.
  std::string source(bool with_tools) const;

 private:
  struct Deleter {
    void operator()(LannerTextChatTemplate* chat_template) const;
  };
  explicit ChatTemplate(LannerTextChatTemplate* chat_template) : template_(chat_template) {}

  std::unique_ptr<LannerTextChatTemplate, Deleter> template_;
};

}  // namespace lanner
