// SPDX-License-Identifier: Apache-2.0
#include "models/model.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/error.h"

namespace lanner {

PromptPrefix find_prefix(const ModelInfo& info, std::span<const int32_t> prompt) {
  if (!info.prefix) return {};
  const auto index_of = [&](int32_t token) {
    const auto found = std::ranges::find(prompt, token);
    return found == prompt.end() ? -1 : static_cast<int>(found - prompt.begin());
  };
  const int length = index_of(info.prefix->start);
  check_argument(length >= 0, "the prompt lacks token {}, which ends this model's context",
                 info.prefix->start);
  for (int32_t mask : info.prefix->masks) {
    if (const int position = index_of(mask); position >= 0) return {length, position};
  }
  throw_error(ErrorCode::kInvalidArgument,
              "the prompt lacks a token that marks where this model's answer goes: one of {}",
              fmt::join(info.prefix->masks, ", "));
}

}  // namespace lanner
