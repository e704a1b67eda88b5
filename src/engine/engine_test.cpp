// SPDX-License-Identifier: Apache-2.0
// The loop: who may call what from where, and that one request's end is no other's business.
#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "engine/testing/tiny_model.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

EngineRequest request(std::vector<int32_t> prompt, int max_tokens) {
  EngineRequest request;
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

// Collects what a request's callback gets.
class Outcome {
 public:
  TokenCallback callback() {
    return [this](const TokenOutput& output) {
      EXPECT_FALSE(finished_) << "a call after the last one";
      ids.insert(ids.end(), output.token_ids.begin(), output.token_ids.end());
      if (output.finish_reason == FinishReason::kNone) return true;
      finished_ = true;
      reason = output.finish_reason;
      error = output.error;
      done_.set_value();
      return true;
    };
  }
  void wait() { done_.get_future().get(); }

  std::vector<int32_t> ids;
  FinishReason reason = FinishReason::kNone;
  std::string error;

 private:
  bool finished_ = false;
  std::promise<void> done_;
};

class EngineTest : public testing::Test {
 protected:
  explicit EngineTest(const std::string& golden = "llama-mha", const Json& changes = Json::object())
      : model_(golden, changes), files_(open_model(model_.path())) {
    LlmConfig config = tiny_config();
    config.max_tokens_per_step = 32;   // prompts take several steps
    config.ngram_speculation = false;  // tokens come one by one
    engine_ = std::make_unique<Engine>(files_, config, ProgressCallback());
  }

  std::vector<int32_t> run(const std::vector<int32_t>& prompt, int max_tokens) {
    Outcome outcome;
    engine_->submit(next_id_++, request(prompt, max_tokens), outcome.callback());
    outcome.wait();
    EXPECT_EQ(outcome.reason, FinishReason::kLength) << outcome.error;
    return outcome.ids;
  }

  TinyModel model_;
  ModelFiles files_;
  std::unique_ptr<Engine> engine_;
  std::atomic<RequestId> next_id_{1000};
};

TEST_F(EngineTest, AbortEndsARequestInAnyPhaseAndNoOther) {
  const std::vector<int32_t> prompt = tiny_prompt(20, 1);
  const std::vector<int32_t> expected = run(prompt, 40);

  Outcome survivor;
  auto collect_survivor = survivor.callback();
  Outcome queued;   // aborted before its first step
  Outcome prefill;  // aborted at the survivor's fourth token: 1500 tokens are not through by then
  // There is no step during a call: all three are there before the first one.
  engine_->call([&](ModelRunner&) {
    engine_->submit(1, request(prompt, 40), [&](const TokenOutput& output) {
      if (output.output_tokens == 4) engine_->abort(3);
      return collect_survivor(output);
    });
    engine_->submit(2, request(tiny_prompt(300, 2), 1000), queued.callback());
    engine_->abort(2);
    engine_->submit(3, request(tiny_prompt(1500, 3), 100), prefill.callback());
  });
  Outcome decode;  // aborted by itself
  auto collect = decode.callback();
  engine_->submit(4, request(tiny_prompt(5, 4), 1000), [&](const TokenOutput& output) {
    if (output.output_tokens == 4) engine_->abort(4);
    return collect(output);
  });
  engine_->abort(12345);  // nobody
  for (Outcome* outcome : {&queued, &prefill, &decode}) {
    outcome->wait();
    EXPECT_EQ(outcome->reason, FinishReason::kAborted);
  }
  EXPECT_TRUE(queued.ids.empty());
  EXPECT_TRUE(prefill.ids.empty());
  EXPECT_GE(decode.ids.size(), 4u);
  EXPECT_LT(decode.ids.size(), 10u);
  survivor.wait();
  EXPECT_EQ(survivor.reason, FinishReason::kLength);
  EXPECT_EQ(survivor.ids, expected);
  engine_->abort(1);  // over already
  EXPECT_EQ(run(prompt, 40), expected);
}

TEST_F(EngineTest, AnAbortedRequestIsNotCountedAsRunning) {
  Outcome outcome;
  std::promise<void> started;
  engine_->submit(1, request(tiny_prompt(5), 1000),
                  [&, collect = outcome.callback()](const TokenOutput& output) {
                    // The output that ends it may count four tokens, too.
                    const bool goes_on = output.finish_reason == FinishReason::kNone;
                    if (goes_on && output.output_tokens == 4) started.set_value();
                    return collect(output);
                  });
  started.get_future().get();
  EXPECT_EQ(engine_->stats().running_sequences, 1);
  engine_->abort(1);
  outcome.wait();
  engine_->call([](ModelRunner&) {});  // after the turn of the loop that aborted it
  EXPECT_EQ(engine_->stats().running_sequences, 0);
  EXPECT_EQ(engine_->stats().waiting_sequences, 0);
}

TEST_F(EngineTest, SeveralThreadsSubmitAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kPerThread = 5;
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < kPerThread; ++i) expected.push_back(run(tiny_prompt(3 + 20 * i, i), 12));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kPerThread; ++i) {
        EXPECT_EQ(run(tiny_prompt(3 + 20 * i, i), 12), expected[static_cast<size_t>(i)]);
        static_cast<void>(engine_->stats());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(engine_->stats().decode_tokens, kThreads * kPerThread);
}

