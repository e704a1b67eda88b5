// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace lanner {

// A tensor as the header of a safetensors file describes it, checked against the file.
struct SafetensorsEntry {
  std::string dtype;  // "F32", "BF16", ...
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of its data, from the start of the file
  uint64_t bytes = 0;
};

using SafetensorsEntries = std::map<std::string, SafetensorsEntry, std::less<>>;

// Reads the header of a safetensors file (github.com/huggingface/safetensors, "Format"):
// 8 bytes N, little endian; N bytes JSON {name: {dtype, shape, data_offsets: [begin, end]}}; data.
// Every rule of the format is checked: the tensors' data lie inside the file, one after the other,
// without overlap or hole, each as long as its type and shape say. Types that Lanner does not know
// are no error here. Throws Error(kCorruptFile) that starts with `path`.
SafetensorsEntries read_safetensors_header(std::span<const std::byte> file,
                                           const std::string& path);

// The "weight_map" of model.safetensors.index.json: tensor name -> file name. File names are
// checked to be plain names of .safetensors files. Throws Error(kCorruptFile) that starts with
// `path`.
std::map<std::string, std::string, std::less<>> parse_safetensors_index(
    std::span<const std::byte> text, const std::string& path);

}  // namespace lanner
