// SPDX-License-Identifier: Apache-2.0
// The whole program with a fake engine, for tests that need a process and a terminal. Says "one two
// three ..." slowly, a word every 50 ms.
#include <fmt/format.h>

#include "cli/app.h"
#include "cli/testing/fake_llm.h"

int main(int argc, char** argv) {
  using namespace lanner::cli;
  const auto script = std::make_shared<FakeScript>();
  script->pieces.clear();
  for (int i = 1; i <= 40; ++i) script->pieces.push_back(fmt::format("word{} ", i));
  script->delay = std::chrono::milliseconds(50);
  return run_program(argc, argv, make_fake_backend(script));
}
