// SPDX-License-Identifier: Apache-2.0
#include "distributed/cost_model.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace lanner {
namespace {

constexpr LinkCost kLink{.latency = 10e-6, .bandwidth = 1e9};

TEST(CostModel, SumsTakeTheBetterOfDoublingAndRing) {
  EXPECT_EQ(all_reduce_seconds(1, 1e6, kLink), 0);
  EXPECT_DOUBLE_EQ(all_reduce_seconds(2, 16e3, kLink), 10e-6 + 16e-6);
  EXPECT_DOUBLE_EQ(all_reduce_seconds(8, 1e3, kLink), 3 * (10e-6 + 1e-6));
  EXPECT_DOUBLE_EQ(all_reduce_seconds(8, 80e6, kLink), 14 * (10e-6 + 10e-3));
  EXPECT_DOUBLE_EQ(all_reduce_sent_bytes(1, 100), 0);
  EXPECT_DOUBLE_EQ(all_reduce_sent_bytes(2, 100), 100);
  EXPECT_DOUBLE_EQ(all_reduce_sent_bytes(4, 100), 150);
}

TEST(CostModel, PredictsAStepFromItsParts) {
  const DecodeCost cost{.split_seconds = 0.4,
                        .fixed_seconds = 0.001,
                        .sums = 160,
                        .sum_bytes = 32e3,
                        .gather_bytes = 320};
  const DecodePrediction one = predict_decode(1, cost, kLink);
  EXPECT_DOUBLE_EQ(one.total_seconds(), 0.401);
  EXPECT_DOUBLE_EQ(one.sent_bytes, 0);
  const DecodePrediction four = predict_decode(4, cost, kLink);
  EXPECT_DOUBLE_EQ(four.compute_seconds, 0.101);
  EXPECT_DOUBLE_EQ(four.reduce_seconds, 160 * 2 * (10e-6 + 32e-6));
  EXPECT_DOUBLE_EQ(four.step_seconds, 40e-6);
  EXPECT_DOUBLE_EQ(four.sent_bytes, 160 * 1.5 * 32e3 + 3 * 320);
}

TEST(CostModel, TakesWhatWasMeasured) {
  const auto row = [](const char* backend, int bytes, double us) {
    return Json{{"backend", backend}, {"sum_bytes", bytes}, {"median_us", us}};
  };
  const MeasuredCost measured(Json{{"ranks", 2},
                                   {"all_reduce",
                                    {row("shm", 1000, 2.0), row("oneccl", 1000, 20.0),
                                     row("shm", 3000, 8.0), row("oneccl", 3000, 6.0)}},
                                   {"step", {{{"backend", "shm"}, {"median_us", 5.0}}}}});
  EXPECT_NEAR(measured.all_reduce_seconds(2, 100), 2e-6, 1e-12);
  EXPECT_NEAR(measured.all_reduce_seconds(2, 2000), 4e-6, 1e-12);
  EXPECT_NEAR(measured.all_reduce_seconds(2, 6000), 12e-6, 1e-12);
  EXPECT_NEAR(measured.all_reduce_seconds(8, 1000), 6e-6, 1e-12);
  EXPECT_EQ(measured.all_reduce_seconds(1, 1000), 0);
  EXPECT_NEAR(measured.step_seconds(4), 10e-6, 1e-12);
  const DecodeCost cost{.split_seconds = 1, .sums = 2, .sum_bytes = 1000};
  EXPECT_NEAR(predict_decode(2, cost, measured).total_seconds(), 0.5 + 2 * 2e-6 + 5e-6, 1e-9);
}

TEST(CostModel, RefusesWhatIsNoReport) {
  for (const char* text :
       {"{}", R"({"ranks": 2, "all_reduce": [], "step": []})",
        R"({"ranks": 1, "all_reduce": [{"sum_bytes": 4, "median_us": 1}], "step": []})",
        R"({"ranks": 2, "all_reduce": [{"sum_bytes": "x", "median_us": 1}], "step": []})"}) {
    EXPECT_THROW(MeasuredCost(Json::parse(text)), Error) << text;
  }
}

}  // namespace
}  // namespace lanner
