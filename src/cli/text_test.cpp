// SPDX-License-Identifier: Apache-2.0
#include "cli/text.h"

#include <gmock/gmock.h>

#include "cli/answer.h"
#include "cli/failure.h"

namespace lanner::cli {
namespace {

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
