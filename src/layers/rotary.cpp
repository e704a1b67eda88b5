// SPDX-License-Identifier: Apache-2.0
#include "layers/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/float16.h"

namespace lanner {
namespace {

std::vector<double> default_frequencies(double theta, int rotary_dim) {
  std::vector<double> frequencies;
  for (int i = 0; i < rotary_dim; i += 2) {
    frequencies.push_back(std::pow(theta, -static_cast<double>(i) / rotary_dim));
  }
  return frequencies;
}

// "NTK-aware" with a base that grows with the sequence (HF _compute_dynamic_ntk_parameters).
double dynamic_theta(const RopeConfig& config, int length) {
  if (length <= config.max_position) return config.theta;
  const double stretch = config.factor * length / config.max_position - (config.factor - 1.0);
  const double d = config.rotary_dim;
  return config.theta * std::pow(stretch, d / (d - 2.0));
}

// Qwen 1's modelling code (get_ntk_alpha): powers of two that cover the prompt.
double prompt_ntk_theta(const RopeConfig& config, int prompt_length) {
  const double context = static_cast<double>(prompt_length) / config.max_position;
  const double alpha = std::max(1.0, std::exp2(std::ceil(std::log2(context) + 1.0)) - 1.0);
  const double d = config.rotary_dim;
  return config.theta * std::pow(alpha, d / (d - 2.0));
}

double theta_of(const RopeConfig& config, int length) {
  if (config.scaling == RopeScaling::kDynamic) return dynamic_theta(config, length);
  if (config.scaling == RopeScaling::kPromptNtk) return prompt_ntk_theta(config, length);
  return config.theta;
}

// Peng et al. 2023, arXiv 2309.00071: high frequencies stay, low ones are divided by the factor.
void apply_yarn(const RopeConfig& config, std::vector<double>& frequencies) {
  const double d = config.rotary_dim;
  const auto dimension_of = [&](double rotations) {
    return d * std::log(config.original_max_position / (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(config.theta));
  };
  double low = dimension_of(config.beta_fast);
  double high = dimension_of(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, d - 1.0);
  if (low == high) high += 0.001;  // as the reference does, against a division by zero
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / config.factor * ramp + frequencies[i] * (1.0 - ramp);
  }
}

// Llama 3.1 (HF _compute_llama3_parameters): by wavelength, with a linear blend in between.
void apply_llama3(const RopeConfig& config, std::vector<double>& frequencies) {
  for (double& f : frequencies) {
    const double wavelength = 2.0 * std::numbers::pi / f;
    const double turns = config.original_max_position / wavelength;
    if (turns > config.high_freq_factor) continue;
    if (turns < config.low_freq_factor) {
      f /= config.factor;
      continue;
    }
    const double keep =
        (turns - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
    f = (1.0 - keep) * f / config.factor + keep * f;
  }
}

constexpr DoubleRange kLengths{.min = 1.0, .max = 1 << 24};

double yarn_mscale(double factor, double scale) {
  return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
}

std::vector<double> factor_list(const ConfigReader& config, const char* key, int rotary_dim) {
  std::vector<double> factors = config.required_doubles(key);
  check_argument(static_cast<int>(factors.size()) == rotary_dim / 2,
                 "{}: {} factors, expected {} (half of the rotated width)", config.key_path(key),
                 factors.size(), rotary_dim / 2);
  return factors;
}

RopeScaling parse_scaling(const ConfigReader& scaling) {
  const char* key = scaling.contains("rope_type") ? "rope_type" : "type";
  const std::string name = scaling.required_string(key);
  if (scaling.contains("rope_type")) scaling.ignore("type");
  if (name == "default") return RopeScaling::kDefault;
  if (name == "linear") return RopeScaling::kLinear;
  if (name == "dynamic") return RopeScaling::kDynamic;
  if (name == "yarn") return RopeScaling::kYarn;
  if (name == "llama3") return RopeScaling::kLlama3;
  if (name == "longrope" || name == "su") return RopeScaling::kLongrope;
  throw_error(ErrorCode::kUnsupported,
              "{}: rope scaling '{}' is unknown; known: default, linear, dynamic, yarn, llama3, "
              "longrope (su)",
              scaling.key_path(key), name);
}

}  // namespace

RopeConfig::RopeConfig(const ConfigReader& config, int head_dim, const RopeDefaults& defaults)
    : style(defaults.style),
      theta(config.optional_double("rope_theta", defaults.theta)),
      max_position(defaults.max_position > 0
                       ? config.optional_int("max_position_embeddings", defaults.max_position)
                       : config.required_int("max_position_embeddings")),
      original_max_position(max_position) {
  const double partial =
      config.optional_double("partial_rotary_factor", defaults.partial_rotary_factor, {.max = 1.0});
  rotary_dim = static_cast<int>(head_dim * partial);
  check_argument(rotary_dim >= 2 && rotary_dim % 2 == 0,
                 "{}: rotates {} of {} elements of a head; expected an even number of them",
                 config.key_path(partial < 1 ? "partial_rotary_factor" : "head_dim"), rotary_dim,
                 head_dim);

  // Phi-3 has it beside rope_scaling, the others inside.
  original_max_position =
      config.optional_double("original_max_position_embeddings", original_max_position, kLengths);
  const auto found = config.optional_object("rope_scaling");
  if (!found) return;
  const ConfigReader& rope = *found;
  scaling = parse_scaling(rope);
  original_max_position =
      rope.optional_double("original_max_position_embeddings", original_max_position, kLengths);
  switch (scaling) {
    case RopeScaling::kDefault:
      break;
    case RopeScaling::kLinear:
      factor = rope.required_double("factor");
      break;
    case RopeScaling::kDynamic:
      if (const auto alpha = rope.optional_double("alpha")) {
        // HunYuan: a base stretched once and for all. The other keys have no effect then.
        theta *= std::pow(*alpha, rotary_dim / (rotary_dim - 2.0));
        scaling = RopeScaling::kDefault;
        for (const char* key : {"factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"}) {
          rope.ignore(key);
        }
        break;
      }
      factor = rope.required_double("factor");
      // The reference goes by max_position_embeddings.
      rope.refuse_unless("original_max_position_embeddings", max_position);
      break;
    case RopeScaling::kPromptNtk:  // has no name in rope_scaling
      break;
    case RopeScaling::kLlama3:
      rope.required_double("original_max_position_embeddings");
      factor = rope.required_double("factor");
      low_freq_factor = rope.required_double("low_freq_factor");
      high_freq_factor = rope.required_double("high_freq_factor");
      check_argument(high_freq_factor > low_freq_factor,
                     "{}: must be greater than low_freq_factor {}, not {}",
                     rope.key_path("high_freq_factor"), low_freq_factor, high_freq_factor);
      break;
    case RopeScaling::kYarn: {
      factor = rope.required_double("factor");
      beta_fast = rope.optional_double("beta_fast", beta_fast);
      beta_slow = rope.optional_double("beta_slow", beta_slow);
      truncate = rope.optional_bool("truncate", true);
      check_argument(theta > 1.0, "{}: is {}, expected more than 1", config.key_path("rope_theta"),
                     theta);
      const double mscale = rope.optional_double("mscale", 0.0, DoubleRange::not_negative());
      const double mscale_all_dim =
          rope.optional_double("mscale_all_dim", 0.0, DoubleRange::not_negative());
      score_scaling = std::pow(yarn_mscale(factor, mscale_all_dim), 2.0);
      if (rope.contains("attention_factor")) {
        attention_scaling = rope.required_double("attention_factor");
      } else if (mscale != 0.0 && mscale_all_dim != 0.0) {
        attention_scaling = yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim);
      } else {
        attention_scaling = yarn_mscale(factor, 1.0);
      }
      break;
    }
    case RopeScaling::kLongrope: {
      short_factor = factor_list(rope, "short_factor", rotary_dim);
      long_factor = factor_list(rope, "long_factor", rotary_dim);
      check_argument(original_max_position > 1.0, "{}: is {}, expected more than 1",
                     rope.key_path("original_max_position_embeddings"), original_max_position);
      factor = max_position / original_max_position;
      const double given = rope.optional_double("factor", factor);
      const double computed =
          given <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(given) / std::log(original_max_position));
      attention_scaling = rope.optional_double("attention_factor", computed);
      break;
    }
  }
}

