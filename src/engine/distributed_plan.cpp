// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "distributed/cost_model.h"
#include "engine/model_runner.h"
#include "lanner/distributed.h"
#include "lanner/llm.h"
#include "weights/random_checkpoint.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

// What the families call their number of layers.
constexpr const char* kLayerKeys[] = {"num_hidden_layers", "num_layers", "n_layer", "n_layers"};
// Layers are measured by the difference of two runs; the smaller one has so many bytes at least, so
// that its weights come from memory and not from a cache.
constexpr int64_t kMeasuredBytes = int64_t{512} << 20;
constexpr double kCandidateBytes = 320;  // of a rank's top 40, a score and an id each

Json read_config(const std::string& path) {
  for (const ModelPreset& preset : model_presets()) {
    if (path == preset.name) return parse_json(preset.config, path);
  }
  const fs::path file = fs::is_directory(path) ? fs::path(path) / "config.json" : fs::path(path);
  return read_json_file(file.string());
}

// A model's config.json with another number of layers, in a file of its own.
class CutConfig {
 public:
  CutConfig(Json config, const std::string& key, int layers) {
    const size_t before = config.at(key).get<size_t>();
    config[key] = layers;
    // What is listed layer by layer.
    for (auto& [name, value] : config.items()) {
      if (!value.is_array() || value.size() != before) continue;
      value.erase(value.begin() + layers, value.end());
    }
    path_ = (fs::temp_directory_path() / "lanner-plan-XXXXXX").string();
    const int descriptor = mkstemp(path_.data());
    if (descriptor < 0) {
      throw_error(ErrorCode::kIo, "{} cannot be written: {}", path_, std::strerror(errno));
    }
    close(descriptor);
    std::ofstream(path_) << config.dump();
  }
  ~CutConfig() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  CutConfig(const CutConfig&) = delete;
  CutConfig& operator=(const CutConfig&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Measured {
  Json report;
  double seconds = 0;  // of a step
  double weight_bytes = 0;
};

class LayerMeasurement {
 public:
  LayerMeasurement(const Json& config, std::string key, const LlmConfig& llm,
                   const DistributedPlan& plan, const ProgressCallback& progress)
      : config_(config), key_(std::move(key)), llm_(llm), plan_(plan), progress_(progress) {}

  Measured run(int layers) const {
    const CutConfig cut(config_, key_, layers);
    ModelBenchmark benchmark;
    benchmark.prompts = {8};
    benchmark.generate = 32;
    benchmark.depths = {plan_.depth};
    benchmark.batches = {plan_.batch};
    benchmark.repeat = 3;
    Measured measured;
    measured.report = parse_json(benchmark_model(cut.path(), llm_, benchmark, progress_), "report");
    measured.seconds =
        measured.report.at("decode").at(0).at("tpot_ms").at("p50").get<double>() * 1e-3;
    measured.weight_bytes = measured.report.at("model").at("weight_bytes").get<double>();
    return measured;
  }

 private:
  const Json& config_;
  const std::string key_;
  const LlmConfig& llm_;
  const DistributedPlan& plan_;
  const ProgressCallback& progress_;
};

void check(const DistributedPlan& plan) {
  check_argument(!plan.ranks.empty() && std::ranges::min(plan.ranks) >= 1 &&
                     std::ranges::max(plan.ranks) <= 1024,
                 "[plan] numbers of ranks are from 1 to 1024");
  check_argument(
      plan.batch >= 1 && plan.depth >= 0 && plan.read_gbps >= 0 && plan.sums_per_layer >= 1,
      "[plan] batch and sums per layer are 1 or more, depth and bandwidth 0 or more");
  const bool has_link = plan.latency_us > 0 && plan.bandwidth_gbps > 0;
  check_argument(has_link != !plan.communication.empty(),
                 "[plan] the ranks' connection is a latency and a bandwidth, or a report");
}

}  // namespace

std::string plan_distributed(const std::string& path, const LlmConfig& given,
                             const DistributedPlan& plan, const ProgressCallback& progress) {
  check(plan);
  std::optional<MeasuredCost> messages;
  if (!plan.communication.empty()) {
    messages.emplace(parse_json(plan.communication, "the report of the ranks' messages"));
  }
  LlmConfig config = given;
  config.random_weights = true;
  const Json model = read_config(path);
  const auto key =
      std::ranges::find_if(kLayerKeys, [&](const char* name) { return model.contains(name); });
  check_argument(key != std::end(kLayerKeys) && model.at(*key).is_number_integer(),
                 "[plan] {} does not say how many layers the model has", path);
  const int num_layers = model.at(*key).get<int>();
  const ModelFiles files = open_model(path, config);
  Topology unlimited;
  const ModelInfo info = plan_model(files, config, unlimited).info;
  check_argument(num_layers == info.num_layers && num_layers >= 2,
                 "[plan] {} has {} layers; two are needed", path, num_layers);

  const LayerMeasurement measurement(model, *key, config, plan, progress);
  const Measured one = measurement.run(1);
  // The first layers may be of another kind than the rest; what is measured is more of them.
  Measured few = measurement.run(2);
  const double layer_bytes = few.weight_bytes - one.weight_bytes;
  const int more = static_cast<int>(static_cast<double>(kMeasuredBytes) / layer_bytes) + 1;
  const int layers = std::min(num_layers, more + 1);
  if (layers > 2) few = measurement.run(layers);
  const double layer_seconds = (few.seconds - one.seconds) / (layers - 1);
  check_argument(layer_seconds > 0, "[plan] a layer of {} is too small to be measured", path);

  const Json& machine = few.report.at("machine");
  const double rate = layer_bytes / layer_seconds;
  const double output_bytes = one.weight_bytes - layer_bytes;
  const double output_seconds = output_bytes / rate;
  const double here = machine.at("read_gbps").get<double>();
  const double slowness = plan.read_gbps > 0 ? here / plan.read_gbps : 1.0;
  const DecodeCost cost{
      .split_seconds = (layer_seconds * num_layers + output_seconds) * slowness,
      .fixed_seconds = std::max(0.0, one.seconds - layer_seconds - output_seconds),
      .sums = plan.sums_per_layer * num_layers,
      .sum_bytes = 4.0 * plan.batch * static_cast<double>(info.hidden_size),
      .gather_bytes = kCandidateBytes * plan.batch};
  const LinkCost link{.latency = plan.latency_us * 1e-6, .bandwidth = plan.bandwidth_gbps * 1e9};

  Json rows = Json::array();
  double first = 0;
  for (const int ranks : plan.ranks) {
    const DecodePrediction p =
        messages ? predict_decode(ranks, cost, *messages) : predict_decode(ranks, cost, link);
    const double seconds = p.total_seconds();
    if (first == 0) first = seconds * ranks;
    rows.push_back({{"ranks", ranks},
                    {"tpot_ms", seconds * 1e3},
                    {"compute_ms", p.compute_seconds * 1e3},
                    {"reduce_ms", p.reduce_seconds * 1e3},
                    {"step_ms", p.step_seconds * 1e3},
                    {"tokens_per_s", plan.batch / seconds},
                    {"efficiency", first / (seconds * ranks)},
                    {"sent_bytes", static_cast<int64_t>(p.sent_bytes)}});
  }
  return Json{{"model",
               {{"name", path},
                {"dtype", few.report.at("model").at("dtype")},
                {"num_layers", num_layers},
                {"hidden_size", info.hidden_size},
                {"layer_bytes", static_cast<int64_t>(layer_bytes)},
                {"output_bytes", static_cast<int64_t>(output_bytes)}}},
              {"measured",
               {{"layers", layers},
                {"layer_ms", layer_seconds * 1e3},
                {"fixed_ms", cost.fixed_seconds * 1e3},
                {"read_gbps", here},
                {"layer_gbps", rate * 1e-9},
                {"cpu", machine.at("cpu")}}},
              {"ranks", rows}}
      .dump(2);
}

}  // namespace lanner
