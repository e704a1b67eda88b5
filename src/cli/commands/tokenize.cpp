// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/model_choice.h"
#include "cli/text.h"

namespace lanner::cli {

int tokenize_command(const TokenizeOptions& options, Context& context) {
  const ModelAndText chosen = tell_model_from_text(options.given);
  if (options.decode && chosen.text) {
    throw usage_failure("--decode stands instead of a text; both were given ('" + *chosen.text +
                        "')");
  }
  std::vector<int32_t> ids;
  std::string text;
  if (options.decode) ids = parse_token_ids(*options.decode, "--decode");
  const std::string path = resolve_model(chosen.model, context);
  if (!options.decode) text = resolve_text(chosen.text, context, "text");

  const auto model_text = context.backend.load_text(path);
  if (options.decode) {
    context.out << model_text->detokenize(ids, options.no_special) << '\n';
  } else {
    ids = model_text->tokenize(text, !options.no_special);
    if (options.ids_only) {
      context.out << fmt::format("{}\n", fmt::join(ids, ","));
    } else {
      for (const int32_t id : ids) {
        const std::string piece = model_text->detokenize({id}, false);
        // As a JSON string: spaces and line ends are visible, and half a character is U+FFFD.
        context.out << fmt::format(
            "{:>7}  {}\n", id, Json(piece).dump(-1, ' ', false, Json::error_handler_t::replace));
      }
    }
  }
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
