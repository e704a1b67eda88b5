// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <gtest/gtest.h>

namespace lanner {
namespace {

TEST(FindInvalidUtf8, AcceptsEveryLengthAndTheBorders) {
  for (const char* text :
       {"", "a", "\u0080\u07FF", "\u0800\uD7FF\uE000\uFFFF", "\U00010000\U0010FFFF"}) {
    EXPECT_EQ(find_invalid_utf8(text), std::nullopt) << text;
  }
}

TEST(FindInvalidUtf8, FindsTheFirstBadByte) {
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF",
                          "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC3\x28"}) {
    EXPECT_EQ(find_invalid_utf8(std::string("ab") + bad), 2u) << testing::PrintToString(bad);
  }
}

TEST(Utf8OrEscapes, LeavesTextAndSpellsParts) {
  EXPECT_EQ(utf8_or_escapes(""), "");
  EXPECT_EQ(utf8_or_escapes(" h\u00e9"), " h\u00e9");
  EXPECT_EQ(utf8_or_escapes("\xF0\x9F"), "\\xf0\\x9f");
  EXPECT_EQ(utf8_or_escapes("a\x80"), "\\x61\\x80");
}

}  // namespace
}  // namespace lanner
