// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_names.h"

#include <gtest/gtest.h>

#include "lanner/hub.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

TEST(HubNames, IdsAreOwnerAndName) {
  for (const char* id : {"HuggingFaceTB/SmolLM2-135M-Instruct", "a/b", "Qwen/Qwen2.5_x"}) {
    EXPECT_TRUE(is_hub_id(id)) << id;
  }
  for (const char* id : {"", "a", "a/", "/b", "a/b/c", "../b", "a/..", ".a/b", "a/b ", "a/-b",
                         "a/b\n", "a--b/c", "a/b%2f", "~/b"}) {
    EXPECT_FALSE(is_hub_id(id)) << id;
    expect_error(ErrorCode::kInvalidArgument, {"OWNER/NAME"}, [&] { check_hub_id(id); });
  }
}

TEST(HubNames, RevisionsStayInTheirFolder) {
  for (const char* revision : {"main", "v1.0", "refs/pr/3", "0123abc"}) {
    EXPECT_NO_THROW(check_hub_revision(revision));
  }
  for (const char* revision : {"", "..", "a/../b", "/a", "a//b", "a b", "a?b", ".a"}) {
    expect_error(ErrorCode::kInvalidArgument, {"branch"}, [&] { check_hub_revision(revision); });
  }
}

TEST(HubNames, PathsStayInTheirModel) {
  for (const char* path :
       {"config.json", "a/b/c.safetensors", "with space.txt", ".gitattributes"}) {
    EXPECT_NO_THROW(check_hub_path(path)) << path;
  }
  for (const char* path : {"", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\\b",
                           "a\nb", "C:x", ".."}) {
    expect_error(ErrorCode::kCorruptFile, {"no path inside"}, [&] { check_hub_path(path); });
  }
  expect_error(ErrorCode::kCorruptFile, {}, [] { check_hub_path(std::string(300, 'x')); });
}

TEST(HubNames, Patterns) {
  struct Case {
    const char* pattern;
    const char* name;
    bool fits;
  };
  for (const Case& c :
       {Case{"*", "", true}, Case{"*.gguf", "a.gguf", true}, Case{"*.gguf", "a.ggufx", false},
        Case{"*Q4*.gguf", "m/x-Q4_K.gguf", true}, Case{"a?c", "abc", true},
        Case{"a?c", "ac", false}, Case{"", "", true}, Case{"", "a", false},
        Case{"a*b*c", "aXbYbZc", true}, Case{"a**", "a", true}, Case{"*a*b", "ab", true},
        Case{"*ab", "aab", true}}) {
    EXPECT_EQ(fits_pattern(c.pattern, c.name), c.fits) << c.pattern << " " << c.name;
  }
}

TEST(HubNames, HexAndUrls) {
  EXPECT_TRUE(is_hex("00ff", 4));
  EXPECT_FALSE(is_hex("00FF", 4));
  EXPECT_FALSE(is_hex("00f", 4));
  EXPECT_EQ(url_encoded("a b/c%?#+.x"), "a%20b/c%25%3F%23%2B.x");
}

}  // namespace
}  // namespace lanner