int RopeConfig::max_length() const {
  constexpr double kReach = 16.0;
  constexpr double kLongest = 1 << 24;
  double length = max_position;
  if (scaling == RopeScaling::kDynamic) length *= std::max(factor * kReach, 1.0);
  // The reference has no limit, and max_position_embeddings counts before or after scaling.
  if (scaling == RopeScaling::kYarn) {
    length = std::max(length, original_max_position * factor * kReach);
  }
  return static_cast<int>(std::min(length, kLongest));
}

int RopeConfig::recompute_length() const {
  const bool crosses = scaling == RopeScaling::kLongrope && original_max_position < max_position;
  return crosses ? static_cast<int>(original_max_position) : 0;
}

std::vector<double> rope_frequencies(const RopeConfig& config, int length) {
  std::vector<double> frequencies =
      default_frequencies(theta_of(config, length), config.rotary_dim);
  switch (config.scaling) {
    case RopeScaling::kDefault:
    case RopeScaling::kDynamic:
    case RopeScaling::kPromptNtk:
      break;
    case RopeScaling::kLinear:
      for (double& f : frequencies) f /= config.factor;
      break;
    case RopeScaling::kYarn:
      apply_yarn(config, frequencies);
      break;
    case RopeScaling::kLlama3:
      apply_llama3(config, frequencies);
      break;
    case RopeScaling::kLongrope: {
      const auto& factors =
          length > config.original_max_position ? config.long_factor : config.short_factor;
      for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= factors[i];
      break;
    }
  }
  if (config.fp16_frequencies) {
    for (double& f : frequencies) f = fp16_to_fp32(fp32_to_fp16(static_cast<float>(f)));
  }
  return frequencies;
}

