// SPDX-License-Identifier: Apache-2.0
// Chats with tools from the request to the calls, for every format: a template that renders tools
// and earlier calls in the marks of the format, a model that talks nonsense, and the grammar that
// makes calls of it.
#include <memory>
#include <set>

#include <gtest/gtest.h>

#include "engine/testing/tiny_model.h"
#include "text/tool_calls/formats.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

struct Family {
  const char* format;
  std::vector<std::string> special;  // tokens of the model
  const char* chat_template;
};

// Templates in the manner of the families' own: how they announce tools, show calls that were made
// and give results back.
const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"hermes",
       {"<tool_call>", "</tool_call>", "<|im_start|>", "<|im_end|>"},
       R"({%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}
{%- if loop.first and tools %}Tools: {% for t in tools %}{{ t | tojson }} {% endfor %}
{{- 'Call: <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>\n' }}{% endif %}{{ m.content }}
{%- for c in m.tool_calls or [] %}{{ '<tool_call>\n{"name": "' + c.function.name + '", "arguments": ' }}
{{- c.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"},
      {"llama3",
       {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"},
       R"({%- for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}
{%- if loop.first and tools %}{% for t in tools %}{{ t | tojson }} {% endfor %}
{{- 'Answer {"name": function, "parameters": values}. ' }}{% endif %}{{ m.content }}
{%- for c in m.tool_calls or [] %}{{ '{"name": "' + c.function.name + '", "parameters": ' }}
{{- c.function.arguments | tojson }}{{ '}' }}{% endfor %}<|eot_id|>{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})"},
      {"mistral",
       {"[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[TOOL_RESULTS]"},
       R"({%- if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}{% endif %}
{%- for m in messages %}{% if m.role == 'assistant' %}{% if m.tool_calls %}
{{- '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}{{ '{"name": "' + c.function.name + '", "arguments": ' }}
{{- c.function.arguments | tojson }}{{ '}' }}{% endfor %}]{% endif %}{{ m.content }}
{%- elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}{% else %}[INST]{{ m.content }}[/INST]
{%- endif %}{% endfor %})"},
      {"mistral-args",
       {"[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]"},
       R"({%- if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}
{%- for c in m.tool_calls or [] %}{{ '[TOOL_CALLS]' + c.function.name + '[ARGS]' }}
{{- c.function.arguments | tojson }}{% endfor %}{% endif %}{% endfor %})"},
      {"deepseek-v3",
       {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<｜User｜>", "<｜Assistant｜>"},
       R"({%- if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}{% if m.role == 'user' %}<｜User｜>{% else %}<｜Assistant｜>{% endif %}{{ m.content }}
{%- if m.tool_calls %}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}<｜tool▁call▁begin｜>function<｜tool▁sep｜>
{{- c.function.name + '\n```json\n' }}{{ c.function.arguments | tojson }}{{ '\n```' }}<｜tool▁call▁end｜>{% endfor %}
{{- '<｜tool▁calls▁end｜>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %})"},
      {"deepseek-v3.1",
       {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<｜User｜>", "<｜Assistant｜>"},
       R"({%- if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}{% if m.role == 'user' %}<｜User｜>{% else %}<｜Assistant｜>{% endif %}{{ m.content }}
{%- if m.tool_calls %}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}<｜tool▁call▁begin｜>
{{- c.function.name }}<｜tool▁sep｜>{{ c.function.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}
{{- '<｜tool▁calls▁end｜>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %})"},
      {"glm",
       {"[gMASK]", "<|user|>", "<|assistant|>", "<|observation|>"},
       R"([gMASK]{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}
{%- for m in messages %}{% if m.role == 'tool' %}<|observation|>{% else %}<|{{ m.role }}|>{% endif %}
{%- for c in m.tool_calls or [] %}{{ c.function.name + '\n' }}{{ c.function.arguments | tojson }}{% endfor %}
{{- m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %})"},
  };
  return all;
}

// The tiny model with the special tokens of a family in the places of its last tokens.
class ToolCallTest : public testing::TestWithParam<size_t> {
 protected:
  ToolCallTest() {
    const Family& family = families()[GetParam()];
    Json tokenizer = Json::parse(tiny_tokenizer_json());
    Json& vocab = tokenizer.at("model").at("vocab");
    // Grammars need a decoder that tells the bytes of each token.
    Json& steps = tokenizer.at("decoder").at("decoders");
    steps.insert(steps.begin(),
                 Json{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}});
    int id = 320;
    const auto put = [&](const std::string& token) {
      --id;
      for (auto it = vocab.begin(); it != vocab.end(); ++it) {
        if (it.value() != id) continue;
        vocab.erase(it);
        break;
      }
      vocab[token] = id;
    };
    put("\n");  // the tiny vocabulary has none, and some formats are lines
    for (const std::string& token : family.special) {
      put(token);
      tokenizer["added_tokens"].push_back({{"id", id},
                                           {"content", token},
                                           {"single_word", false},
                                           {"lstrip", false},
                                           {"rstrip", false},
                                           {"normalized", false},
                                           {"special", true}});
    }
    model_.folder().write("tokenizer.json", tokenizer.dump());
    model_.folder().write(
        "tokenizer_config.json",
        Json{{"eos_token", "</s>"}, {"chat_template", family.chat_template}}.dump());
    llm_ = LLM::load(model_.path(), tiny_config());
  }

  static ChatRequest question() {
    ChatRequest chat;
    chat.messages = {{.role = "user", .content = "Weather?"}};
    chat.tools = {
        {.name = "weather",
         .description = "The weather",
         .parameters = R"({"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]},
                           "days": {"type": "integer", "minimum": 1, "maximum": 9}},
                           "required": ["city", "days"], "additionalProperties": false})"},
        {.name = "clock", .description = "The time", .parameters = ""}};
    chat.sampling.max_tokens = 800;
    chat.sampling.temperature = 1.0;
    return chat;
  }

  static void expect_valid(const ToolCall& call) {
    const Json arguments = Json::parse(call.arguments);
    if (call.name == "clock") {
      EXPECT_EQ(arguments, Json::object());
      return;
    }
    EXPECT_EQ(call.name, "weather");
    EXPECT_EQ(arguments.size(), 2u) << call.arguments;
    EXPECT_TRUE(arguments.at("city") == "Oslo" || arguments.at("city") == "Rome") << call.arguments;
    EXPECT_TRUE(arguments.at("days").is_number_integer() && arguments.at("days") >= 1 &&
                arguments.at("days") <= 9)
        << call.arguments;
  }

  TinyModel model_;
  std::unique_ptr<LLM> llm_;
};

TEST_P(ToolCallTest, RequiredCallsAreMadeAndTheirArgumentsValid) {
  std::set<std::string> called;
  for (uint64_t seed = 0; seed < 6 || (called.size() < 2 && seed < 60); ++seed) {
    ChatRequest chat = question();
    chat.tool_choice.kind = ToolChoice::Kind::kRequired;
    chat.parallel_tool_calls = false;
    chat.sampling.seed = seed;
    const ChatCompletion answer = llm_->chat(chat).front();
    EXPECT_EQ(answer.completion.finish_reason, FinishReason::kToolCalls) << answer.completion.text;
    ASSERT_EQ(answer.message.tool_calls.size(), 1u) << answer.completion.text;
    EXPECT_EQ(answer.message.content, "") << answer.completion.text;
    expect_valid(answer.message.tool_calls.front());
    called.insert(answer.message.tool_calls.front().name);
  }
  EXPECT_EQ(called.size(), 2u) << "the model chooses";
}

TEST_P(ToolCallTest, ANamedCallIsOfThatFunctionAndItsResultGoesBack) {
  ChatRequest chat = question();
  chat.tool_choice = {.kind = ToolChoice::Kind::kNamed, .name = "weather"};
  chat.sampling.seed = 3;
  ChatMessage answer = llm_->chat(chat).front().message;
  ASSERT_EQ(answer.tool_calls.size(), 1u);
  EXPECT_EQ(answer.tool_calls.front().name, "weather");
  EXPECT_FALSE(answer.tool_calls.front().id.empty());
  expect_valid(answer.tool_calls.front());

  chat.messages.push_back(answer);
  chat.messages.push_back(
      {.role = "tool", .content = "It rains.", .tool_call_id = answer.tool_calls.front().id});
  const std::string prompt = llm_->render(chat);
  const Json arguments = Json::parse(answer.tool_calls.front().arguments);
  EXPECT_NE(prompt.find(arguments.at("city").get<std::string>(), prompt.find("Weather?")),
            std::string::npos)
      << "the call is in the next prompt: " << prompt;
  EXPECT_NE(prompt.find("It rains."), std::string::npos);
  chat.tool_choice = {.kind = ToolChoice::Kind::kNamed, .name = "clock"};
  EXPECT_EQ(llm_->chat(chat).front().message.tool_calls.front().name, "clock");
}

TEST_P(ToolCallTest, NoneLeavesTheToolsOutAndAutoLetsTheModelTalk) {
  ChatRequest chat = question();
  chat.sampling.max_tokens = 30;
  EXPECT_NE(llm_->render(chat).find("weather"), std::string::npos);
  EXPECT_TRUE(llm_->chat(chat).front().message.tool_calls.empty());
  chat.tool_choice.kind = ToolChoice::Kind::kNone;
  EXPECT_EQ(llm_->render(chat).find("weather"), std::string::npos);
  chat.tool_choice = {.kind = ToolChoice::Kind::kNamed, .name = "nobody"};
  expect_error(ErrorCode::kInvalidArgument, {"nobody"}, [&] { llm_->chat(chat); });
}

INSTANTIATE_TEST_SUITE_P(Formats, ToolCallTest, testing::Range(size_t{0}, size_t{7}),
                         [](const testing::TestParamInfo<size_t>& tested) {
                           std::string name = families()[tested.param].format;
                           std::erase_if(name, [](char c) { return !std::isalnum(c); });
                           return name;
                         });

TEST(ToolCallFamilies, EveryFormatHasOne) {
  std::set<std::string> tested;
  for (const Family& family : families()) {
    const ToolCallFormat* format = find_tool_call_format(family.chat_template);
    ASSERT_NE(format, nullptr) << family.format;
    EXPECT_EQ(format->name, family.format);
    tested.insert(family.format);
  }
  EXPECT_EQ(families().size(), 7u);
  for (const ToolCallFormat& format : tool_call_formats()) {
    EXPECT_TRUE(tested.contains(std::string(format.name))) << format.name;
  }
}

}  // namespace
}  // namespace lanner
