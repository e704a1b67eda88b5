// SPDX-License-Identifier: Apache-2.0
#include "engine/report.h"

#include <algorithm>
#include <sstream>

#include "base/isa.h"
#include "base/thread_placement.h"
#include "kernels/gemm/gemm.h"
#include "lanner/llm.h"
#include "models/registry.h"

namespace lanner {
namespace {

Json bytes_or_null(int64_t bytes) { return bytes > 0 ? Json(bytes) : Json(nullptr); }

// The type that most of the model is multiplied in, by its first kernel ("avx512_vnni.int4g32"):
// the peak that prefill is measured against.
const char* arithmetic_of(const std::vector<std::string>& kernels) {
  if (kernels.empty()) return "fp32";
  const std::string& first = kernels.front();
  if (first.find(".int") != std::string::npos) return "int8";
  return first.starts_with("avx512_bf16.") ? "bf16" : "fp32";
}

}  // namespace

Json isa_names(Isa isa) {
  Json list = Json::array();
  std::istringstream stream(isa.to_string());
  for (std::string word; stream >> word;) list.push_back(word);
  return list;
}

Json describe_machine(const Topology& topology, const ThreadPlan& threads) {
  const Isa detected = detect_isa();
  const Isa used = cpu_isa();
  Json machine{{"cpu", topology.cpu_model},
               {"isa", isa_names(used)},
               {"logical_cpus", topology.cpus.size()},
               {"physical_cores", topology.num_cores()},
               {"numa_nodes", topology.num_numa_nodes()},
               {"cpu_quota", topology.cpu_quota > 0 ? Json(topology.cpu_quota) : Json(nullptr)},
               {"l1d_bytes", bytes_or_null(topology.l1d_bytes)},
               {"l2_bytes", bytes_or_null(topology.l2_bytes)},
               {"l3_bytes", bytes_or_null(topology.l3_bytes)},
               {"memory_bytes", bytes_or_null(topology.memory_bytes)},
               {"available_bytes", bytes_or_null(topology.available_bytes)},
               {"threads", threads.cpus.size()},
               {"thread_cpus", threads.cpus},
               {"threads_reason", threads.reason}};
  Json shards = Json::array();
  for (const NodeThreads& node : threads_by_node(topology, threads)) {
    shards.push_back({{"numa_node", node.numa_node}, {"threads", node.count}});
  }
  if (shards.size() > 1) machine["weight_shards"] = std::move(shards);
  if (used != detected) machine["isa_detected"] = isa_names(detected);
  return Json{{"version", version()}, {"machine", std::move(machine)}};
}

namespace {

std::string attention_name(const ModelPlan& plan) {
  if (!plan.attention_rule) return "auto";
  return plan.attention_rule->flash_from == AttentionRule::kNever ? "slim" : "flash";
}

}  // namespace

Json describe_model(const ModelFiles& files, const ModelPlan& plan) {
  const auto dtype = plan.weight_dtype ? dtype_name(*plan.weight_dtype) : "as in the file";
  Json report{{"path", files.path},
              {"format", files.has_random_weights ? "random"
                         : files.is_gguf          ? "gguf"
                                                  : "safetensors"},
              {"model_type", plan.info.model_type},
              {"num_layers", plan.info.num_layers},
              {"hidden_size", plan.info.hidden_size},
              {"vocab_size", plan.info.vocab_size},
              {"eos_token_ids", plan.info.eos_token_ids},
              {"num_heads", plan.info.num_heads},
              {"num_kv_heads", plan.info.num_kv_heads},
              {"head_dim", plan.info.head_dim},
              {"dtype", dtype},
              {"kv_dtype", plan.kv_dtype()},
              {"attention", attention_name(plan)},
              {"model_max_context", plan.info.max_position},
              {"memory_plan",
               {{"available_bytes", bytes_or_null(plan.memory.available_bytes)},
                {"weight_bytes", plan.memory.weight_bytes},
                {"kv_cache_bytes", plan.memory.kv_bytes},
                {"kv_bytes_per_token", plan.memory.kv_bytes_per_token},
                {"kv_tokens", plan.memory.num_blocks * kBlockSize},
                {"max_context", plan.memory.max_context}}}};
  for (const LoraAdapter& adapter : files.lora) {
    report["lora"].push_back(
        {{"name", adapter.name}, {"path", adapter.path}, {"matrices", adapter.modules.size()}});
  }
  if (plan.draft) {
    report["draft_model"] = {{"model_type", plan.draft->info.model_type},
                             {"num_layers", plan.draft->info.num_layers},
                             {"hidden_size", plan.draft->info.hidden_size},
                             {"weight_bytes", plan.draft->weight_bytes},
                             {"max_context", plan.draft->max_context}};
  }
  return report;
}

Json describe_loaded(const ModelRunner& runner) {
  const Model& model = runner.model();
  const int64_t flash_from = runner.attention_rule().flash_from;
  const WeightTally& weights = model.weights();
  return Json{{"weight_bytes", weights.bytes},
              {"parameters", weights.parameters},
              {"active_parameters", static_cast<int64_t>(weights.active_parameters)},
              {"output_parameters", model.output_parameters()},
              {"kernels", weights.kernels},
              {"arithmetic", arithmetic_of(weights.kernels)},
              {"flash_from_tokens",
               flash_from == AttentionRule::kNever ? Json(nullptr) : Json(flash_from)}};
}

Json describe_ranks(const ModelRunner& runner) {
  const CommunicatorStats stats = runner.communicator().stats();
  const auto per_token = [&](uint64_t bytes) {
    const auto tokens = std::max<int64_t>(runner.computed_tokens(), 1);
    return static_cast<double>(bytes) / static_cast<double>(tokens);
  };
  return Json{{"size", runner.num_ranks()},
              {"communicator", runner.communicator().backend()},
              {"threads_each", runner.num_threads()},
              {"reduced_bytes_per_token", per_token(stats.sum_bytes)},
              {"copied_bytes_per_token", per_token(stats.sum_bytes_copied)},
              {"gathered_bytes_per_token", per_token(stats.gathered_bytes)},
              {"broadcast_bytes_per_token", per_token(stats.broadcast_bytes)}};
}

std::string families_report() {
  Json families = Json::array();
  for (const ModelFamily& family : model_families()) {
    families.push_back({{"model_type", family.model_type},
                        {"models", family.models},
                        {"features", family.features},
                        {"golden", family.golden}});
  }
  return Json{{"families", std::move(families)}}.dump();
}

std::string machine_report(const LlmConfig& config) {
  const Topology topology = read_topology();
  return describe_machine(topology, plan_compute_threads(topology, config)).dump(2);
}

std::string model_report(const std::string& path, const LlmConfig& config) {
  const ModelFiles files = open_model(path, config);
  const Topology topology = read_topology();
  Json report = describe_machine(topology, plan_compute_threads(topology, config));
  const std::optional<ModelFiles> draft = open_draft_model(config);
  report["model"] =
      describe_model(files, plan_model(files, config, topology, {}, draft ? &*draft : nullptr));
  return report.dump(2);
}

const char* version() { return LANNER_VERSION; }

}  // namespace lanner
