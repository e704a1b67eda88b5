// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "server/config.h"

namespace lanner::server {

// How a scripted model behaves. Its tokens are bytes: token b + 3 is the byte b; 0 is <s>, 1 the
// end, 2 no text. A conversation renders as "<role>content\n" … "<assistant>". Its answer to a
// prompt is the prompt's last line backwards, again and again up to max_tokens or 64 tokens, so
// that every answer can be checked by who asked.
struct ScriptedModel {
  int sequences = 64;      // decoded together; the others wait
  int max_context = 4096;  // tokens
  std::chrono::microseconds step{2000};
  std::chrono::milliseconds load{0};
  std::string load_error;
};

// Loads such a model whatever the path. One thread makes a token of every running request per step,
// as the engine does. The prompt steers it too: "FAIL" ends with an error after two tokens, "SLOW"
// has its first token after two seconds, "THROW" is refused by submit with kInternal.
LoadFunction scripted_load(const ScriptedModel& model);

}  // namespace lanner::server
