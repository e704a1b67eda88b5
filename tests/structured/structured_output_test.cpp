// SPDX-License-Identifier: Apache-2.0
// Answers of the default model, SmolLM2-135M-Instruct, held to random forms: each must have its
// form.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "lanner/llm.h"

namespace lanner {
namespace {

using Kind = StructuredOutput::Kind;

std::string default_model() {
  const char* own = std::getenv("LANNER_CACHE");
  if (own != nullptr && *own != 0) {
    return std::filesystem::path(own) / "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  }
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path base = cache != nullptr && *cache != 0 ? std::filesystem::path(cache)
                                     : home != nullptr ? std::filesystem::path(home) / ".cache"
                                                       : std::filesystem::path();
  return base / "lanner/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// A schema with keywords at random. Texts, lists and numbers are bounded, so that an answer ends.
class SchemaMaker {
 public:
  explicit SchemaMaker(uint64_t seed) : random_(seed) {}

  Json schema(int depth) {
    switch (below(depth > 0 ? 9 : 6)) {
      case 0: {
        const int minimum = static_cast<int>(below(50)) - 25;
        return {{"type", "integer"},
                {"minimum", minimum},
                {"maximum", minimum + static_cast<int>(below(2000))}};
      }
      case 1:
        return {{"type", "string"}, {"maxLength", 1 + below(12)}};
      case 2:
        return {{"type", "string"}, {"minLength", 2}, {"maxLength", 4 + below(4)}};
      case 3:
        return {{"enum", {"red", "grün", 7, nullptr, true}}};
      case 4:
        return {{"type", "boolean"}};
      case 5:
        return {{"const", "fixed \"text\"\n"}};
      case 6: {
        const auto least = below(3);
        return {{"type", "array"},
                {"items", schema(depth - 1)},
                {"minItems", least},
                {"maxItems", least + below(3)}};
      }
      case 7:
        return {{"anyOf", {schema(0), schema(depth - 1)}}};
      default:
        return object(depth);
    }
  }

  Json object(int depth) {
    Json properties = Json::object(), required = Json::array();
    const size_t count = 1 + below(4);
    for (size_t i = 0; i < count; ++i) {
      const std::string name = "key_" + std::to_string(i);
      properties[name] = schema(depth - 1);
      if (below(3) > 0) required.push_back(name);
    }
    return {{"type", "object"},
            {"properties", properties},
            {"required", required},
            {"additionalProperties", false}};
  }

 private:
  size_t below(size_t limit) { return random_() % limit; }

  std::mt19937_64 random_;
};

size_t num_characters(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// The keywords that SchemaMaker uses, by the words of JSON Schema.
bool is_valid(const Json& value, const Json& schema) {
  if (schema.contains("const") && value != schema["const"]) return false;
  if (schema.contains("enum") && std::ranges::find(schema["enum"], value) == schema["enum"].end()) {
    return false;
  }
  if (schema.contains("anyOf") && std::ranges::none_of(schema["anyOf"], [&](const Json& option) {
        return is_valid(value, option);
      })) {
    return false;
  }
  if (!schema.contains("type")) return true;
  const std::string type = schema["type"];
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") {
    return value.is_number_integer() && value >= schema["minimum"] && value <= schema["maximum"];
  }
  if (type == "string") {
    if (!value.is_string()) return false;
    const size_t length = num_characters(value);
    return length >= schema.value("minLength", size_t{0}) &&
           length <= schema["maxLength"].get<size_t>();
  }
  if (type == "array") {
    return value.is_array() && value.size() >= schema["minItems"].get<size_t>() &&
           value.size() <= schema["maxItems"].get<size_t>() &&
           std::ranges::all_of(value,
                               [&](const Json& item) { return is_valid(item, schema["items"]); });
  }
  if (type != "object" || !value.is_object()) return false;
  for (const Json& name : schema["required"]) {
    if (!value.contains(name.get<std::string>())) return false;
  }
  return std::ranges::all_of(value.items(), [&](const auto& item) {
    return schema["properties"].contains(item.key()) &&
           is_valid(item.value(), schema["properties"][item.key()]);
  });
}

class StructuredOutputTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(default_model())) return;
    LlmConfig config;
    config.max_context = 2048;
    config.max_sequences = 16;
    llm_ = LLM::load(default_model(), config).release();
  }
  static void TearDownTestSuite() { delete llm_; }
  void SetUp() override {
    if (llm_ == nullptr) {
      GTEST_SKIP() << default_model() << " is not there; scripts/get_default_model.sh fetches it";
    }
  }