RotaryEmbedding::RotaryEmbedding(RopeConfig config, int head_dim, LoadContext& context)
    : config_(std::move(config)), head_dim_(head_dim) {
  ThreadPool& threads = context.execution.threads;
  const int stored = config_.scaling == RopeScaling::kDynamic
                         ? std::min(context.max_context, config_.max_position)
                         : context.max_context;
  table_ = make_table(/*length=*/1, /*first_position=*/0, stored, threads);
  const bool reaches_long = context.max_context > config_.original_max_position;
  if (config_.scaling == RopeScaling::kLongrope && reaches_long) {
    long_table_ = make_table(context.max_context, 0, context.max_context, threads);
  }
}

RopeValues RotaryEmbedding::make_table(int length, int first_position, int num_positions,
                                       ThreadPool& threads) const {
  const std::vector<double> frequencies = rope_frequencies(config_, length);
  const size_t width = frequencies.size();
  RopeValues table;
  table.cos.resize(static_cast<size_t>(num_positions) * width);
  table.sin.resize(table.cos.size());
  constexpr int64_t kMinGrain = 64;  // below it a parallel region costs more than the cosines
  threads.parallel_for(
      num_positions,
      [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
          for (size_t i = 0; i < width; ++i) {
            const double angle = static_cast<double>(first_position + p) * frequencies[i];
            const size_t at = static_cast<size_t>(p) * width + i;
            table.cos[at] = static_cast<float>(std::cos(angle) * config_.attention_scaling);
            table.sin[at] = static_cast<float>(std::sin(angle) * config_.attention_scaling);
          }
        }
      },
      kMinGrain);
  return table;
}

