// SPDX-License-Identifier: Apache-2.0
#include "cli/context.h"

#include <ostream>

#include "cli/failure.h"

namespace lanner::cli {

void flush_output(Context& context) {
  context.out.flush();
  if (!context.out) {
    throw Failure(exit_code(ErrorCode::kIo), "the output cannot be written (disk full?)");
  }
}

}  // namespace lanner::cli
