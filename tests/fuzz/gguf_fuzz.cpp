// SPDX-License-Identifier: Apache-2.0
// A GGUF file: metadata, config, vocabulary and every byte of every tensor.
#include "base/testing/fuzz_target.h"
#include "engine/gguf_text.h"
#include "models/registry.h"
#include "text/tokenizer.h"
#include "weights/gguf_checkpoint.h"
#include "weights/gguf_config.h"
#include "weights/gguf_tokenizer.h"
#include "weights/testing/input_file.h"
#include "weights/testing/touch_tensors.h"

using namespace lanner;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::InputFile input(fuzz::as_text(data, size));
  std::shared_ptr<const GgufFile> file;
  if (!fuzz::attempt(
          [&] { file = std::make_shared<const GgufFile>(GgufFile::open(input.path())); })) {
    return 0;
  }
  for (const GgufTensorInfo& info : file->tensors()) {
    fuzz::attempt([&] { fuzz::touch(file->tensor(info)); });
  }
  fuzz::attempt([&] { read_model_info(read_gguf_config(*file)); });
  fuzz::attempt([&] { read_gguf_generation_config(*file); });
  fuzz::attempt([&] { fuzz::touch_all(*make_gguf_checkpoint(file)); });
  fuzz::attempt([&] {
    const auto vocabulary = read_gguf_tokenizer(*file);
    if (!vocabulary) return;
    const auto tokenizer = Tokenizer::from_gguf(to_vocabulary(*vocabulary, "input.gguf"));
    tokenizer->decode(tokenizer->encode("Is this 1 text?", true), false);
  });
  return 0;
}
