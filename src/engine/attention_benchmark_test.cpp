// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/json.h"
#include "lanner/error.h"
#include "lanner/llm.h"

namespace lanner {
namespace {

TEST(AttentionBenchmark, ReportsEveryRowWithItsShares) {
  std::vector<std::string> steps;
  const Json report = Json::parse(benchmark_attention(
      {.tokens = {20, 40}, .head_dims = {16}, .depths = {64}, .kv_dtype = "int8", .repeat = 1},
      [&](const std::string& step) { steps.push_back(step); }));
  EXPECT_GT(report.at("machine").at("read_gbps").get<double>(), 0);
  EXPECT_EQ(report.at("attention").size(), 4u);  // two lengths, with 32 KV heads and with 8
  for (const Json& row : report.at("attention")) {
    EXPECT_EQ(row.at("heads"), 32);
    EXPECT_EQ(row.at("head_dim"), 16);
    EXPECT_GT(row.at("slim_ms").get<double>(), 0);
    EXPECT_GT(row.at("flash_ms").get<double>(), 0);
    EXPECT_GT(row.at("slim_scratch_bytes").get<int64_t>(), 0);
    EXPECT_EQ(row.at("chosen"), "slim");  // too short for anything else
  }
  EXPECT_EQ(report.at("decode").size(), 4u);
  for (const Json& row : report.at("decode")) {
    EXPECT_EQ(row.at("depth"), 64);
    EXPECT_GT(row.at("ms").get<double>(), 0);
    EXPECT_GT(row.at("share_of_bandwidth").get<double>(), 0);
  }
  EXPECT_EQ(steps.size(), 9u);
}

TEST(AttentionBenchmark, RefusesNothingToDo) {
  EXPECT_THROW(benchmark_attention({.tokens = {}}), Error);
  EXPECT_THROW(benchmark_attention({.repeat = 0}), Error);
}

}  // namespace
}  // namespace lanner
