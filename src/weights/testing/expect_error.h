// SPDX-License-Identifier: Apache-2.0
// For tests only.
#pragma once

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "base/error.h"

namespace lanner {

// The call throws Error with this code, and its message has all of these words.
template <typename Call>
void expect_error(ErrorCode code, const std::vector<std::string>& words, Call&& call) {
  try {
    call();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(error_code_name(e.code()), error_code_name(code)) << e.what();
    for (const std::string& word : words) EXPECT_THAT(e.what(), testing::HasSubstr(word));
  }
}

}  // namespace lanner
