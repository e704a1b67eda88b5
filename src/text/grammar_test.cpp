// SPDX-License-Identifier: Apache-2.0
#include "text/grammar.h"

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lanner/error.h"
#include "text/testing/vectors.h"
#include "text/tool_calls/formats.h"

namespace lanner {
namespace {

using Kind = StructuredOutput::Kind;

constexpr int64_t kVocabSize = 4096;

StructuredOutput form_of(Kind kind, std::string source = {},
                         std::vector<std::string> choices = {}) {
  StructuredOutput form;
  form.kind = kind;
  form.source = std::move(source);
  form.choices = std::move(choices);
  return form;
}

class GrammarTest : public testing::Test {
 protected:
  std::vector<int32_t> ids(const std::string& text) const {
    return tokenizer_->encode(text, false, SpecialInText::kIgnore);
  }
  bool allows(TokenConstraint& constraint, int32_t token) const {
    return (constraint.allowed()[static_cast<size_t>(token) / 32] >> (token % 32) & 1) != 0;
  }
  // Whether every token is allowed at its place, and an end after them.
  bool accepts(TokenConstraint& constraint, const std::string& text) const {
    for (const int32_t id : ids(text)) {
      if (!allows(constraint, id)) return false;
      constraint.accept(id);
    }
    return allows(constraint, eos_);
  }
  bool accepts(const StructuredOutput& form, const std::string& text) const {
    return accepts(*compiler_.compile(form), text);
  }

  std::unique_ptr<Tokenizer> tokenizer_ = Tokenizer::from_folder(vectors_folder("qwen2"));
  int32_t eos_ = *tokenizer_->token_id("<|im_end|>");
  std::vector<int32_t> eos_ids_ = {eos_, *tokenizer_->token_id("<|endoftext|>")};
  GrammarCompiler compiler_{*tokenizer_, kVocabSize, eos_ids_};
};

TEST_F(GrammarTest, ConstrainsToEveryKindOfForm) {
  EXPECT_EQ(compiler_.compile({}), nullptr);
  EXPECT_TRUE(accepts(form_of(Kind::kJsonObject), R"({"a": [1, true]})"));
  EXPECT_FALSE(accepts(form_of(Kind::kJsonObject), "[]"));
  const StructuredOutput schema =
      form_of(Kind::kJsonSchema, R"({"type":"array","items":{"type":"integer"}})");
  EXPECT_TRUE(accepts(schema, "[1, -20]"));
  EXPECT_FALSE(accepts(schema, "[1.5]"));
  EXPECT_TRUE(accepts(form_of(Kind::kRegex, "[ab]+"), "abba"));
  EXPECT_FALSE(accepts(form_of(Kind::kRegex, "[ab]+"), "abc"));
  EXPECT_TRUE(accepts(form_of(Kind::kChoice, "", {"yes", "n\"o"}), "n\"o"));
  EXPECT_FALSE(accepts(form_of(Kind::kChoice, "", {"yes", "n\"o"}), "maybe"));
  EXPECT_TRUE(accepts(form_of(Kind::kLark, "start: \"(\" start \")\" | \"x\""), "((x))"));
}

TEST_F(GrammarTest, ClonesGoTheirOwnWayAndOutliveTheCompiler) {
  auto compiler = std::make_unique<GrammarCompiler>(*tokenizer_, kVocabSize, eos_ids_);
  auto one = compiler->compile(form_of(Kind::kChoice, "", {"aab", "aac"}));
  for (const int32_t id : ids("aa")) one->accept(id);
  compiler.reset();
  auto two = one->clone();
  EXPECT_TRUE(accepts(*one, "b"));
  EXPECT_TRUE(accepts(*two, "c"));
  EXPECT_EQ(one->forced(), std::vector<int32_t>{eos_});
}

TEST_F(GrammarTest, WaitsForATokenWhereAsked) {
  const int32_t after = ids("!").front();
  auto constraint = compiler_.compile(form_of(Kind::kRegex, "[0-9]{2}"), /*after=*/after);
  EXPECT_FALSE(allows(*constraint, eos_ids_[0]));
  EXPECT_FALSE(allows(*constraint, eos_ids_[1]));
  for (const int32_t id : ids("Let me think")) {
    EXPECT_TRUE(allows(*constraint, id));
    constraint->accept(id);
  }
  EXPECT_TRUE(constraint->forced().empty());
  const auto clone = constraint->clone();
  constraint->accept(after);
  EXPECT_FALSE(allows(*constraint, ids("x").front()));
  EXPECT_TRUE(accepts(*constraint, "42"));
  EXPECT_TRUE(allows(*clone, ids("x").front()));
}

TEST_F(GrammarTest, RefusesFormsByASentence) {
  const auto refuse = [&](const StructuredOutput& form, ErrorCode code, const std::string& part) {
    try {
      compiler_.compile(form);
      ADD_FAILURE() << "compiled: " << form.source;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      EXPECT_THAT(e.what(), testing::HasSubstr(part));
      EXPECT_THAT(e.what(), testing::StartsWith("[structured]"));
    }
  };
  refuse(form_of(Kind::kJsonSchema, "{"), ErrorCode::kInvalidArgument, "not valid JSON");
  refuse(form_of(Kind::kJsonSchema, R"({"type":"object","unevaluatedProperties":false})"),
         ErrorCode::kUnsupported, "unevaluatedProperties");
  refuse(form_of(Kind::kRegex, "a("), ErrorCode::kInvalidArgument, "unclosed group");
  refuse(form_of(Kind::kChoice), ErrorCode::kInvalidArgument, "the list is empty");
  refuse(form_of(Kind::kChoice, "", {"\xff"}), ErrorCode::kInvalidArgument, "UTF-8");
  refuse(form_of(Kind::kLark, "start: x"), ErrorCode::kInvalidArgument, "unknown name");
  try {
    const GrammarCompiler none(*tokenizer_, kVocabSize, {});
    ADD_FAILURE() << "no end token";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
  }
}

int64_t resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
  }
  return 0;
}