TEST_F(EngineTest, CallbacksMaySubmitAndCall) {
  const std::vector<int32_t> expected = run(tiny_prompt(9), 5);
  Outcome second;
  bool called = false;
  engine_->submit(1, request(tiny_prompt(4), 3), [&](const TokenOutput& output) {
    if (output.finish_reason == FinishReason::kNone) return true;
    EXPECT_TRUE(engine_->is_engine_thread());
    engine_->call([&](ModelRunner& runner) { called = runner.num_threads() > 0; });
    engine_->submit(2, request(tiny_prompt(9), 5), second.callback());
    return true;
  });
  second.wait();
  EXPECT_EQ(second.ids, expected);
  EXPECT_TRUE(called);
  EXPECT_FALSE(engine_->is_engine_thread());
}

TEST_F(EngineTest, CallPassesOnWhatTheTaskThrows) {
  EXPECT_THROW(engine_->call([](ModelRunner&) { throw std::domain_error("no"); }),
               std::domain_error);
  expect_error(ErrorCode::kInvalidArgument, {"no tokens"}, [&] {
    engine_->call([](ModelRunner& runner) { runner.logits({}, 0, [](const Tensor&) {}); });
  });
  expect_error(ErrorCode::kInvalidArgument, {"2049", "2048"}, [&] {
    engine_->call(
        [](ModelRunner& runner) { runner.logits(tiny_prompt(2049), 0, [](const Tensor&) {}); });
  });
  EXPECT_EQ(run(tiny_prompt(9), 5).size(), 5u);
}

TEST_F(EngineTest, ACallbackThatThrowsEndsItsOwnRequestOnly) {
  const std::vector<int32_t> expected = run(tiny_prompt(9), 30);
  Outcome other;
  engine_->submit(1, request(tiny_prompt(9), 30), other.callback());
  std::promise<TokenOutput> last;
  std::atomic<int> calls{0};
  engine_->submit(2, request(tiny_prompt(9), 30), [&](const TokenOutput& output) -> bool {
    ++calls;
    if (output.finish_reason != FinishReason::kNone) last.set_value(output);
    if (output.output_tokens == 3) throw std::runtime_error("cannot write");
    return true;
  });
  engine_->submit(3, request(tiny_prompt(9), 30), [](const TokenOutput&) -> bool { throw 5; });
  const TokenOutput output = last.get_future().get();
  EXPECT_EQ(output.finish_reason, FinishReason::kError);
  EXPECT_NE(output.error.find("cannot write"), std::string::npos);
  other.wait();
  EXPECT_EQ(other.ids, expected);
  EXPECT_EQ(calls, 4) << "three outputs and the end";
  EXPECT_EQ(run(tiny_prompt(9), 30), expected);
}

TEST_F(EngineTest, ACallbackThatReturnsFalseHearsNoMore) {
  std::atomic<int> calls{0};
  engine_->submit(1, request(tiny_prompt(9), 30), [&](const TokenOutput&) { return ++calls < 3; });
  EXPECT_EQ(run(tiny_prompt(9), 30).size(), 30u);
  EXPECT_EQ(calls, 3);
}

TEST_F(EngineTest, AnIdInUseIsRefusedAndTheFirstGoesOn) {
  Outcome first, second;
  engine_->call([&](ModelRunner&) {
    engine_->submit(1, request(tiny_prompt(9), 200), first.callback());
    engine_->submit(1, request(tiny_prompt(9), 5), second.callback());
  });
  second.wait();
  EXPECT_EQ(second.reason, FinishReason::kError);
  EXPECT_NE(second.error.find("in use"), std::string::npos);
  first.wait();
  EXPECT_EQ(first.ids.size(), 200u);
}

