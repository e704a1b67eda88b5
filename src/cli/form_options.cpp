// SPDX-License-Identifier: Apache-2.0
#include "cli/form_options.h"

#include <fstream>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/exit_codes.h"
#include "cli/failure.h"

namespace lanner::cli {
namespace {

std::string read_file(const std::string& path, const char* option) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) {
    throw Failure(exit_code(ErrorCode::kNotFound),
                  fmt::format("{}: '{}' cannot be read", option, path));
  }
  return text.str();
}

}  // namespace

void add_form_options(CLI::App& command, FormOptions& options) {
  const char* group = "Form of the answer (one of them)";
  CLI::Option* const all[] = {
      command
          .add_option("--json-schema", options.json_schema,
                      "JSON that is valid against this schema: JSON text, or a file that has it")
          ->type_name("SCHEMA"),
      command.add_option("--regex", options.regex, "Text that this regular expression matches")
          ->type_name("REGEX"),
      command.add_option("--choice", options.choices, "One of these texts; give it several times")
          ->expected(1)
          ->allow_extra_args(false)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
          ->type_name("TEXT"),
      command
          .add_option("--grammar", options.grammar,
                      "Text that the Lark grammar in this file derives from its rule 'start'")
          ->type_name("FILE"),
      command.add_flag("--json-object", options.json_object, "Any JSON object"),
  };
  for (CLI::Option* option : all) {
    option->group(group);
    for (CLI::Option* other : all) {
      if (other != option) option->excludes(other);
    }
  }
}

StructuredOutput to_structured(const FormOptions& options) {
  using Kind = StructuredOutput::Kind;
  StructuredOutput form;
  if (options.json_object) form.kind = Kind::kJsonObject;
  if (options.json_schema) {
    form.kind = Kind::kJsonSchema;
    const size_t first = options.json_schema->find_first_not_of(" \t\r\n");
    const bool is_text = first != std::string::npos && (*options.json_schema)[first] == '{';
    form.source = is_text ? *options.json_schema : read_file(*options.json_schema, "--json-schema");
  }
  if (options.regex) {
    form.kind = Kind::kRegex;
    form.source = *options.regex;
  }
  if (!options.choices.empty()) {
    form.kind = Kind::kChoice;
    form.choices = options.choices;
  }
  if (options.grammar) {
    form.kind = Kind::kLark;
    form.source = read_file(*options.grammar, "--grammar");
  }
  return form;
}

}  // namespace lanner::cli
