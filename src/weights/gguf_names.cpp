// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_names.h"

#include <algorithm>

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

struct Numbers {
  std::string layer;
  std::string index;
};

// Fits a pattern with a '#' and perhaps an '@' after it to the name.
std::optional<Numbers> fits_numbered(std::string_view pattern, std::string_view name) {
  Numbers numbers;
  while (!pattern.empty()) {
    if (pattern.front() != '#' && pattern.front() != '@') {
      if (name.empty() || name.front() != pattern.front()) return std::nullopt;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
      continue;
    }
    const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    if (digits == 0 || digits > 6) return std::nullopt;
    (pattern.front() == '#' ? numbers.layer : numbers.index) = std::string(name.substr(0, digits));
    pattern.remove_prefix(1);
    name.remove_prefix(digits);
  }
  if (!name.empty()) return std::nullopt;
  return numbers;
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

std::optional<GgufTensorName> gguf_tensor_name(const GgufArchitecture& architecture,
                                               std::string_view hf_name) {
  for (const std::span<const GgufNameRow> rows : architecture.tensors) {
    for (const GgufNameRow& row : rows) {
      if (row.transform == GgufTransform::kNotAWeight) continue;
      const auto numbers = fits_numbered(row.hf, hf_name);
      if (!numbers) continue;
      GgufTensorName result{std::string(row.gguf), row.transform};
      if (const size_t hash = result.name.find('#'); hash != std::string::npos) {
        result.name.replace(hash, 1, numbers->layer);
      }
      if (!numbers->index.empty()) result.index = std::stoll(numbers->index);
      return result;
    }
  }
  return std::nullopt;
}

}  // namespace lanner
