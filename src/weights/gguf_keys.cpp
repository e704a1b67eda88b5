// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_keys.h"

#include <algorithm>
#include <vector>

#include <fmt/ranges.h>

#include "base/error.h"

namespace lanner {
namespace {

// Keys of an architecture that say nothing about the maths.
constexpr std::string_view kWithoutEffect[] = {
    "rope.scaling.finetuned",  // a remark on how the model was trained
    "tensor_data_layout",      // which converter: the architecture says how rows are ordered
};

}  // namespace

GgufKeys::GgufKeys(const GgufFile& file, std::string_view architecture)
    : file_(file), prefix_(fmt::format("{}.", architecture)) {}

std::string GgufKeys::use(std::string_view suffix) {
  return *used_.insert(prefix_ + std::string(suffix)).first;
}

bool GgufKeys::used(std::string_view suffix) const {
  return used_.contains(prefix_ + std::string(suffix));
}

void GgufKeys::refuse(std::string_view suffix) const {
  throw_error(ErrorCode::kUnsupported, "{}: a model with {}{} is not supported", file_.path(),
              prefix_, suffix);
}

void GgufKeys::refuse_unknown() const {
  std::vector<std::string> unknown;
  for (const std::string& key : file_.keys()) {
    if (!key.starts_with(prefix_) || used_.contains(key)) continue;
    const std::string_view suffix = std::string_view(key).substr(prefix_.size());
    if (std::ranges::find(kWithoutEffect, suffix) == std::end(kWithoutEffect)) {
      unknown.push_back(quote_name(key));
    }
  }
  if (unknown.empty()) return;
  throw_error(ErrorCode::kUnsupported, "{}: metadata that Lanner does not know for {}: {}",
              file_.path(), std::string_view(prefix_).substr(0, prefix_.size() - 1),
              fmt::join(unknown, ", "));
}

}  // namespace lanner