  static ChatRequest request(Kind kind, std::string source, uint64_t seed) {
    ChatRequest chat;
    chat.messages = {{.role = "user", .content = "Answer with something short."}};
    chat.sampling.temperature = seed % 2 == 0 ? 0.0 : 1.0;
    chat.sampling.seed = seed;
    chat.sampling.max_tokens = 1500;
    chat.sampling.structured.kind = kind;
    chat.sampling.structured.source = std::move(source);
    return chat;
  }
  static std::string answer(const ChatRequest& chat) {
    const std::vector<ChatCompletion> answers = llm_->chat(chat);
    EXPECT_EQ(answers.size(), static_cast<size_t>(chat.sampling.n));
    EXPECT_EQ(answers.front().completion.finish_reason, FinishReason::kStop);
    return answers.front().message.content;
  }

  static inline LLM* llm_ = nullptr;
};

TEST_F(StructuredOutputTest, ValidatorCanFail) {
  SchemaMaker maker(1);
  const Json object = maker.object(2);
  EXPECT_FALSE(is_valid(Json::array(), object));
  EXPECT_FALSE(is_valid({{"other", 1}}, object));
  EXPECT_FALSE(is_valid(3, {{"type", "integer"}, {"minimum", 4}, {"maximum", 5}}));
  EXPECT_TRUE(is_valid("é", {{"type", "string"}, {"maxLength", 1}}));
}

TEST_F(StructuredOutputTest, HundredRandomSchemasAlwaysValidate) {
  std::vector<Request> requests;
  std::vector<Json> schemas;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SchemaMaker maker(seed);
    schemas.push_back(seed % 4 == 0 ? maker.schema(2) : maker.object(2));
    const ChatRequest chat = request(Kind::kJsonSchema, schemas.back().dump(), seed);
    Request plain;
    plain.prompt = llm_->render(chat);
    plain.prompt_has_special_tokens = true;
    plain.sampling = chat.sampling;
    requests.push_back(plain);
  }
  const std::vector<Completion> answers = llm_->generate(requests);
  ASSERT_EQ(answers.size(), schemas.size());
  std::set<std::string> different;
  for (size_t i = 0; i < schemas.size(); ++i) {
    EXPECT_EQ(answers[i].finish_reason, FinishReason::kStop) << schemas[i] << answers[i].text;
    const Json value = Json::parse(answers[i].text, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(!value.is_discarded() && is_valid(value, schemas[i])) << schemas[i] << "\n"
                                                                      << answers[i].text;
    different.insert(answers[i].text);
  }
  EXPECT_GT(different.size(), 50u);
}

TEST_F(StructuredOutputTest, KeepsTheOtherForms) {
  EXPECT_THAT(answer(request(Kind::kRegex, "[A-Z]{3}-[0-9]{4}", 1)),
              testing::MatchesRegex("[A-Z][A-Z][A-Z]-[0-9][0-9][0-9][0-9]"));
  EXPECT_THAT(answer(request(Kind::kLark, "start: \"a\" (\"b\" | \"c\"){2} \"!\"", 3)),
              testing::MatchesRegex("a[bc][bc]!"));
  ChatRequest chat = request(Kind::kChoice, "", 5);
  chat.sampling.structured.choices = {"perfectly good", "perfectly bad", "neither"};
  for (chat.sampling.seed = 0; *chat.sampling.seed < 5; ++*chat.sampling.seed) {
    EXPECT_THAT(chat.sampling.structured.choices, testing::Contains(answer(chat)));
  }
  chat.sampling.n = 3;
  for (const ChatCompletion& one : llm_->chat(chat)) {
    EXPECT_THAT(chat.sampling.structured.choices, testing::Contains(one.message.content));
  }
  chat.sampling.n = 1;
  // Log-probabilities are those of every token: none is put in unsampled.
  chat.sampling.logprobs = 1;
  const ChatCompletion scored = llm_->chat(chat).front();
  EXPECT_EQ(scored.completion.logprobs.size(), scored.completion.token_ids.size());
}

TEST_F(StructuredOutputTest, RefusesWhatCannotBe) {
  const auto refuse = [&](ChatRequest chat, const std::string& part) {
    try {
      llm_->chat(chat);
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(part));
      EXPECT_TRUE(e.code() == ErrorCode::kInvalidArgument || e.code() == ErrorCode::kUnsupported);
    }
  };
  refuse(request(Kind::kJsonSchema, "{", 1), "not valid JSON");
  refuse(request(Kind::kRegex, "(a{0,1000000})", 1), "repetition of 1000000");
  ChatRequest chat = request(Kind::kRegex, "a", 1);
  chat.sampling.ignore_eos = true;
  refuse(chat, "ignore_eos");
  chat = request(Kind::kRegex, "a", 0);
  chat.sampling.beam_width = 2;
  refuse(chat, "beam_width");
  // SmolLM2's template knows no tools.
  chat = request(Kind::kNone, "", 1);
  chat.tools = {{.name = "f"}};
  refuse(chat, "does not render tools");
  chat.tools.clear();
  chat.tool_choice.kind = ToolChoice::Kind::kRequired;
  refuse(chat, "there are no tools");
}

}  // namespace
}  // namespace lanner
