// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lanner {

// The types that LlmConfig::dtype and LlmConfig::kv_dtype may name, besides "auto".
inline constexpr const char* kWeightDtypes[] = {"fp32", "fp16",    "bf16",     "int8",     "w8a8",
                                                "int4", "int4g64", "int4g128", "int4_asym"};
// "int8" rotates keys before it quantises them, which costs a quarter of the accuracy that
// "int8-plain" costs.
inline constexpr const char* kKvDtypes[] = {"fp32", "fp16", "bf16", "int8", "int8-plain"};

// What the ranks of a model add up over (LlmConfig::communicator), besides "auto": memory that the
// ranks of one machine share, oneCCL, or, where all ranks are on one machine, for each size of a
// sum the faster of both, as measured once at the start.
inline constexpr const char* kCommunicators[] = {"shm", "oneccl", "fastest"};

// What partial sums travel as over oneCCL (LlmConfig::wire). bf16 halves the bytes and rounds each
// rank's part and their sum to 8 bits.
inline constexpr const char* kWireDtypes[] = {"fp32", "bf16"};

// How the attention of a prompt is computed (LlmConfig::attention), besides "auto": SlimAttention,
// which has whole rows of scores, or flash attention, which has pieces of them.
inline constexpr const char* kAttentionMethods[] = {"slim", "flash"};

// A LoRA adapter to load with a model: the name that requests use, and the folder that PEFT wrote.
struct LoraSource {
  std::string name = {};
  std::string path = {};
};

// How a model is loaded and run. Every field has a working default.
struct LlmConfig {
  // Type the weights are held in: "auto" (as the file has them) or one of kWeightDtypes. int8 and
  // int4 have a scale for every 32 values, int4g64 and int4g128 for 64 and 128, int4_asym a minimum
  // besides; w8a8 has one scale per output and per token: faster than int8, and less accurate.
  std::string dtype = "auto";
  // Draw the weights at random instead of reading them (measurements): the path of the model is
  // then a folder with config.json, a config.json, or the name of a preset such as "llama-1b".
  bool random_weights = false;
  // Type of the KV cache: "auto" (fp16) or one of kKvDtypes.
  std::string kv_dtype = "auto";
  // "auto" (for each length what a measurement at loading found faster) or one of
  // kAttentionMethods.
  std::string attention = "auto";
  // Compute threads; 0: min(physical cores in the affinity mask, floor(cgroup quota)).
  int threads = 0;
  // Ranks on this machine that compute the model together (tensor parallel), each a process with
  // its share of the weights, the KV cache and the compute threads. 0: one per NUMA node where
  // there are several and the program that loads the model is lanner itself, else 1.
  int tensor_parallel = 0;
  // The lanner program that the other ranks are started from; empty: the program that loads the
  // model if that is lanner, else the one on the PATH.
  std::string worker_program = {};
  // Ranks on several machines, instead of tensor_parallel: "HOST[:N],…", N ranks on each. The first
  // HOST is this machine, whose ranks are started here; `lanner worker` is started on the others,
  // as often as they have ranks.
  std::string hosts = {};
  // "HOST:PORT" where they meet: this process listens there. Empty: the first of hosts, port 29500.
  // Without hosts: tensor_parallel ranks meet there, and none of them is started here (mpirun,
  // srun).
  std::string rendezvous = {};
  // What the ranks of several machines share, at least 16 characters; it never travels.
  std::string job_secret = {};
  double rendezvous_timeout = 300;  // seconds until all have come
  // "auto" (shm between the ranks of tensor_parallel, fastest between those of hosts and
  // rendezvous, oneccl between machines) or one of kCommunicators.
  std::string communicator = "auto";
  // One of kWireDtypes. bf16 is oneCCL's: memory that ranks share has fp32.
  std::string wire = "fp32";
  // How often in a row a model whose ranks are lost (one has died, or stands still) is loaded again
  // with new ones, after 1, 2, 4, … seconds; what has run for a minute counts anew. Meanwhile
  // requests are refused.
  int restart_ranks = 0;
  // Longest sequence (prompt and output) in tokens; 0: what the model was trained for, as far as
  // the memory allows.
  int max_context = 0;
  // Bytes for the KV cache; 0: what max_sequences sequences of max_context need, at most half of
  // the memory that is free after loading.
  int64_t kv_cache_bytes = 0;
  // Tokens computed in one step at most: long prompts are prefilled in chunks of it.
  int max_tokens_per_step = 512;
  // Sequences decoded together at most.
  int max_sequences = 64;
  // Keep what the KV cache holds of ended sequences for those that begin alike: further turns of a
  // chat, a shared system message.
  bool prefix_cache = true;
  // Propose tokens that the sequence has had in the same place before, and verify them together:
  // the output stays the same, text that copies from its prompt comes faster.
  bool ngram_speculation = true;
  // A smaller model with the same vocabulary, a path as LLM::load takes it, that proposes tokens
  // where nothing is copied. Greedy tokens, and those of a seed, stay the same; what is drawn
  // without a seed keeps its distribution. Empty: none.
  std::string draft_model = {};
  // As dtype, of the draft model's weights. Its KV cache has kv_dtype.
  std::string draft_dtype = "auto";
  // Tokens that are proposed for a sequence in one step, range [0, 16]. 0: as many as the measured
  // times of steps and the share of right proposals make worth while, none where many sequences
  // run.
  int draft_tokens = 0;
  // Adapters of which each request may name one (Request::lora). They stay beside the weights,
  // which may be quantised, and cost nothing where no request of a step uses one (docs/lora.md).
  std::vector<LoraSource> lora = {};
  // Add all of them to the weights instead, before those are quantised: the model is the changed
  // one then, at no cost, and no request names an adapter.
  bool lora_merge = false;
};

// Progress of loading: a stage ("weights"), and how far it is, in bytes.
using ProgressCallback = std::function<void(const char* stage, int64_t done, int64_t total)>;

}  // namespace lanner
