// SPDX-License-Identifier: Apache-2.0
#include "lanner/sampling_params.h"

#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "lanner/error.h"
#include "lanner/request.h"

namespace lanner {
namespace {

using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kTiny = std::numeric_limits<double>::denorm_min();
constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr int kMinInt = std::numeric_limits<int>::min();

std::string message_of(const SamplingParams& params) {
  try {
    params.validate();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

struct NumberField {
  const char* name;
  double SamplingParams::* field;
  std::vector<double> good;
  std::vector<double> bad;
};

TEST(SamplingParams, KeepsEveryNumberInItsRange) {
  const NumberField fields[] = {
      {"temperature", &SamplingParams::temperature, {0, kTiny, 0.7, 100}, {-kTiny, -1, 100.01}},
      {"top_p", &SamplingParams::top_p, {kTiny, 0.5, 1}, {0, -0.1, 1.0000001}},
      {"min_p", &SamplingParams::min_p, {0, kTiny, 1}, {-kTiny, 1.0000001}},
      {"repetition_penalty", &SamplingParams::repetition_penalty, {kTiny, 1, 100}, {0, -1, 100.01}},
      {"frequency_penalty", &SamplingParams::frequency_penalty, {-2, 0, 2}, {-2.01, 2.01}},
      {"presence_penalty", &SamplingParams::presence_penalty, {-2, 0, 2}, {-2.01, 2.01}},
  };
  for (const NumberField& field : fields) {
    for (const double value : field.good) {
      SamplingParams params;
      params.*field.field = value;
      EXPECT_EQ(message_of(params), "accepted") << field.name << " = " << value;
    }
    std::vector<double> bad = field.bad;
    bad.insert(bad.end(), {kNan, kInfinity, -kInfinity, 1e308, -1e308});
    for (const double value : bad) {
      SamplingParams params;
      params.*field.field = value;
      EXPECT_THAT(message_of(params), HasSubstr(std::string("[sampling] ") + field.name + " is "))
          << value;
    }
  }
}

TEST(SamplingParams, KeepsTopKInItsRange) {
  for (const int value : {0, 1, 50, kMaxInt}) {
    SamplingParams params;
    params.top_k = value;
    EXPECT_EQ(message_of(params), "accepted") << value;
  }
  for (const int value : {-1, kMinInt}) {
    SamplingParams params;
    params.top_k = value;
    EXPECT_THAT(message_of(params), HasSubstr("top_k is -"));
  }
}

TEST(SamplingParams, KeepsMaxTokensInItsRange) {
  for (const int value : {1, kMaxInt}) {
    SamplingParams params;
    params.max_tokens = value;
    EXPECT_EQ(message_of(params), "accepted") << value;
  }
  for (const int value : {0, -1, kMinInt}) {
    SamplingParams params;
    params.max_tokens = value;
    EXPECT_THAT(message_of(params), HasSubstr("max_tokens is "));
  }
}

TEST(SamplingParams, TakesSixteenStopStringsThatAreNotEmpty) {
  SamplingParams params;
  params.stop.assign(16, "x");
  EXPECT_EQ(message_of(params), "accepted");
  params.stop.push_back("x");
  EXPECT_THAT(message_of(params), HasSubstr("stop has 17 strings, expected at most 16"));
  params.stop = {"x", ""};
  EXPECT_THAT(message_of(params), HasSubstr("stop[1] is empty"));
}

TEST(SamplingParams, RefusesNegativeStopTokenIds) {
  SamplingParams params;
  params.stop_token_ids = {0, kMaxInt};
  EXPECT_EQ(message_of(params), "accepted");
  params.stop_token_ids = {0, -1};
  EXPECT_THAT(message_of(params), HasSubstr("stop_token_ids[1] is -1"));
}

TEST(SamplingParams, DefaultsAndAnySeedAreValid) {
  SamplingParams params;
  EXPECT_EQ(message_of(params), "accepted");
  params.seed = std::numeric_limits<uint64_t>::max();
  params.ignore_eos = true;
  EXPECT_EQ(message_of(params), "accepted");
}

TEST(FinishReason, HasItsPublicName) {
  EXPECT_STREQ(finish_reason_name(FinishReason::kNone), "");
  EXPECT_STREQ(finish_reason_name(FinishReason::kStop), "stop");
  EXPECT_STREQ(finish_reason_name(FinishReason::kLength), "length");
  EXPECT_STREQ(finish_reason_name(FinishReason::kAborted), "aborted");
  EXPECT_STREQ(finish_reason_name(FinishReason::kError), "error");
}

}  // namespace
}  // namespace lanner
