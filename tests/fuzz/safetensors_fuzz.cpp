// SPDX-License-Identifier: Apache-2.0
// A safetensors file with all its tensors; text that starts with '{' also as the index of a sharded
// checkpoint.
#include <span>

#include "base/testing/fuzz_target.h"
#include "weights/safetensors.h"
#include "weights/safetensors_header.h"
#include "weights/testing/input_file.h"
#include "weights/testing/touch_tensors.h"

using namespace lanner;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::as_text(data, size);
  if (text.starts_with('{')) {
    fuzz::attempt([&] { parse_safetensors_index(std::as_bytes(std::span(text)), "index.json"); });
    return 0;
  }
  const fuzz::InputFile input(text);
  fuzz::attempt([&] { fuzz::touch_all(*open_safetensors_file(input.path())); });
  return 0;
}
