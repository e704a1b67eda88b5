// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_names.h"

#include "base/error.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

// Fits the pattern to the name; the digits that stand for '#' go to `layer`.
bool fits(std::string_view pattern, std::string_view name, std::string_view& layer) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos) return pattern == name;
  const std::string_view front = pattern.substr(0, hash);
  const std::string_view back = pattern.substr(hash + 1);
  if (name.size() <= front.size() + back.size() || !name.starts_with(front) ||
      !name.ends_with(back)) {
    return false;
  }
  layer = name.substr(front.size(), name.size() - front.size() - back.size());
  return layer.size() <= 6 && layer.find_first_not_of("0123456789") == std::string_view::npos &&
         (layer.size() == 1 || layer[0] != '0');
}

}  // namespace

const GgufArchitecture& find_gguf_architecture(const GgufFile& file) {
  const std::string name = file.required_string("general.architecture");
  std::string known;
  std::string_view last;
  for (const GgufArchitecture& architecture : gguf_architectures()) {
    const std::string_view marker = architecture.with_tensor;
    if (architecture.name == name && (marker.empty() || file.find_tensor(marker) != nullptr)) {
      return architecture;
    }
    if (architecture.name == last) continue;  // another row of the same
    last = architecture.name;
    if (!known.empty()) known += ", ";
    known += architecture.name;
  }
  throw_error(ErrorCode::kUnsupported, "{}: GGUF architecture {} is not supported; known: {}",
              file.path(), quote_name(name), known);
}

std::optional<HfTensorName> hf_tensor_name(const GgufArchitecture& architecture,
                                           std::string_view gguf_name) {
  for (const std::span<const GgufNameRow> rows : architecture.tensors) {
    for (const GgufNameRow& row : rows) {
      std::string_view layer;
      if (!fits(row.gguf, gguf_name, layer)) continue;
      std::string name(row.hf);
      if (const size_t hash = name.find('#'); hash != std::string::npos) {
        name.replace(hash, 1, layer);
      }
      return HfTensorName{std::move(name), row.transform};
    }
  }
  return std::nullopt;
}

}  // namespace lanner
