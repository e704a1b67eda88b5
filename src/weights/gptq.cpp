// SPDX-License-Identifier: Apache-2.0
#include "weights/gptq.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "weights/mapped_file.h"
#include "weights/quantization_keys.h"

namespace lanner {
namespace {

constexpr int64_t kPerWord = 8;

// What says how the quantising was done, or how some kernels should run.
constexpr std::string_view kWithoutEffect[] = {
    "backend",
    "batch_size",
    "block_name_to_quantize",
    "cache_block_outputs",
    "damp_auto_increment",
    "damp_percent",
    "dataset",
    "device",
    "disable_exllama",
    "exllama_config",
    "hyb_act",
    "max_input_length",
    "meta",
    "model_file_base_name",
    "model_name_or_path",
    "model_seqlen",
    "module_name_preceding_first_block",
    "modules_in_block_to_quantize",
    "mse",
    "pad_token_id",
    "quantizer",
    "static_groups",
    "tokenizer",
    "true_sequential",
    "use_cuda_fp16",
    "use_exllama",
    "uri",
};

Int4Matrix read_matrix(const Checkpoint& files, const std::string& module, int64_t group_size,
                       int zero_offset) {
  const std::vector<int64_t> shape = files.info(module + ".qweight").shape;
  Int4Matrix m;
  m.n = shape[1];
  m.k = shape[0] * kPerWord;
  m.num_groups = count_groups(module, m.k, group_size);
  const CheckpointTensor values = int32_part(files, module + ".qweight", shape[0], m.n);
  m.words.resize(static_cast<size_t>(m.n * shape[0]));
  // In columns of a cache line: the tensor is read once, in order.
  constexpr int64_t kColumns = 16;
  for (int64_t begin = 0; begin < m.n; begin += kColumns) {
    const int64_t end = std::min(begin + kColumns, m.n);
    for (int64_t word = 0; word < shape[0]; ++word) {
      const auto* row = values.view.row<int32_t>(word);
      for (int64_t n = begin; n < end; ++n) {
        m.words[static_cast<size_t>(n * shape[0] + word)] = static_cast<uint32_t>(row[n]);
      }
    }
  }
  m.scales = transposed_scales(files, module + ".scales", m.num_groups, m.n);
  const int64_t zero_words = (m.n + kPerWord - 1) / kPerWord;
  const CheckpointTensor zeros = int32_part(files, module + ".qzeros", m.num_groups, zero_words);
  m.zeros.resize(m.scales.size());
  for (int64_t g = 0; g < m.num_groups; ++g) {
    for (int64_t n = 0; n < m.n; ++n) {
      const auto word = static_cast<uint32_t>(zeros.view.row<int32_t>(g)[n / kPerWord]);
      const uint32_t stored = word >> (n % kPerWord * 4) & 15;
      m.zeros[static_cast<size_t>(n * m.num_groups + g)] =
          static_cast<uint8_t>(stored + static_cast<uint32_t>(zero_offset));
    }
  }
  if (!files.contains(module + ".g_idx")) return m;
  const CheckpointTensor order = int32_part(files, module + ".g_idx", 0, m.k);
  const auto* index = order.view.data<int32_t>();
  bool in_runs = true;
  for (int64_t k = 0; k < m.k; ++k) {
    if (index[k] < 0 || index[k] >= m.num_groups) {
      throw_error(ErrorCode::kCorruptFile, "{}: tensor {} has the group {}, there are {}",
                  files.path(), quote_name(module + ".g_idx"), index[k], m.num_groups);
    }
    in_runs = in_runs && index[k] == k / (m.k / m.num_groups);
  }
  if (!in_runs) m.groups.assign(index, index + m.k);
  return m;
}

}  // namespace

std::optional<Int4Format> read_gptq_format(const ConfigReader& config) {
  const std::optional<QuantizationKeys> keys = QuantizationKeys::of(config, "gptq");
  if (!keys) return std::nullopt;
  keys->require("bits", 4);
  keys->require_if_there("is_marlin_format", false);
  keys->require_if_there("lm_head", false);
  keys->require_if_there("pack_dtype", "int32");
  keys->require_if_there("dynamic", Json::object());
  const std::string layout = keys->text("checkpoint_format", "gptq");
  if (layout != "gptq" && layout != "gptq_v2") keys->refuse("checkpoint_format");
  const int64_t group_size = keys->integer("group_size", 128);
  const bool act_order = keys->flag("desc_act", false);
  const bool symmetric = keys->flag("sym", true);
  keys->finish(kWithoutEffect);
  const int zero_offset = layout == "gptq" ? 1 : 0;
  Int4Format format;
  format.dtype = act_order ? DType::kF16 : symmetric ? DType::kQ4_0 : DType::kQ4_1;
  format.shape = [](const std::vector<int64_t>& qweight) {
    return std::vector<int64_t>{qweight[1], qweight[0] * kPerWord};
  };
  format.read = [=](const Checkpoint& files, const std::string& module) {
    return read_matrix(files, module, group_size, zero_offset);
  };
  return format;
}

}  // namespace lanner
