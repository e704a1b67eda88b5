// SPDX-License-Identifier: Apache-2.0
#include "text/stop_string_matcher.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "lanner/error.h"

namespace lanner {
namespace {

TEST(StopStringMatcher, HoldsBackOnlyWhatMayBecomeAStopString) {
  StopStringMatcher matcher({"\nUser:"});
  EXPECT_EQ(matcher.push("Hi").text, "Hi");
  EXPECT_EQ(matcher.push(" there\nUs").text, " there");
  EXPECT_EQ(matcher.push("e it\n").text, "\nUse it");
  const auto result = matcher.push("User: more");
  EXPECT_EQ(result.text, "");
  EXPECT_TRUE(result.stopped);
  EXPECT_TRUE(matcher.push("x").stopped);
  EXPECT_EQ(matcher.push("x").text, "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopStringMatcher, FlushGivesWhatWasHeldAndStartsAnew) {
  StopStringMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("the EN").text, "the ");
  EXPECT_EQ(matcher.flush(), "EN");
  EXPECT_EQ(matcher.push("D").text, "D");
  EXPECT_TRUE(matcher.push("END").stopped);
}

TEST(StopStringMatcher, TakesTheLongestOfThoseThatEndFirst) {
  StopStringMatcher matcher({"bc", "abc", "abcd", "b"});
  const auto result = matcher.push("xabcd");
  EXPECT_EQ(result.text, "xa");
  EXPECT_TRUE(result.stopped);
  StopStringMatcher suffixes({"c", "bc", "abc"});
  EXPECT_EQ(suffixes.push("xabcd").text, "x");
}

TEST(StopStringMatcher, PassesEverythingWithoutStopStringsAndRefusesEmptyOnes) {
  StopStringMatcher matcher({});
  EXPECT_EQ(matcher.push("anything").text, "anything");
  EXPECT_EQ(matcher.flush(), "");
  EXPECT_THROW(StopStringMatcher({"a", ""}), Error);
}

// The first end of any stop string, the longest one there: by trying everything.
std::string expected_text(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const auto& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopStringMatcher, AgreesWithSearchingTheWholeTextForAnyPieces) {
  std::mt19937 random(3);
  const auto up_to = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto letters = [&](int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += static_cast<char>('a' + up_to(2));
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (int i = up_to(4); i >= 0; --i) stops.push_back(letters(2 + up_to(6)));
    const std::string text = letters(up_to(30));
    StopStringMatcher matcher(stops);
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + static_cast<size_t>(up_to(5));
      const auto result = matcher.push(std::string_view(text).substr(at, size));
      out += result.text;
      at += size;
      const std::string so_far = text.substr(0, std::min(at, text.size()));
      EXPECT_EQ(result.stopped, expected_text(so_far, stops) != so_far);
    }
    EXPECT_EQ(out + matcher.flush(), expected_text(text, stops));
  }
}

}  // namespace
}  // namespace lanner
