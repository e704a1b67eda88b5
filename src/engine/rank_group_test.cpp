// SPDX-License-Identifier: Apache-2.0
// What ranks are told, and where they run.
#include "engine/rank_group.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <numeric>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "base/testing/recorded_machine.h"
#include "distributed/rank_cpus.h"
#include "engine/rank_message.h"
#include "weights/testing/expect_error.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

Topology recorded(const std::string& name) {
  const RecordedMachine machine(std::string(LANNER_TESTS_DIR) + "/topology/" + name + ".txt");
  std::vector<int> all(64);
  std::iota(all.begin(), all.end(), 0);
  return read_topology({.root = machine.root(), .affinity = all});
}

TEST(RanksPlan, OneRankForEachNodeWhereThereAreSeveral) {
  const Topology topology = recorded("two_sockets_interleaved");
  const RanksPlan plan = plan_ranks(topology, LlmConfig{}, /*can_start=*/true);
  EXPECT_EQ(plan.size, 2);
  EXPECT_EQ(plan.started_here, 1);
  EXPECT_TRUE(plan.is_one_host);
  EXPECT_EQ(plan.address, "127.0.0.1:0");
  EXPECT_EQ(plan_ranks(topology, LlmConfig{}, /*can_start=*/false).size, 1);
  EXPECT_EQ(plan_ranks(recorded("one_socket"), LlmConfig{}, /*can_start=*/true).size, 1);
}

// What the ranks of a machine share out is in the order of its nodes.
TEST(RanksPlan, ThreadsOfOneRankAreNeighbours) {
  const Topology topology = recorded("two_sockets_interleaved");
  const std::vector<int> cpus = plan_compute_threads(topology, LlmConfig{}).cpus;
  const HostName host{.name = "a", .boot = "b"};
  std::vector<std::set<int>> nodes;
  for (int rank : {0, 1}) {
    const RankCpus own = choose_rank_cpus(rank, {host, host}, {cpus, cpus});
    EXPECT_TRUE(own.are_own);
    std::set<int>& of_rank = nodes.emplace_back();
    for (const Cpu& cpu : topology.cpus) {
      if (std::ranges::find(own.cpus, cpu.id) != own.cpus.end()) of_rank.insert(cpu.numa_node);
    }
    EXPECT_EQ(of_rank.size(), 1u);
  }
  EXPECT_NE(nodes[0], nodes[1]);
}

TEST(RanksPlan, HostsSayHowManyRanksThereAreAndWhere) {
  const Topology topology = recorded("one_socket");
  const struct {
    const char* hosts;
    const char* rendezvous;
    int size;
    int started_here;
    const char* address;
    std::vector<int> per_host;
  } kCases[] = {
      {"a,b", "", 2, 0, "a:29500", {1, 1}},
      {"a,b:2", "", 3, 0, "a:29500", {1, 2}},
      {"a:3,b,c", "10.0.0.1:7", 5, 2, "10.0.0.1:7", {3, 1, 1}},
      {"[::1]:2", "", 2, 1, "[::1]:29500", {2}},
      {"a", "", 1, 0, "a:29500", {1}},
  };
  for (const auto& row : kCases) {
    LlmConfig config;
    config.hosts = row.hosts;
    config.rendezvous = row.rendezvous;
    const RanksPlan plan = plan_ranks(topology, config, /*can_start=*/false);
    EXPECT_EQ(plan.size, row.size) << row.hosts;
    EXPECT_EQ(plan.started_here, row.started_here) << row.hosts;
    EXPECT_EQ(plan.address, row.address) << row.hosts;
    EXPECT_EQ(plan.per_host, row.per_host) << row.hosts;
    EXPECT_FALSE(plan.is_one_host) << row.hosts;
  }
  LlmConfig config;  // as mpirun starts them
  config.rendezvous = "node1:29500";
  config.tensor_parallel = 4;
  const RanksPlan plan = plan_ranks(topology, config, /*can_start=*/false);
  EXPECT_EQ(plan.size, 4);
  EXPECT_EQ(plan.started_here, 0);
  EXPECT_TRUE(plan.per_host.empty());
}

TEST(RanksPlan, WhatMakesNoSenseIsRefused) {
  for (int ranks : {-1, 65}) {
    LlmConfig config;
    config.tensor_parallel = ranks;
    expect_error(ErrorCode::kInvalidArgument, {"tensor_parallel", std::to_string(ranks)},
                 [&] { plan_ranks(recorded("one_socket"), config, true); });
  }
  for (const char* hosts : {",", "a,", ",a", "a:0", "a:x", "a:65", "a:1:", ":2", "a:-1", "a:2x"}) {
    LlmConfig config;
    config.hosts = hosts;
    expect_error(ErrorCode::kInvalidArgument, {"hosts '", hosts},
                 [&] { plan_ranks(recorded("one_socket"), config, true); });
  }
  LlmConfig config;
  config.hosts = "a,b";
  config.tensor_parallel = 2;
  expect_error(ErrorCode::kInvalidArgument, {"tensor_parallel and hosts"},
               [&] { plan_ranks(recorded("one_socket"), config, true); });
  config = {};
  config.rendezvous = "a:1";
  expect_error(ErrorCode::kInvalidArgument, {"rendezvous a:1", "tensor_parallel"},
               [&] { plan_ranks(recorded("one_socket"), config, true); });
}

