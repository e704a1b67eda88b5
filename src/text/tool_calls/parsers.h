// SPDX-License-Identifier: Apache-2.0
// The parsers of the published formats; formats.h chooses among them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/tool_calls/parser.h"

namespace lanner {

// `names`: of the tools in the prompt.

// <tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>, any number of them.
std::unique_ptr<ToolCallParser> make_hermes_parser(const std::vector<std::string>& names);
// {"name": "f", "parameters": {…}} as the whole answer, or after <|python_tag|>; more after ";".
std::unique_ptr<ToolCallParser> make_llama3_parser(const std::vector<std::string>& names);
// [TOOL_CALLS] [{"name": "f", "arguments": {…}}, …]
std::unique_ptr<ToolCallParser> make_mistral_list_parser(const std::vector<std::string>& names);
// [TOOL_CALLS]f[ARGS]{…}, any number of them; [CALL_ID]… may stand before [ARGS].
std::unique_ptr<ToolCallParser> make_mistral_args_parser(const std::vector<std::string>& names);
// <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{…}<｜tool▁call▁end｜>…<｜tool▁calls▁end｜>
// (V3.1), or with "function" before the separator and f and a ```json block after it (V3, R1).
std::unique_ptr<ToolCallParser> make_deepseek_parser(const std::vector<std::string>& names);
// f\n{…} as the whole answer (GLM-4), or f\n ```python\ntool_call(…)\n``` (ChatGLM3).
std::unique_ptr<ToolCallParser> make_glm_parser(const std::vector<std::string>& names);

}  // namespace lanner
