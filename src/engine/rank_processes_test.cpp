// SPDX-License-Identifier: Apache-2.0
// What ranks are told, and where they run.
#include "engine/rank_processes.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "base/testing/recorded_machine.h"
#include "engine/rank_message.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

Topology recorded(const std::string& name) {
  const RecordedMachine machine(std::string(LANNER_TESTS_DIR) + "/topology/" + name + ".txt");
  std::vector<int> all(64);
  std::iota(all.begin(), all.end(), 0);
  return read_topology({.root = machine.root(), .affinity = all});
}

std::set<int> nodes_of(const Topology& topology, const ThreadPlan& threads) {
  std::set<int> nodes;
  for (const Cpu& cpu : topology.cpus) {
    if (std::ranges::find(threads.cpus, cpu.id) != threads.cpus.end()) nodes.insert(cpu.numa_node);
  }
  return nodes;
}

TEST(RankLayout, OneRankForEachNodeWhereThereAreSeveral) {
  const Topology topology = recorded("two_sockets_interleaved");
  const RankLayout layout = plan_ranks(topology, LlmConfig{}, /*can_start=*/true);
  ASSERT_EQ(layout.size(), 2);
  EXPECT_TRUE(layout.has_cpu_for_each);
  const std::set<int> first = nodes_of(topology, layout.threads[0]);
  const std::set<int> second = nodes_of(topology, layout.threads[1]);
  EXPECT_EQ(first.size(), 1u);
  EXPECT_EQ(second.size(), 1u);
  EXPECT_NE(first, second);
  EXPECT_EQ(plan_ranks(topology, LlmConfig{}, /*can_start=*/false).size(), 1);
  EXPECT_EQ(plan_ranks(recorded("one_socket"), LlmConfig{}, /*can_start=*/true).size(), 1);
}

TEST(RankLayout, ThreadsAreDealtOutAndEveryRankHasOne) {
  const Topology topology = recorded("two_sockets_interleaved");
  LlmConfig config;
  for (int threads : {1, 3, 8}) {
    for (int ranks : {1, 2, 3, 5}) {
      config.threads = threads;
      config.tensor_parallel = ranks;
      const RankLayout layout = plan_ranks(topology, config, /*can_start=*/false);
      ASSERT_EQ(layout.size(), ranks);
      EXPECT_EQ(layout.has_cpu_for_each, ranks <= threads);
      size_t count = 0;
      std::set<int> cpus;
      for (const ThreadPlan& plan : layout.threads) {
        EXPECT_FALSE(plan.cpus.empty());
        EXPECT_FALSE(plan.reason.empty());
        count += plan.cpus.size();
        cpus.insert(plan.cpus.begin(), plan.cpus.end());
      }
      if (!layout.has_cpu_for_each) continue;
      EXPECT_EQ(count, static_cast<size_t>(threads));
      EXPECT_EQ(cpus.size(), count) << "no CPU is in two ranks";
    }
  }
}

TEST(RankLayout, NumbersThatMakeNoSenseAreRefused) {
  for (int ranks : {-1, 65}) {
    LlmConfig config;
    config.tensor_parallel = ranks;
    expect_error(ErrorCode::kInvalidArgument, {"tensor_parallel", std::to_string(ranks)},
                 [&] { plan_ranks(recorded("one_socket"), config, true); });
  }
}

TEST(RankProcesses, AProgramThatIsNotThereIsNamed) {
  LlmConfig config;
  config.tensor_parallel = 2;
  config.worker_program = "/no/such/lanner";
  const ModelFiles files = open_model(std::string(LANNER_TESTS_DIR) + "/golden/llama-mha");
  const RankLayout layout = plan_ranks(read_topology(), config, true);
  expect_error(ErrorCode::kNotFound, {"/no/such/lanner", "worker_program"},
               [&] { RankProcesses(files, config, layout); });
}

TEST(RankProcesses, AProgramThatIsNoLannerIsAnError) {
  LlmConfig config;
  config.tensor_parallel = 2;
  config.worker_program = "/bin/false";
  const ModelFiles files = open_model(std::string(LANNER_TESTS_DIR) + "/golden/llama-mha");
  const RankLayout layout = plan_ranks(read_topology(), config, true);
  expect_error(ErrorCode::kIo, {"rank 1", "ended with status 1"},
               [&] { RankProcesses(files, config, layout); });
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
}

}  // namespace
}  // namespace lanner
