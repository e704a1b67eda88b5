// SPDX-License-Identifier: Apache-2.0
// A chat template, rendered with a conversation that has everything a conversation can have.
#include "base/testing/fuzz_target.h"
#include "text/chat_template.h"

using namespace lanner;

namespace {

constexpr const char* kMessages =
    R"([{"role": "system", "content": "Be short."}, {"role": "user", "content": "a {{ b }} \u00e9"},)"
    R"({"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",)"
    R"("function": {"name": "f", "arguments": {"x": [1, 2.5, null]}}}]},)"
    R"({"role": "tool", "tool_call_id": "1", "content": "42"}, {"role": "user", "content": "?"}])";
constexpr const char* kTools =
    R"([{"type": "function", "function": {"name": "f", "description": "d", "parameters":)"
    R"({"type": "object", "properties": {"x": {"type": "array"}}}}}])";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::attempt([&] {
    const ChatTemplate chat_template = ChatTemplate::from_source(
        fuzz::as_text(data, size), {.bos = "<s>", .eos = "</s>", .unk = "<unk>", .pad = "<pad>"});
    for (const char* tools : {"", kTools}) {
      fuzz::attempt([&] {
        const std::string text =
            chat_template.render(kMessages, true, tools, R"({"enable_thinking": false})");
        if (text.size() > size_t{16} << 20) fuzz::defect("longer than a prompt may be");
      });
    }
  });
  return 0;
}
