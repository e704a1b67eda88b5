// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

namespace lanner::python {

namespace nb = nanobind;

// Registers quantize(), pull() and plan_distributed() with the module.
void bind_tools(nb::module_& module);

}  // namespace lanner::python