RopeTable RotaryEmbedding::view(const RopeValues& table) const {
  return {.cos = table.cos.data(),
          .sin = table.sin.data(),
          .num_positions = static_cast<int64_t>(table.cos.size()) / (config_.rotary_dim / 2),
          .rotary_dim = config_.rotary_dim,
          .style = config_.style};
}

int RotaryEmbedding::own_table_length(const ForwardBatch::Sequence& sequence) const {
  int length = 0;
  if (config_.scaling == RopeScaling::kDynamic) length = sequence.rope_length;
  if (config_.scaling == RopeScaling::kPromptNtk) length = sequence.prompt_length;
  return length > config_.max_position ? length : 0;
}

bool RotaryEmbedding::needs_step(const ForwardBatch& batch) const {
  return std::ranges::any_of(batch.sequences,
                             [&](const auto& sequence) { return own_table_length(sequence) > 0; });
}

StepRope RotaryEmbedding::make_step(const ForwardBatch& batch, ThreadPool& threads) const {
  StepRope step{this, {}};
  for (const ForwardBatch::Sequence& sequence : batch.sequences) {
    // Only the rows of this step: row i of the table is position past_length + i.
    const int length = own_table_length(sequence);
    step.of_sequence.push_back(
        length > 0 ? make_table(length, sequence.past_length, sequence.token_count, threads)
                   : RopeValues{});
  }
  return step;
}

// A token before the prefix's end has its own index and 0; those from there on have the prefix's
// position and count 1, 2, 3, …
void RotaryEmbedding::apply_block_positions(const Tensor& x, const ForwardBatch& batch,
                                            ExecutionContext& context) const {
  std::vector<int32_t> first = batch.positions;
  std::vector<int32_t> second(batch.positions.size(), 0);
  for (const ForwardBatch::Sequence& sequence : batch.sequences) {
    for (int i = sequence.token_begin; i < sequence.token_begin + sequence.token_count; ++i) {
      const auto token = static_cast<size_t>(i);
      if (first[token] < sequence.prefix_length) continue;
      second[token] = first[token] - sequence.prefix_length + 1;
      first[token] = sequence.prefix_position;
    }
  }
  RopeTable table = view(table_);
  rope(x, head_dim_, first, table, context.threads);
  table.offset = config_.rotary_dim;
  rope(x, head_dim_, second, table, context.threads);
}

void RotaryEmbedding::apply(const Tensor& x, const ForwardBatch& batch,
                            ExecutionContext& context) const {
  if (config_.block_positions) return apply_block_positions(x, batch, context);
  const bool by_length = config_.scaling == RopeScaling::kDynamic ||
                         config_.scaling == RopeScaling::kLongrope ||
                         config_.scaling == RopeScaling::kPromptNtk;
  if (!by_length) {
    rope(x, head_dim_, batch.positions, view(table_), context.threads);
    return;
  }
  StepRope made;
  const StepRope* step = &made;
  const auto shared = std::ranges::find(batch.step_ropes, this, &StepRope::rotary);
  if (shared != batch.step_ropes.end()) {
    step = &*shared;
  } else {
    made = make_step(batch, context.threads);
  }
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const ForwardBatch::Sequence& sequence = batch.sequences[i];
    const Tensor rows = x.rows(sequence.token_begin, sequence.token_begin + sequence.token_count);
    const std::span<const int32_t> positions(batch.positions.data() + sequence.token_begin,
                                             static_cast<size_t>(sequence.token_count));
    if (const RopeValues& own = step->of_sequence[i]; !own.cos.empty()) {
      std::vector<int32_t> local(positions.begin(), positions.end());
      for (int32_t& position : local) position -= sequence.past_length;
      rope(rows, head_dim_, local, view(own), context.threads);
      continue;
    }
    const bool is_long = config_.scaling == RopeScaling::kLongrope &&
                         sequence.rope_length > config_.original_max_position;
    rope(rows, head_dim_, positions, view(is_long ? long_table_ : table_), context.threads);
  }
}

}  // namespace lanner
