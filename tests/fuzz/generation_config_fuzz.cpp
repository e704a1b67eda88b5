// SPDX-License-Identifier: Apache-2.0
// generation_config.json beside a config.json with the token ids.
#include "base/json.h"
#include "base/log.h"
#include "base/testing/fuzz_target.h"
#include "weights/config_reader.h"
#include "weights/generation_config.h"
#include "weights/testing/temp_folder.h"

using namespace lanner;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const TempFolder kFolder;
  static const ConfigReader kConfig(
      parse_json(R"({"vocab_size": 100, "eos_token_id": [1, 2]})", "config.json"), "config.json");
  set_log_level(LogLevel::kOff);
  kFolder.write("generation_config.json", std::string(fuzz::as_text(data, size)));
  fuzz::attempt([&] {
    const GenerationConfig generation = read_generation_config(kFolder.path(), kConfig);
    generation.validate("generation_config.json");
    for (const int32_t id : generation.eos_token_ids) {
      if (id < 0 || id >= 100) fuzz::defect("an end token outside of the vocabulary");
    }
  });
  return 0;
}
