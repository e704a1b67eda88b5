// SPDX-License-Identifier: Apache-2.0
// Every key of every family's config.json: a value that makes no sense is an error that names the
// key, never ignored.
#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "models/registry.h"
#include "weights/config_keys.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

std::vector<std::string> golden_families() {
  std::vector<std::string> families;
  for (const auto& entry : std::filesystem::directory_iterator(LANNER_GOLDEN_DIR)) {
    if (std::filesystem::exists(entry.path() / "config.json")) {
      families.push_back(entry.path().filename().string());
    }
  }
  std::sort(families.begin(), families.end());
  return families;
}

Json golden_config(const std::string& family) {
  return read_json_file(std::string(LANNER_GOLDEN_DIR) + "/" + family + "/config.json");
}

ModelInfo info_of(const Json& json) { return read_model_info(ConfigReader(json, "config.json")); }

bool has_no_effect(const std::string& key) {
  const auto keys = config_keys_without_effect();
  return std::ranges::find(keys, key) != keys.end();
}

class FamilyConfigTest : public testing::TestWithParam<std::string> {};

TEST_P(FamilyConfigTest, IsReadWhole) {
  const ModelInfo info = info_of(golden_config(GetParam()));
  EXPECT_GT(info.num_layers, 0);
  EXPECT_GT(info.max_position, 0);
  EXPECT_GT(info.head_dim, 0);
}

TEST_P(FamilyConfigTest, NonsenseInAKeyIsRefusedByItsName) {
  const Json config = golden_config(GetParam());
  for (const auto& [key, value] : config.items()) {
    if (has_no_effect(key)) continue;
    SCOPED_TRACE(key);
    Json changed = config;
    changed[key] = value.is_string() ? Json("nonsense") : Json::object({{"nonsense", 1}});
    try {
      info_of(changed);
      ADD_FAILURE() << "was accepted as " << changed[key].dump();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
    }
  }
}

TEST_P(FamilyConfigTest, AKeyThatNobodyKnowsIsRefused) {
  Json config = golden_config(GetParam());
  config["attention_twist"] = 0.5;
  expect_error(ErrorCode::kUnsupported, {"attention_twist"}, [&] { info_of(config); });
}

TEST_P(FamilyConfigTest, SizesThatCannotBeAreRefused) {
  const Json config = golden_config(GetParam());
  for (const auto& [key, value] : config.items()) {
    if (has_no_effect(key) || !value.is_number_integer()) continue;
    SCOPED_TRACE(key);
    Json changed = config;
    changed[key] = -7;
    EXPECT_THROW(info_of(changed), Error);
    // The base of a rotation may be any number.
    if (key.find("rope") != std::string::npos || key.find("rotary") != std::string::npos) continue;
    changed[key] = 1e300;
    EXPECT_THROW(info_of(changed), Error);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Families, FamilyConfigTest, testing::ValuesIn(golden_families()), [](const auto& test) {
      std::string name = test.param;
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

}  // namespace
}  // namespace lanner
