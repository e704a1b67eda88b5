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
      {"typical_p", &SamplingParams::typical_p, {kTiny, 0.5, 1}, {0, -0.1, 1.0000001}},
      {"length_penalty", &SamplingParams::length_penalty, {-10, 0, 10}, {-10.01, 10.01}},
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

TEST(SamplingParams, KeepsCountsInTheirRanges) {
  struct Case {
    std::string field;
    void (*set)(SamplingParams&, int);
    std::vector<int> good;
    std::vector<int> bad;
  };
  const Case cases[] = {
      {"n is ", [](SamplingParams& p, int v) { p.n = v; }, {1, 128}, {0, -1, 129, kMaxInt}},
      {"best_of is ",
       [](SamplingParams& p, int v) {
         p.n = 3;
         p.best_of = v;
       },
       {3, 128},
       {2, 0, -1, 129}},
      {"beam_width is ",
       [](SamplingParams& p, int v) {
         p.n = 3;
         p.beam_width = v;
       },
       {0, 3, 64},
       {2, 1, -1, 65}},
      {"logprobs is ", [](SamplingParams& p, int v) { p.logprobs = v; }, {0, 20}, {-1, 21}},
      {"prompt_logprobs is ",
       [](SamplingParams& p, int v) { p.prompt_logprobs = v; },
       {0, 20},
       {-1, 21}},
      {"min_tokens is ",
       [](SamplingParams& p, int v) {
         p.max_tokens = 9;
         p.min_tokens = v;
       },
       {0, 9},
       {10, -1}},
  };
  for (const Case& c : cases) {
    for (const int value : c.good) {
      SamplingParams params;
      c.set(params, value);
      EXPECT_EQ(message_of(params), "accepted") << c.field << value;
    }
    for (const int value : c.bad) {
      SamplingParams params;
      c.set(params, value);
      EXPECT_THAT(message_of(params), HasSubstr(c.field)) << value;
    }
  }
}

TEST(SamplingParams, RefusesBeamsThatAreDrawn) {
  SamplingParams params;
  params.beam_width = 4;
  EXPECT_EQ(message_of(params), "accepted");
  params.best_of = 4;
  EXPECT_THAT(message_of(params), HasSubstr("best_of"));
  params.best_of.reset();
  params.temperature = 0.5;
  EXPECT_THAT(message_of(params), HasSubstr("temperature is 0.5, expected 0 with beam_width"));
}

TEST(SamplingParams, RefusesALogitBiasOutOfRangeOrGivenTwice) {
  SamplingParams params;
  params.logit_bias = {{.token_id = 0, .bias = -100}, {.token_id = kMaxInt, .bias = 100}};
  EXPECT_EQ(message_of(params), "accepted");
  params.logit_bias.push_back({.token_id = 0, .bias = 1});
  EXPECT_THAT(message_of(params), HasSubstr("token 0 twice"));
  for (const double bias : {100.5, -101.0, kNan, kInfinity}) {
    params.logit_bias = {{.token_id = 5, .bias = bias}};
    EXPECT_THAT(message_of(params), HasSubstr("logit_bias of token 5 is"));
  }
  params.logit_bias = {{.token_id = -1, .bias = 1}};
  EXPECT_THAT(message_of(params), HasSubstr("token -1"));
  params.logit_bias.assign(1025, {});
  EXPECT_THAT(message_of(params), HasSubstr("at most 1024"));
}

TEST(SamplingParams, RefusesEmptyBadWords) {
  SamplingParams params;
  params.bad_words = {"x"};
  params.bad_word_ids = {{1, 2}};
  EXPECT_EQ(message_of(params), "accepted");
  params.bad_words.push_back("");
  EXPECT_THAT(message_of(params), HasSubstr("bad_words[1] is empty"));
  params.bad_words.assign(129, "x");
  EXPECT_THAT(message_of(params), HasSubstr("129 bad_words, expected at most 128"));
  params.bad_words.clear();
  params.bad_word_ids = {{}};
  EXPECT_THAT(message_of(params), HasSubstr("bad_word_ids[0] is empty"));
  params.bad_word_ids = {{5, -3}};
  EXPECT_THAT(message_of(params), HasSubstr("bad_word_ids[0][1] is -3"));
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
