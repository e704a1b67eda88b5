// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include <fmt/format.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/model_choice.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

Failure bad_messages(const std::string& name, const std::string& why) {
  return Failure(exit_code(ErrorCode::kInvalidArgument), fmt::format("{}: {}", name, why),
                 R"(expected [{"role": "user", "content": "..."}, ...])");
}

// [{"role": .., "content": ..}, ...], or an object with that under "messages".
std::vector<ChatMessage> to_messages(const Json& json, const std::string& name) {
  const Json* list = &json;
  if (json.is_object() && json.contains("messages")) list = &json["messages"];
  if (!list->is_array() || list->empty()) throw bad_messages(name, "no list of messages");
  std::vector<ChatMessage> messages;
  for (const Json& entry : *list) {
    const size_t index = messages.size();
    if (!entry.is_object()) throw bad_messages(name, fmt::format("message {} is no object", index));
    for (const auto& [key, value] : entry.items()) {
      if (key != "role" && key != "content") {
        throw bad_messages(name, fmt::format("message {} has an unknown key '{}'", index, key));
      }
      if (!value.is_string()) {
        throw bad_messages(name, fmt::format("message {}: '{}' is no string", index, key));
      }
    }
    if (!entry.contains("role") || !entry.contains("content")) {
      throw bad_messages(name, fmt::format("message {} lacks 'role' or 'content'", index));
    }
    messages.push_back({entry["role"].get<std::string>(), entry["content"].get<std::string>()});
  }
  return messages;
}

std::vector<ChatMessage> read_messages(const std::string& file, const Context& context) {
  if (file != "-") return to_messages(read_json_file(file), file);
  const std::string name = "standard input";
  return to_messages(parse_json(resolve_text("-", context, "messages"), name), name);
}

}  // namespace

int render_command(const RenderOptions& options, Context& context) {
  const ModelAndText chosen = tell_model_from_text(options.given);
  if (options.messages && chosen.text) {
    throw usage_failure("--messages stands instead of a text; both were given ('" + *chosen.text +
                        "')");
  }
  const std::string path = resolve_model(chosen.model, context);
  std::vector<ChatMessage> messages;
  if (options.system) messages.push_back({"system", *options.system});
  if (options.messages) {
    const auto read = read_messages(*options.messages, context);
    messages.insert(messages.end(), read.begin(), read.end());
  } else {
    messages.push_back({"user", without_final_newline(resolve_text(chosen.text, context, "text"))});
  }

  const auto model_text = context.backend.load_text(path);
  if (!model_text->has_chat_template()) {
    throw Failure(exit_code(ErrorCode::kUnsupported),
                  fmt::format("{}: the model has no chat template", path));
  }
  context.out << model_text->render(
      {.messages = std::move(messages), .add_generation_prompt = !options.no_generation_prompt});
  if (context.out_is_terminal) context.out << '\n';
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
