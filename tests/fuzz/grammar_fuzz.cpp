// SPDX-License-Identifier: Apache-2.0
// A form: its kind ("json_schema", "regex", "lark", "choice"), a line feed, its source. What
// compiles is followed for some tokens.
#include "base/testing/fuzz_target.h"
#include "text/grammar.h"

using namespace lanner;

namespace {

// Every byte as a token, and some of several characters.
GgufVocabulary vocabulary() {
  GgufVocabulary v;
  v.name = "fuzz";
  v.model = "llama";
  const auto add = [&](std::string token, int32_t type) {
    v.tokens.push_back(std::move(token));
    v.scores.push_back(-static_cast<float>(v.tokens.size()));
    v.token_types.push_back(type);
  };
  add("<unk>", 2);
  add("<s>", 3);
  add("</s>", 3);
  for (int byte = 0; byte < 256; ++byte) {
    constexpr const char* kDigits = "0123456789ABCDEF";
    add(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + '>', 6);
  }
  for (const char* text :
       {"{\"", "\":", "true", "null", "ab", "aa", "10", "\",", "}}", "[[", "xx"}) {
    add(text, 1);
  }
  v.unk_id = 0;
  v.bos_id = 1;
  v.eos_id = 2;
  v.add_space_prefix = false;
  return v;
}

struct Fixture {
  std::unique_ptr<Tokenizer> tokenizer = Tokenizer::from_gguf(vocabulary());
  std::vector<int32_t> eos_ids = {2};
  GrammarCompiler compiler{*tokenizer, tokenizer->vocab_size(), eos_ids};
};

// Takes the allowed tokens in turn, now the first, now a later one.
void follow(TokenConstraint& constraint, size_t choices) {
  for (int step = 0; step < 24; ++step) {
    const auto forced = constraint.forced();
    if (!forced.empty()) {
      for (const int32_t id : forced) constraint.accept(id);
      if (forced.back() == 2) return;
      continue;
    }
    std::vector<int32_t> allowed;
    const auto mask = constraint.allowed();
    for (int32_t id = 0; id < static_cast<int32_t>(mask.size()) * 32; ++id) {
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    }
    if (allowed.empty()) fuzz::defect("no token may follow, and no end");
    const int32_t id = allowed[choices % allowed.size()];
    if (id == 2) return;
    constraint.accept(id);
    choices = choices / 3 + 1;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Fixture kFixture;
  std::string_view text = fuzz::as_text(data, size);
  const std::string_view kind = fuzz::take_until(text, '\n');
  StructuredOutput form;
  if (kind == "json_schema") form.kind = StructuredOutput::Kind::kJsonSchema;
  if (kind == "regex") form.kind = StructuredOutput::Kind::kRegex;
  if (kind == "lark") form.kind = StructuredOutput::Kind::kLark;
  if (kind == "choice") {
    form.kind = StructuredOutput::Kind::kChoice;
    while (!text.empty()) form.choices.emplace_back(fuzz::take_until(text, '\n'));
  } else {
    form.source = text;
  }
  if (!form.enabled()) return 0;
  fuzz::attempt([&] {
    const auto constraint = kFixture.compiler.compile(form);
    const auto clone = constraint->clone();
    follow(*constraint, size);
    follow(*clone, 0);
  });
  return 0;
}
