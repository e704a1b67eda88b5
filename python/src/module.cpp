// SPDX-License-Identifier: Apache-2.0
// The module lanner._lanner: the API of include/lanner as Python objects, without comfort. The
// package around it is what people use.
#include <exception>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "lanner/llm.h"
#include "model.h"
#include "requests.h"
#include "tools.h"

namespace lanner::python {
namespace {

constexpr ErrorCode kErrorCodes[] = {ErrorCode::kInvalidArgument,   ErrorCode::kNotFound,
                                     ErrorCode::kUnsupported,       ErrorCode::kCorruptFile,
                                     ErrorCode::kResourceExhausted, ErrorCode::kIo,
                                     ErrorCode::kCancelled,         ErrorCode::kInternal};

// Raises an Error as the exception that the table in lanner/errors.py has for its code.
void translate_error(const std::exception_ptr& thrown, void* /*payload*/) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    const nb::object table = nb::module_::import_("lanner.errors").attr("ERRORS");
    const nb::object type = table[error_code_name(error.code())];
    PyErr_SetString(type.ptr(), error.what());
  }
}

nb::typed<nb::list, nb::str> error_codes() {
  nb::list names;
  for (const ErrorCode code : kErrorCodes) names.append(error_code_name(code));
  return names;
}

}  // namespace
}  // namespace lanner::python

NB_MODULE(_lanner, module) {
  using namespace lanner::python;
  // A model in a global variable is alive when the interpreter ends; that is no defect to report.
  nb::set_leak_warnings(false);
  nb::register_exception_translator(translate_error);
  bind_outputs(module);
  bind_model(module);
  bind_tools(module);
  module.def("version", &lanner::version);
  module.def("error_codes", &error_codes, "Names of all codes of lanner::Error.");
  module.def("field_names", &field_names, "Names of the fields that dicts may have, by struct.");
  module.def(
      "machine_report",
      [](const Fields& config) { return lanner::machine_report(to_config(config)); },
      nb::arg("config"));
  module.def(
      "model_report",
      [](const std::string& path, const Fields& config) {
        return lanner::model_report(path, to_config(config));
      },
      nb::arg("path"), nb::arg("config"));
  module.def("families_report", &lanner::families_report);
}
