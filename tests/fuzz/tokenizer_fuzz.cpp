// SPDX-License-Identifier: Apache-2.0
// A file of a tokenizer: its name, a line feed, its content. The other files of the folder are left
// out, or minimal.
#include <array>

#include "base/testing/fuzz_target.h"
#include "text/tokenizer.h"
#include "weights/testing/temp_folder.h"

using namespace lanner;

namespace {

constexpr std::array kNames = {"tokenizer.json", "tokenizer_config.json", "tokenizer.model",
                               "ice_text.model", "qwen.tiktoken",         "vocab.json"};

// Whatever the vocabulary, text goes in and comes out as UTF-8.
void use(const Tokenizer& tokenizer) {
  for (const bool special : {false, true}) {
    const std::vector<int32_t> ids =
        tokenizer.encode("Hi <s>\xc3\xa9\xf0\x9f\x98\x80 12 ab", special);
    for (const int32_t id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) fuzz::defect("an id outside of the vocabulary");
    }
    tokenizer.decode(ids, special);
    StreamDecoder decoder(tokenizer, special);
    for (const int32_t id : ids) decoder.push(id);
    decoder.flush();
  }
  const std::array<int32_t, 4> odd = {0, 1, tokenizer.vocab_size() - 1, 2000000000};
  tokenizer.decode(odd, false);
  tokenizer.role_ids();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = fuzz::as_text(data, size);
  const std::string_view name = fuzz::take_until(text, '\n');
  static const TempFolder kFolder;
  for (const char* known : kNames) {
    std::filesystem::remove(kFolder.file(known));
    if (name == known) kFolder.write(known, std::string(text));
  }
  if (name == "vocab.json") kFolder.write("merges.txt", "#version: 0.2\na b\n");
  if (name == "tokenizer_config.json") {
    kFolder.write("tokenizer.json",
                  R"({"added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0, "b": 1,)"
                  R"("ab": 2, "<s>": 3}, "merges": ["a b"]}})");
  }
  fuzz::attempt([&] { use(*Tokenizer::from_folder(kFolder.path())); });
  return 0;
}
