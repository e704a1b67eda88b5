// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lanner/error.h"
#include "text/testing/vectors.h"
#include "text/tokenizer.h"

namespace lanner {
namespace {
TEST(Gguf, Placeholder) {}
}  // namespace
}  // namespace lanner
