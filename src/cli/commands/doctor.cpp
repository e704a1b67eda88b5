// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <ostream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/json.h"
#include "cli/doctor/checks.h"
#include "cli/failure.h"
#include "cli/model_choice.h"
#include "cli/model_tools.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

Json to_json(const std::vector<Check>& checks) {
  Json list = Json::array();
  for (const Check& check : checks) {
    Json line{{"name", check.name}, {"level", level_name(check.level)}, {"finding", check.finding}};
    if (!check.advice.empty()) line["advice"] = check.advice;
    list.push_back(std::move(line));
  }
  return list;
}

std::string to_text(const std::vector<Check>& checks, bool color) {
  size_t width = 0;
  for (const Check& check : checks) width = std::max(width, check.name.size());
  std::string text;
  for (const Check& check : checks) {
    const char* mark = check.level == Check::Level::kOk     ? "\033[32m"
                       : check.level == Check::Level::kWarn ? "\033[33m"
                                                            : "\033[31m";
    text += fmt::format("{}{:<4}{}  {:<{}}  {}\n", color ? mark : "", level_name(check.level),
                        color ? "\033[0m" : "", check.name, width, check.finding);
    if (!check.advice.empty()) text += fmt::format("{:>{}}-> {}\n", "", width + 8, check.advice);
  }
  return text;
}

}  // namespace

void add_doctor_options(CLI::App& command, DoctorCommandOptions& options) {
  command.add_option("MODEL", options.path,
                     "Folder, GGUF file or OWNER/NAME; none: the machine alone");
  command.add_flag("--json", options.json, "Print JSON");
  command.footer(
      "\nEvery line is ok, warn (it runs, but not as well as it could) or bad (it does not run), "
      "with\n"
      "what to do. Exit status: 0 if nothing is bad, else 1.\n"
      "\nExamples:\n"
      "  lanner doctor\n"
      "  lanner doctor ~/models/Llama-3.2-1B-Instruct --json\n");
}

int doctor_command(const DoctorCommandOptions& options, Context& context) {
  std::vector<Check> checks = check_machine(read_doctor_source(context));
  if (options.path) {
    check_model(*options.path);
    const std::vector<Check> model = check_model(*options.path, context);
    checks.insert(checks.end(), model.begin(), model.end());
  }
  if (options.json) {
    context.out << Json{{"checks", to_json(checks)}}.dump(2, ' ', false,
                                                          Json::error_handler_t::replace)
                << '\n';
  } else {
    const std::string text = to_text(checks, context.out_is_terminal && context.color);
    context.out << text;
  }
  flush_output(context);
  const bool bad = std::ranges::any_of(
      checks, [](const Check& check) { return check.level == Check::Level::kBad; });
  return bad ? kExitFailure : kExitOk;
}

}  // namespace lanner::cli
