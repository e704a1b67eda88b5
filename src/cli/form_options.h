// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lanner/structured_output.h"

namespace CLI {
class App;
}

namespace lanner::cli {

// The form that an answer must have; at most one of them is given.
struct FormOptions {
  std::optional<std::string> json_schema;  // JSON text, or a file
  std::optional<std::string> regex;
  std::optional<std::string> grammar;  // a file
  std::vector<std::string> choices;
  bool json_object = false;
};

void add_form_options(CLI::App& command, FormOptions& options);

// Reads the files. Throws Failure if one cannot be read.
StructuredOutput to_structured(const FormOptions& options);

}  // namespace lanner::cli