class RankGroupTest : public testing::Test {
 protected:
  void expect_refused(ErrorCode code, const std::vector<std::string>& parts) {
    const RanksPlan plan = plan_ranks(read_topology(), config_, true);
    expect_error(code, parts, [&] { RankGroup(files_, config_, plan, {}, {}); });
  }

  const ModelFiles files_ = open_model(std::string(LANNER_TESTS_DIR) + "/golden/llama-mha");
  LlmConfig config_;
};

TEST_F(RankGroupTest, AProgramThatIsNotThereIsNamed) {
  config_.tensor_parallel = 2;
  config_.worker_program = "/no/such/lanner";
  expect_refused(ErrorCode::kNotFound, {"/no/such/lanner", "worker_program"});
}

TEST_F(RankGroupTest, AProgramThatIsNoLannerIsAnError) {
  config_.tensor_parallel = 2;
  config_.worker_program = "/bin/false";
  expect_refused(ErrorCode::kIo, {"rank 1", "ended with status 1"});
}

TEST_F(RankGroupTest, RanksOfSeveralMachinesNeedASecretAndATime) {
  config_.hosts = "127.0.0.1,nowhere";
  config_.rendezvous = "127.0.0.1:0";
  expect_refused(ErrorCode::kInvalidArgument, {"a secret", "LANNER_SECRET"});
  config_.job_secret = "long enough for a test";
  config_.rendezvous_timeout = 0.05;
  expect_refused(ErrorCode::kIo, {"1 of 2 ranks have come"});
  config_.communicator = "pigeons";
  expect_refused(ErrorCode::kInvalidArgument, {"communicator 'pigeons'", "oneccl"});
  config_.communicator = "oneccl";
  config_.wire = "int8";
  expect_refused(ErrorCode::kInvalidArgument, {"wire 'int8'", "bf16"});
}

TEST_F(RankGroupTest, SumsInSharedMemoryAreFp32) {
  config_.tensor_parallel = 2;
  config_.wire = "bf16";
  for (const char* communicator : {"auto", "shm"}) {
    config_.communicator = communicator;
    expect_refused(ErrorCode::kInvalidArgument, {"wire bf16", "shared memory", "oneccl"});
  }
}

// Two ranks as threads, each with a folder of its own: every one throws `parts`.
void expect_ranks_refused(const std::string& first_folder, const std::string& second_folder,
                          const std::vector<std::string>& parts) {
  std::promise<uint16_t> listening;
  RendezvousOptions host;
  host.address.host = "127.0.0.1";
  host.secret = "long enough for a test";
  host.rank = 0;
  host.size = 2;
  host.version = "1";
  host.on_listening = [&](uint16_t port) { listening.set_value(port); };
  const auto run = [&](const RendezvousOptions& options, const std::string& folder) {
    const auto rendezvous = std::make_shared<Rendezvous>(options);
    const ModelFiles files = open_model(folder);
    expect_error(ErrorCode::kIo, parts, [&] { prepare_rank(rendezvous, files, LlmConfig{}); });
  };
  std::thread first([&] { run(host, first_folder); });
  RendezvousOptions guest = host;
  guest.rank = 1;
  guest.on_listening = {};
  guest.address.port = listening.get_future().get();
  run(guest, second_folder);
  first.join();
}

TEST(PrepareRank, AnotherModelIsNamedOnEveryRank) {
  const std::string folder = std::string(LANNER_TESTS_DIR) + "/golden/";
  expect_ranks_refused(folder + "llama-mha", folder + "llama-tied",
                       {"the model is llama ", "on rank 0", "on rank 1"});
}