TEST_F(EngineTest, DestructionAbortsWhatRunsAndRefusesWhatComesThen) {
  constexpr int kRequests = 8;
  std::atomic<int> aborted{0};
  std::atomic<int> refused{0};
  std::promise<void> running;
  for (int i = 0; i < kRequests; ++i) {
    engine_->submit(static_cast<RequestId>(i), request(tiny_prompt(50), 1900),
                    [&, i, engine = engine_.get()](const TokenOutput& output) {
                      if (output.finish_reason == FinishReason::kNone) {
                        if (i == 0 && output.output_tokens == 1) running.set_value();
                        return true;
                      }
                      EXPECT_EQ(output.finish_reason, FinishReason::kAborted);
                      ++aborted;
                      try {
                        engine->submit(99, request(tiny_prompt(5), 5), [](auto&) { return true; });
                      } catch (const Error& e) {
                        EXPECT_EQ(e.code(), ErrorCode::kCancelled);
                        ++refused;
                      }
                      engine->abort(99);
                      return true;
                    });
  }
  running.get_future().get();
  engine_.reset();
  EXPECT_EQ(aborted, kRequests);
  EXPECT_EQ(refused, kRequests);
}

TEST_F(EngineTest, DestructionRightAfterSubmitsAnswersThemAll) {
  std::atomic<int> ended{0};
  for (RequestId id = 0; id < 50; ++id) {
    engine_->submit(id, request(tiny_prompt(50), 1900), [&](const TokenOutput& output) {
      ended += output.finish_reason == FinishReason::kAborted;
      return true;
    });
  }
  engine_.reset();
  EXPECT_EQ(ended, 50);
}

TEST_F(EngineTest, CountsPromptsAndDecodedTokensApart) {
  run({7}, 5);  // a prompt of one token is a prompt
  EXPECT_EQ(engine_->stats().prefill_tokens, 1);
  EXPECT_EQ(engine_->stats().decode_tokens, 4);
  run(tiny_prompt(100), 3);
  EXPECT_EQ(engine_->stats().prefill_tokens, 101);
  EXPECT_EQ(engine_->stats().decode_tokens, 6);
  EXPECT_GT(engine_->stats().prefill_seconds, 0);
}

TEST(Engine, FailsWithWhatLoadingThrows) {
  const TinyModel model("llama-mha", {{"num_hidden_layers", 4}});  // there are three
  const ModelFiles files = open_model(model.path());
  expect_error(ErrorCode::kNotFound, {"model.layers.3"},
               [&] { Engine engine(files, tiny_config(), ProgressCallback()); });
}

// Longrope switches its frequencies at a length of the whole sequence.
class LongropeTest : public EngineTest {
 protected:
  LongropeTest()
      : EngineTest("llama-mha",
                   {{"rope_scaling",
                     {{"rope_type", "longrope"},
                      {"original_max_position_embeddings", 40},
                      {"short_factor", {1.0, 1.1, 1.0, 1.3, 1.0, 1.0, 1.2, 1.0}},
                      {"long_factor", {1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0}}}}}) {}

  // The greedy next token after a prompt that is computed from its first token on.
  int32_t next(const std::vector<int32_t>& ids) {
    int32_t best = 0;
    engine_->call([&](ModelRunner& runner) {
      runner.logits(ids, 0, [&](const Tensor& rows) {
        const float* last = rows.row<float>(rows.num_rows() - 1);
        best = static_cast<int32_t>(std::max_element(last, last + rows.size(-1)) - last);
      });
    });
    return best;
  }
};

TEST_F(LongropeTest, SequencesThatCrossTheOriginalLengthAreComputedAgain) {
  for (int length : {33, 39, 40, 41}) {
    std::vector<int32_t> ids = tiny_prompt(length, length);
    const std::vector<int32_t> generated = run(ids, 12);
    for (size_t i = 0; i < generated.size(); ++i) {
      EXPECT_EQ(generated[i], next(ids)) << "prompt of " << length << ", step " << i;
      ids.push_back(generated[i]);
    }
  }
}

TEST_F(LongropeTest, SeveralCrossInOneBatch) {
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < 5; ++i) expected.push_back(run(tiny_prompt(30 + 2 * i, i), 20));
  std::vector<Outcome> outcomes(5);
  for (int i = 0; i < 5; ++i) {
    engine_->submit(static_cast<RequestId>(i), request(tiny_prompt(30 + 2 * i, i), 20),
                    outcomes[static_cast<size_t>(i)].callback());
  }
  for (size_t i = 0; i < 5; ++i) {
    outcomes[i].wait();
    EXPECT_EQ(outcomes[i].ids, expected[i]) << i;
  }
}

}  // namespace
}  // namespace lanner
