// SPDX-License-Identifier: Apache-2.0
// main of the tests with the label `isa`. With --isa-cap=NAME, which tools/run_with_isa_cap adds,
// it fails unless cpu_isa() is this CPU cut down to that cap and at least one test ran: a cap that
// did not take would test the same kernels over and over.
#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include <gmock/gmock.h>

#include "base/isa.h"

namespace {

class CapTook final : public testing::Environment {
 public:
  explicit CapTook(std::string name) : name_(std::move(name)) {}

  void SetUp() override {
    const auto caps = lanner::isa_caps();
    const auto cap = std::ranges::find(caps, name_, &lanner::IsaCap::name);
    ASSERT_NE(cap, caps.end()) << "--isa-cap=" << name_ << " is no cap";
    ASSERT_EQ(lanner::cpu_isa().to_string(), (lanner::detect_isa() & cap->allowed).to_string())
        << "the cap '" << name_ << "' did not take";
  }

 private:
  std::string name_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  constexpr std::string_view kOption = "--isa-cap=";
  bool capped = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with(kOption)) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
    capped = true;
    testing::AddGlobalTestEnvironment(new CapTook(std::string(argument.substr(kOption.size()))));
  }
  const int status = RUN_ALL_TESTS();
  if (capped && testing::UnitTest::GetInstance()->successful_test_count() == 0 && status == 0) {
    std::fprintf(stderr, "no test ran under this cap\n");
    return 1;
  }
  return status;
}