// Sizes, names and types are the same; one bit of one weight is not.
TEST(PrepareRank, OtherContentOfTheWeightsIsNamedOnEveryRank) {
  namespace fs = std::filesystem;
  const TempFolder copies;
  const struct {
    const char* model;
    const char* file;  // in it; empty: the model is a file
  } kCases[] = {{"golden/llama-mha", "model.safetensors"},
                {"golden/qwen2_moe", "model.safetensors"},
                {"gguf/llama-tied-q8_0.gguf", ""}};
  for (const auto& row : kCases) {
    SCOPED_TRACE(row.model);
    const fs::path original = fs::path(LANNER_TESTS_DIR) / row.model;
    const fs::path copy = fs::path(copies.path()) / original.filename();
    fs::copy(original, copy, fs::copy_options::recursive);
    const fs::path file = *row.file == '\0' ? copy : copy / row.file;
    std::fstream weights(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto place = static_cast<std::streamoff>(fs::file_size(file) - 100);
    weights.seekg(place);
    const int byte = weights.get();
    weights.seekp(place);
    weights.put(static_cast<char>(byte ^ 1));
    weights.close();
    expect_ranks_refused(original, copy,
                         {"the content of the weights is ", "on rank 0", "on rank 1"});
  }
}

SchedulerOutput some_step() {
  SchedulerOutput output;
  output.step = 7;
  output.copies = {{.from = 1, .to = 2}};
  output.tokens = {5, 6, 7};
  output.slots = {32, 33, 64};
  output.blocks = {1, 2};
  output.sequences = {{.id = 3, .num_tokens = 2, .num_logits = 1, .num_blocks = 1, .sample = true},
                      {.id = 4,
                       .token_begin = 2,
                       .num_tokens = 1,
                       .num_logits = 1,
                       .start_position = 9,
                       .block_begin = 1,
                       .num_blocks = 1}};
  return output;
}

TEST(RankMessage, AStepArrivesAsItWasSent) {
  MessageWriter writer;
  write_step(some_step(), writer);
  const std::vector<std::byte> bytes = writer.take();
  MessageReader reader(bytes);
  const SchedulerOutput output = read_step(reader);
  const SchedulerOutput expected = some_step();
  EXPECT_EQ(output.step, expected.step);
  EXPECT_EQ(output.copies.size(), 1u);
  EXPECT_EQ(output.tokens, expected.tokens);
  EXPECT_EQ(output.slots, expected.slots);
  EXPECT_EQ(output.blocks, expected.blocks);
  ASSERT_EQ(output.sequences.size(), 2u);
  EXPECT_EQ(output.sequences[1].start_position, 9);
  EXPECT_TRUE(output.sequences[0].sample);
}

TEST(RankMessage, StepsThatContradictThemselvesAreRefused) {
  const std::vector<void (*)(SchedulerOutput&)> damages = {
      [](SchedulerOutput& o) { o.slots.pop_back(); },
      [](SchedulerOutput& o) { o.sequences[1].token_begin = 3; },
      [](SchedulerOutput& o) { o.sequences[0].num_tokens = -1; },
      [](SchedulerOutput& o) { o.sequences[1].num_blocks = 2; },
      [](SchedulerOutput& o) { o.sequences[0].num_logits = 3; },
      [](SchedulerOutput& o) { o.sequences[0].block_begin = std::numeric_limits<int32_t>::max(); },
  };
  for (const auto damage : damages) {
    SchedulerOutput output = some_step();
    damage(output);
    MessageWriter writer;
    write_step(output, writer);
    const std::vector<std::byte> bytes = writer.take();
    MessageReader reader(bytes);
    expect_error(ErrorCode::kIo, {"contradicts itself"}, [&] { read_step(reader); });
  }
}

TEST(RankMessage, MessagesThatEndTooEarlyAreRefused) {
  MessageWriter writer;
  write_step(some_step(), writer);
  const std::vector<std::byte> whole = writer.take();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::byte> bytes(whole.begin(),
                                       whole.begin() + static_cast<std::ptrdiff_t>(size));
    MessageReader reader(bytes);
    expect_error(ErrorCode::kIo, {"ends too early"}, [&] { read_step(reader); });
  }
}

TEST(RankMessage, SelectionsAndConfigurationsArriveAsTheyWereSent) {
  RowSelection row;
  row.row = 3;
  row.top_k = 40;
  row.uniforms = {0.25, 0.5};
  row.wants_logprobs = true;
  row.edits.has_mask = true;
  row.edits.mask = {1, 2, 3};
  row.edits.biases = {{5, 1.5f}};
  row.edits.counts = {{.id = 9, .output_count = 2}};
  LlmConfig config;
  config.dtype = "int8";
  config.max_tokens_per_step = 77;
  config.communicator = "oneccl";
  config.wire = "bf16";
  MessageWriter writer;
  write_selections({row, RowSelection{}}, writer);
  write_config(config, writer);
  const std::vector<std::byte> bytes = writer.take();
  MessageReader reader(bytes);
  const std::vector<RowSelection> rows = read_selections(reader);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].row, 3);
  EXPECT_EQ(rows[0].top_k, 40);
  EXPECT_EQ(rows[0].uniforms, row.uniforms);
  EXPECT_TRUE(rows[0].wants_logprobs);
  EXPECT_EQ(rows[0].edits.mask, row.edits.mask);
  EXPECT_EQ(rows[0].edits.biases[0].token_id, 5);
  EXPECT_EQ(rows[0].edits.counts[0].output_count, 2);
  EXPECT_FALSE(rows[1].edits.has_mask);
  const LlmConfig read = read_config(reader);
  EXPECT_EQ(read.dtype, "int8");
  EXPECT_EQ(read.max_tokens_per_step, 77);
  EXPECT_EQ(read.communicator, "oneccl");
  EXPECT_EQ(read.wire, "bf16");
}

}  // namespace
}  // namespace lanner
