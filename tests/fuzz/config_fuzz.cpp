// SPDX-License-Identifier: Apache-2.0
// config.json, through the family that its model_type names.
#include "base/json.h"
#include "base/testing/fuzz_target.h"
#include "models/registry.h"
#include "weights/config_reader.h"

using namespace lanner;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::attempt([&] {
    const ConfigReader config(parse_json(fuzz::as_text(data, size), "config.json"), "config.json");
    const ModelInfo info = read_model_info(config);
    // What the memory plan multiplies.
    if (info.num_layers < 1 || info.vocab_size < 1) fuzz::defect("a model of nothing");
    read_reusable_length(config);
  });
  return 0;
}
