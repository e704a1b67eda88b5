// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/rope/rope.h"
#include "layers/execution_context.h"
#include "layers/forward_batch.h"
#include "weights/config_reader.h"

namespace lanner {

// How the rotation frequencies are stretched for contexts longer than the model was trained on; the
// names are those of rope_scaling.rope_type in config.json (HF modeling_rope_utils.py).
// kPromptNtk is Qwen 1's: a base that grows with the prompt and keeps while its answer is decoded.
enum class RopeScaling { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongrope, kPromptNtk };

// What a family takes for keys that its config.json lacks.
struct RopeDefaults {
  RopeStyle style = RopeStyle::kHalves;
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;
  int max_position = 0;  // 0: max_position_embeddings must be there
};

struct RopeConfig {
  // Plain rotation; to be filled in.
  RopeConfig() = default;
  // Reads rope_theta, rope_scaling (or rope_parameters), max_position_embeddings and
  // partial_rotary_factor. Throws Error(kUnsupported) for a scaling that is none of the above,
  // naming it, and Error(kInvalidArgument) for parameters that make no sense.
  RopeConfig(const ConfigReader& config, int head_dim, const RopeDefaults& defaults = {});

  // The longest sequence: max_position_embeddings. The reference has no limit, and a dynamic base
  // and YaRN's frequencies are there for any length, whatever that key counts (in some files the
  // length before scaling, in others the one after it); far past their factor the distances they
  // can tell apart get coarse, hence a generous bound.
  int max_length() const;
  // ModelInfo::recompute_length.
  int recompute_length() const;

  bool operator==(const RopeConfig&) const = default;

  RopeStyle style = RopeStyle::kHalves;
  RopeScaling scaling = RopeScaling::kDefault;
  int rotary_dim = 0;
  double theta = 10000.0;
  // The frequencies are rounded to fp16.
  bool fp16_frequencies = false;
  // Tokens have two positions, of the prefix-LM kind: the first turns the first rotary_dim elements
  // of a head, the second those after them (GLM, arXiv 2103.10360).
  bool block_positions = false;
  int max_position = 0;  // max_position_embeddings
  double original_max_position = 0;
  double factor = 1.0;
  double low_freq_factor = 1.0;      // llama3
  double high_freq_factor = 4.0;     // llama3
  double beta_fast = 32.0;           // yarn
  double beta_slow = 1.0;            // yarn
  bool truncate = true;              // yarn: whole dimensions as the ends of the ramp
  double attention_scaling = 1.0;    // yarn, longrope: factor of cos and sin
  double score_scaling = 1.0;        // yarn: of QK^T, where a family applies it (DeepSeek)
  std::vector<double> short_factor;  // longrope, [rotary_dim / 2]
  std::vector<double> long_factor;
};

// The frequencies [rotary_dim / 2] for a sequence of `length` tokens.
std::vector<double> rope_frequencies(const RopeConfig& config, int length);

// RoPE with its tables, shared by the layers of a model. Tables are computed in double and stored
// in fp32. Immutable: used by several threads at once.
class RotaryEmbedding {
 public:
  RotaryEmbedding(RopeConfig config, int head_dim, LoadContext& context);

  // Whether the step has sequences that need tables of their own: their frequencies depend on
  // their length, and that is past the stored table's.
  bool needs_step(const ForwardBatch& batch) const;
  // These tables. A model makes them once a step and passes them on as ForwardBatch::step_ropes.
  StepRope make_step(const ForwardBatch& batch, ThreadPool& threads) const;

  // Rotates every head of x [num_tokens, num_heads * head_dim] in place; num_tokens as in the
  // batch.
  void apply(const Tensor& x, const ForwardBatch& batch, ExecutionContext& context) const;

 private:
  RopeValues make_table(int length, int first_position, int num_positions,
                        ThreadPool& threads) const;
  RopeTable view(const RopeValues& table) const;
  // The length that the frequencies depend on, if they depend on one and are not those of the
  // stored table; else 0.
  int own_table_length(const ForwardBatch::Sequence& sequence) const;
  void apply_block_positions(const Tensor& x, const ForwardBatch& batch,
                             ExecutionContext& context) const;

  RopeConfig config_;
  int head_dim_;
  RopeValues table_;       // for sequences within the trained length (longrope: short factors)
  RopeValues long_table_;  // longrope only: for longer ones
};

}  // namespace lanner
