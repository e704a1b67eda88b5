// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include "base/json.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/model_choice.h"
#include "cli/report_table.h"

namespace lanner::cli {
namespace {

// The named model, or the default one if it is there: what the machine is can be told without any.
std::optional<std::string> model_to_report(const InfoOptions& options, Context& context) {
  if (options.path) {
    check_model(*options.path);
    return options.path;
  }
  try {
    return default_model_path(context.cache_dir);
  } catch (const Failure& failure) {
    context.err << "lanner: note: " << terminal_text(failure.what()) << "; the machine alone\n"
                << "hint: " << failure.hint() << '\n';
    return std::nullopt;
  }
}

std::string make_report(const InfoOptions& options, Context& context) {
  if (options.families) return context.backend.families_report();
  const LlmConfig config = to_config(options.model, context);
  const auto path = model_to_report(options, context);
  return path ? context.backend.model_report(*path, config)
              : context.backend.machine_report(config);
}

}  // namespace

int info_command(const InfoOptions& options, Context& context) {
  const std::string report = make_report(options, context);
  if (options.json) {
    context.out << parse_json(report, "report").dump(2) << '\n';
  } else {
    const std::string table = report_table(report);
    context.out << (context.out_is_terminal ? terminal_text(table) : table);
  }
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
