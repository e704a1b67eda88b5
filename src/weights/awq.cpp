// SPDX-License-Identifier: Apache-2.0
#include "weights/awq.h"

#include "base/error.h"
#include "base/json.h"
#include "weights/quantization_keys.h"

namespace lanner {
namespace {

constexpr int64_t kPerWord = 8;
constexpr int kPlace[kPerWord] = {0, 4, 1, 5, 2, 6, 3, 7};  // of column i among the nibbles

constexpr std::string_view kWithoutEffect[] = {
    "backend",
    "do_fuse",
    "exllama_config",
    "fuse_max_seq_len",
    "modules_to_fuse",
    "modules_to_not_convert",  // those have a weight of their own
};

uint32_t nibble(const int32_t* words, int64_t n) {
  return static_cast<uint32_t>(words[n / kPerWord]) >> (4 * kPlace[n % kPerWord]) & 15;
}

Int4Matrix read_matrix(const Checkpoint& files, const std::string& module, int64_t group_size) {
  const std::vector<int64_t> shape = files.info(module + ".qweight").shape;
  Int4Matrix m;
  m.k = shape[0];
  m.n = shape[1] * kPerWord;
  m.num_groups = count_groups(module, m.k, group_size);
  const CheckpointTensor values = int32_part(files, module + ".qweight", m.k, shape[1]);
  m.words.resize(static_cast<size_t>(m.n * m.k / kPerWord));
  for (int64_t k = 0; k < m.k; ++k) {
    const auto* row = values.view.row<int32_t>(k);
    for (int64_t n = 0; n < m.n; ++n) {
      m.words[static_cast<size_t>((n * m.k + k) / kPerWord)] |= nibble(row, n)
                                                                << (k % kPerWord * 4);
    }
  }
  m.scales = transposed_scales(files, module + ".scales", m.num_groups, m.n);
  const CheckpointTensor zeros = int32_part(files, module + ".qzeros", m.num_groups, shape[1]);
  m.zeros.resize(m.scales.size());
  for (int64_t g = 0; g < m.num_groups; ++g) {
    for (int64_t n = 0; n < m.n; ++n) {
      m.zeros[static_cast<size_t>(n * m.num_groups + g)] =
          static_cast<uint8_t>(nibble(zeros.view.row<int32_t>(g), n));
    }
  }
  return m;
}

}  // namespace

std::optional<Int4Format> read_awq_format(const ConfigReader& config) {
  const std::optional<QuantizationKeys> keys = QuantizationKeys::of(config, "awq");
  if (!keys) return std::nullopt;
  keys->require("bits", 4);
  keys->require_if_there("zero_point", true);
  std::string version = keys->text("version", "gemm");
  if (version != "gemm" && version != "GEMM") keys->refuse("version");
  const int64_t group_size = keys->integer("group_size", 128);
  keys->finish(kWithoutEffect);
  Int4Format format;
  format.parts = {".qweight", ".qzeros", ".scales"};
  format.shape = [](const std::vector<int64_t>& qweight) {
    return std::vector<int64_t>{qweight[1] * kPerWord, qweight[0]};
  };
  format.read = [=](const Checkpoint& files, const std::string& module) {
    return read_matrix(files, module, group_size);
  };
  return format;
}

}  // namespace lanner
