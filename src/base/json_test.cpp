// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <chrono>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <unistd.h>

#include "base/error.h"

namespace lanner {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string error_of(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, "config.json", limits);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCorruptFile);
    EXPECT_THAT(e.what(), StartsWith("config.json: "));
    return e.what();
  }
  return "no error";
}

TEST(Json, ReadsEveryKindOfValueAndKeepsTheOrderOfKeys) {
  const Json json = parse_json(
      R"( {"z": [1, -2, 2.5, 18446744073709551615], "a": {"b": null, "": true}, "m": "\u00e9", "e": [], "o": {}} )",
      "x");
  EXPECT_EQ(
      json.dump(),
      R"({"z":[1,-2,2.5,18446744073709551615],"a":{"b":null,"":true},"m":"é","e":[],"o":{}})");
  EXPECT_EQ(json.at("a").at("").get<bool>(), true);
  EXPECT_TRUE(json.at("z")[1].is_number_integer());
  EXPECT_EQ(parse_json("7", "x").get<int>(), 7);
}

TEST(Json, BuildsTheSameValueAsTheLibrary) {
  const std::string text =
      R"({"a":[{"b":[[],[1,[2,{"c":{}}]],"x"]},{"b":2}],"d":{"e":{"f":[{},{}],"g":1e3}}})";
  EXPECT_EQ(parse_json(text, "x"), Json::parse(text));
}

TEST(Json, SaysWhatIsWrong) {
  EXPECT_THAT(error_of("{\"a\": 1,}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("{} {}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("[1, 2"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("[NaN]"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("[1e999]"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("\"\xff\""), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("{\"a\": \n tru}"), HasSubstr("line 2"));
}

TEST(Json, RefusesAKeyThatAppearsTwiceInOneObject) {
  EXPECT_THAT(error_of(R"({"a": 1, "b": {"a": 2, "a": 3}})"), HasSubstr("key 'a' appears twice"));
  EXPECT_EQ(error_of(R"([{"a": {"a": 1}}, {"a": 2}])"), "no error");
}

TEST(Json, RefusesDeepNesting) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') +
           std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_EQ(error_of(nested(64)), "no error");
  EXPECT_THAT(error_of(nested(65)), HasSubstr("deeper than 64 levels"));
  EXPECT_THAT(error_of(std::string(10000000, '[')), HasSubstr("deeper than 64 levels"));
  EXPECT_THAT(error_of(R"({"a":{"a":1}})", {.max_depth = 1}), HasSubstr("deeper than 1 levels"));
}

TEST(Json, RefusesTooManyBytes) {
  EXPECT_THAT(error_of("[1234567]", {.max_bytes = 8}), HasSubstr("9 bytes of JSON, at most 8"));
}

TEST(Json, ReadsAnObjectOfManyKeysInTimeProportionalToThem) {
  std::string text = "{";
  for (int i = 0; i < 300000; ++i) text += "\"key" + std::to_string(i) + "\":0,";
  text.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_json(text, "x").size(), 300000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Json, ReadsFilesAndSaysWhyItCannot) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("lanner_json_" + std::to_string(getpid()));
  const auto code = [&](const std::string& file) {
    try {
      read_json_file(file, {.max_bytes = 8});
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(file));
      return e.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code(path.string()), ErrorCode::kNotFound);
  EXPECT_EQ(code(std::filesystem::temp_directory_path().string()), ErrorCode::kIo);
  std::ofstream(path) << "[1]";
  EXPECT_EQ(read_json_file(path.string()), Json::parse("[1]"));
  std::ofstream(path) << "[1, 2, 3]";
  EXPECT_EQ(code(path.string()), ErrorCode::kCorruptFile) << "larger than allowed";
  std::ofstream(path, std::ios::trunc).close();
  EXPECT_EQ(code(path.string()), ErrorCode::kCorruptFile) << "an empty file";
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace lanner
