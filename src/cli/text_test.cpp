// SPDX-License-Identifier: Apache-2.0
#include "cli/text.h"

#include <gmock/gmock.h>

#include "cli/answer.h"
#include "cli/failure.h"

namespace lanner::cli {
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

TEST(ParseTokenIds, ReadsIdsBetweenCommas) {
  EXPECT_THAT(parse_token_ids("0", "--x"), testing::ElementsAre(0));
  EXPECT_THAT(parse_token_ids(" 1 ,2,\n2147483647\n", "--x"),
              testing::ElementsAre(1, 2, 2147483647));
  EXPECT_THROW(parse_token_ids("2147483648", "--x"), Failure);
  EXPECT_THROW(parse_token_ids("1;2", "--x"), Failure);
}

TEST(Format, BytesAndSecondsHaveUnits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(int64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(format_seconds(0.0042), "4.20 ms");
  EXPECT_EQ(format_seconds(61), "61.00 s");
}

}  // namespace
}  // namespace lanner::cli