// What the limits are for; rust/src/grammar/tests.rs has more of these.
TEST_F(GrammarTest, HostileFormsAreRefusedInTimeAndLeaveNoMemoryBehind) {
  std::string nested, choices = "[", padding = R"({"title":")" + std::string(1 << 20, 'x') + "\"}";
  for (int i = 0; i < 100'000; ++i) nested += R"({"items":)";
  for (int i = 0; i < 1'000'000; ++i) choices += "\"v\",";
  choices += "0]";
  const StructuredOutput hostile[] = {
      form_of(Kind::kJsonSchema, nested),
      form_of(Kind::kJsonSchema, nested.substr(0, 200'000)),
      form_of(Kind::kJsonSchema, R"({"$ref":"#"})"),
      form_of(Kind::kJsonSchema, "{\"enum\":" + choices + "}"),
      form_of(Kind::kJsonSchema, R"({"pattern":"^a{0,1000000}$","type":"string"})"),
      form_of(Kind::kJsonSchema, padding),
      form_of(Kind::kRegex, "(a{0,1000000})*"),
      form_of(Kind::kRegex, std::string(200'000, '(')),
      form_of(Kind::kLark, "start: " + std::string(200'000, '(')),
  };
  const auto refuse_all = [&] {
    for (const StructuredOutput& form : hostile) EXPECT_THROW(compiler_.compile(form), Error);
  };
  refuse_all();
  const int64_t before = resident_kilobytes();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) refuse_all();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(3));
  EXPECT_LT(resident_kilobytes() - before, 64 << 10);
}

TEST_F(GrammarTest, ToolCallGrammarsDeriveWhatTheParsersRead) {
  const std::vector<Tool> tools = {
      {.name = "weather", .parameters = R"({"type":"object","properties":{"city":{"type":"string"}},
                         "required":["city"],"additionalProperties":false})"},
      {.name = "now"}};
  const std::vector<std::string> names = {"weather", "now"};
  const auto special = [&](std::string_view mark) {
    const std::optional<int32_t> id = tokenizer_->token_id(mark);
    return id && tokenizer_->is_special(*id) ? id : std::nullopt;
  };
  for (const ToolCallFormat& format : tool_call_formats()) {
    const std::string grammar = tool_call_grammar(format, tools, /*several=*/true, special);
    const StructuredOutput form = form_of(Kind::kLark, grammar);
    const CallSyntax& syntax = format.syntax;
    const auto call = [&](const std::string& name, const std::string& arguments) {
      return std::string(syntax.before_call) + name + std::string(syntax.before_arguments) +
             arguments + std::string(syntax.after_call);
    };
    const auto all = [&](const std::string& calls) {
      return std::string(syntax.before_all) + calls + std::string(syntax.after_all);
    };
    const std::string one = call("weather", R"({"city": "Oslo"})");
    EXPECT_TRUE(accepts(form, all(one))) << format.name << ": " << all(one);
    const std::string two = one + std::string(syntax.separator) + call("now", "{}");
    EXPECT_EQ(accepts(form, all(two)), !syntax.one_call_only) << format.name;
    EXPECT_FALSE(accepts(form, all(call("weather", "{}")))) << format.name;
    EXPECT_FALSE(accepts(form, all(call("other", "{}")))) << format.name;

    const auto parser = format.make_parser(names);
    ChatDelta news;
    parser->push(all(syntax.one_call_only ? one : two), news);
    parser->finish(news);
    ASSERT_EQ(parser->num_calls(), syntax.one_call_only ? 1 : 2) << format.name;
    EXPECT_EQ(news.tool_calls.front().name, "weather");
    EXPECT_EQ(news.tool_calls.front().arguments, R"({"city": "Oslo"})");
    EXPECT_EQ(news.content, "");
  }
}

}  // namespace
}  // namespace lanner
