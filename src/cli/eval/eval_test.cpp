// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <numeric>

#include "base/json.h"
#include "cli/eval/metrics.h"
#include "cli/eval/paired_logits.h"
#include "cli/eval/saved_logits.h"
#include "cli/failure.h"
#include "cli/testing/cli_fixture.h"

namespace lanner::cli {
namespace {

using testing::HasSubstr;

std::vector<int32_t> numbers(int count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 100);
  return ids;
}

TEST(EvalWindows, ScoreEveryTokenOnceWithWhatStandsBeforeIt) {
  for (const std::vector<int32_t>& prefix : {std::vector<int32_t>{}, {1}, {1, 2}}) {
    for (int length : {2, 5, 9, 10, 11, 64}) {
      for (size_t window : {5u, 8u, 100u}) {
        for (size_t stride = 1; stride + std::max<size_t>(prefix.size(), 1) <= window;
             stride += 2) {
          const std::vector<int32_t> ids = numbers(length);
          std::vector<int32_t> scored;
          for (const EvalWindow& w : eval_windows(ids, prefix, window, stride)) {
            ASSERT_LE(w.tokens.size(), window);
            ASSERT_GE(w.score_from, 1u);
            ASSERT_TRUE(std::equal(prefix.begin(), prefix.end(), w.tokens.begin()));
            scored.insert(scored.end(),
                          w.tokens.begin() + static_cast<std::ptrdiff_t>(w.score_from),
                          w.tokens.end());
          }
          // Without a prefix nothing stands before the first.
          const std::vector<int32_t> expected(ids.begin() + (prefix.empty() ? 1 : 0), ids.end());
          ASSERT_EQ(scored, expected) << length << " " << window << " " << stride;
        }
      }
    }
  }
}

TEST(EvalWindows, RefuseWhatMakesNoSense) {
  const std::vector<int32_t> prefix = {1};
  EXPECT_THROW(eval_windows(numbers(9), prefix, 8, 8), Failure);  // one place is the prefix's
  EXPECT_THROW(eval_windows(numbers(9), prefix, 8, 0), Failure);
  EXPECT_THROW(eval_windows(numbers(9), prefix, 2, 1), Failure);
  EXPECT_THROW(eval_windows(numbers(1), {}, 8, 4), Failure);
  EXPECT_NO_THROW(eval_windows(numbers(1), prefix, 8, 4));
}

TEST(EvalMetrics, EqualTheDefinition) {
  const std::vector<float> p = {1.0f, 2.0f, -1.0f, 80.0f}, q = {1.5f, 1.0f, 79.0f, 79.5f};
  const auto softmax = [](const std::vector<float>& logits) {
    std::vector<double> e;
    double sum = 0;
    for (float x : logits) sum += e.emplace_back(std::exp(double(x) - 80));
    for (double& x : e) x /= sum;
    return e;
  };
  const std::vector<double> a = softmax(p), b = softmax(q);
  double kl = 0;
  for (size_t i = 0; i < a.size(); ++i) kl += a[i] * std::log(a[i] / b[i]);
  const Divergence divergence = compare(p, q, 2);
  EXPECT_NEAR(divergence.kl, kl, 1e-6);
  EXPECT_TRUE(divergence.same_top1);
  EXPECT_NEAR(divergence.reference_nll, -std::log(a[2]), 1e-5);
  EXPECT_NEAR(divergence.nll, -std::log(b[2]), 1e-5);
  EXPECT_NEAR(negative_log_likelihood(q, 3), -std::log(b[3]), 1e-6);
  EXPECT_FALSE(compare(std::vector<float>{1, 2}, std::vector<float>{2, 1}, 0).same_top1);
  EXPECT_NEAR(compare(p, p, 0).kl, 0, 1e-12);
}

TEST(EvalMetrics, TheTallyGivesMeansAndThePercentile) {
  DivergenceTally tally;
  for (int i = 1; i <= 200; ++i) {
    tally.add({.kl = i / 1000.0, .same_top1 = i % 4 != 0, .reference_nll = 1.0, .nll = 1.1});
  }
  EXPECT_EQ(tally.tokens(), 200);
  EXPECT_NEAR(tally.mean_kl(), 0.1005, 1e-9);
  EXPECT_NEAR(tally.p99_kl(), 0.198, 1e-9);
  EXPECT_NEAR(tally.top1_agreement(), 0.75, 1e-9);
  EXPECT_NEAR(tally.perplexity_ratio(), std::exp(0.1), 1e-9);
}

class EvalTest : public CliTest {
 protected:
  std::string text_file(const std::string& text) {
    const auto path = folder_ / "text.txt";
    std::ofstream(path) << text;
    return path;
  }
};

// The fake likes the byte after the one that came.
TEST_F(EvalTest, PerplexityOfATextThatTheModelKnows) {
  const std::string text = text_file("abcdefghijklmnop");
  ASSERT_EQ(run({"eval", "perplexity", model(), "--text", text, "--window", "8", "--json"}),
            kExitOk)
      << err_;
  const Json report = Json::parse(out_);
  EXPECT_EQ(report.at("tokens"), 16);  // <s> stands before the first
  const double likely = std::log(std::exp(5.0) + 299) - 5, unlikely = likely + 5;
  EXPECT_NEAR(report.at("perplexity").get<double>(), std::exp((15 * likely + unlikely) / 16), 1e-3);
}

TEST_F(EvalTest, KlComparesTwoTypesOfCache) {
  const std::string text = text_file("hello world, hello");
  ASSERT_EQ(run({"eval", "kl", model(), "--text", text, "--kv-dtype", "int8", "--against-kv-dtype",
                 "fp32", "--window", "10", "--stride", "4", "--json"}),
            kExitOk)
      << err_;
  const Json report = Json::parse(out_);
  EXPECT_EQ(report.at("tokens"), 18);
  EXPECT_GT(report.at("mean_kl").get<double>(), 1e-3);
  EXPECT_LT(report.at("mean_kl").get<double>(), 1e-1);
  EXPECT_GE(report.at("p99_kl").get<double>(), report.at("mean_kl").get<double>());
  EXPECT_EQ(report.at("top1_agreement"), 1.0);
  EXPECT_EQ(script_->loaded.size(), 2u);
  // The table, with no progress where nobody looks.
  ASSERT_EQ(run({"eval", "kl", model(), "--text", text, "--kv-dtype", "int8", "--against-kv-dtype",
                 "fp32"}),
            kExitOk);
  EXPECT_THAT(out_, HasSubstr("mean kl"));
  EXPECT_EQ(err_, "");
}

TEST_F(EvalTest, KlAgainstSavedLogits) {
  const std::string text = text_file("hello world, hello");
  const std::string saved = folder_ / "saved.logits";
  const std::vector<std::string> common = {"eval",     "kl", model(),    "--text", text,
                                           "--window", "10", "--stride", "4",      "--json"};
  const auto run_with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return run(more);
  };
  ASSERT_EQ(run_with({"--kv-dtype", "fp32", "--save-logits", saved}), kExitOk) << err_;
  const Json written = Json::parse(out_);
  EXPECT_EQ(written.at("tokens"), 18);
  EXPECT_EQ(written.at("bytes"), std::filesystem::file_size(saved));
  EXPECT_FALSE(std::filesystem::exists(saved + ".part"));

  // The same configuration: what two bytes cost.
  ASSERT_EQ(run_with({"--kv-dtype", "fp32", "--against", saved}), kExitOk) << err_;
  Json report = Json::parse(out_);
  EXPECT_LT(std::abs(report.at("mean_kl").get<double>()), 1e-6);
  EXPECT_EQ(report.at("top1_agreement"), 1.0);
  EXPECT_THAT(report.at("reference"), HasSubstr("kv_dtype fp32, saved in"));

  ASSERT_EQ(run_with({"--kv-dtype", "int8", "--against", saved}), kExitOk) << err_;
  report = Json::parse(out_);
  ASSERT_EQ(run_with({"--kv-dtype", "int8", "--against-kv-dtype", "fp32"}), kExitOk) << err_;
  const Json direct = Json::parse(out_);
  for (const char* name : {"mean_kl", "p99_kl", "perplexity", "reference_perplexity"}) {
    EXPECT_NEAR(report.at(name).get<double>(), direct.at(name).get<double>(),
                1e-4 * direct.at(name).get<double>())
        << name;
  }
  EXPECT_EQ(report.at("top1_agreement"), direct.at("top1_agreement"));

  EXPECT_EQ(run_with({"--against", saved, "--against-kv-dtype", "fp32"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("exclude each other"));
  EXPECT_NE(run_with({"--save-logits", folder_.string()}), kExitOk);
  EXPECT_THAT(err_, HasSubstr("is a folder"));
  EXPECT_NE(run_with({"--save-logits", "/nowhere/saved"}), kExitOk);
  EXPECT_THAT(err_, HasSubstr("/nowhere/saved"));
}

// Whatever a file holds: an error that names it.
TEST_F(EvalTest, RefusesOtherAndDamagedSavedLogits) {
  const std::string text = text_file("hello world, hello");
  const std::string saved = folder_ / "saved.logits";
  ASSERT_EQ(run({"eval", "kl", model(), "--text", text, "--save-logits", saved}), kExitOk) << err_;
  std::ifstream in(saved, std::ios::binary);
  const std::string good(std::istreambuf_iterator<char>(in), {});
  const auto refusal = [&](const std::string& bytes,
                           const std::vector<std::string>& more = {}) -> std::string {
    std::ofstream(saved, std::ios::binary) << bytes;
    std::vector<std::string> arguments = {"eval", "kl",        model(), "--text",
                                          text,   "--against", saved};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_NE(run(arguments), kExitOk);
    EXPECT_THAT(err_, HasSubstr(saved));
    return err_;
  };
  const auto with = [&](size_t at, const std::string& bytes) {
    std::string changed = good;
    return changed.replace(at, bytes.size(), bytes);
  };
  EXPECT_THAT(refusal(""), HasSubstr("holds no saved logits"));
  EXPECT_THAT(refusal(good.substr(0, 39)), HasSubstr("holds no saved logits"));
  EXPECT_THAT(refusal(with(0, "GGUF")), HasSubstr("holds no saved logits"));
  EXPECT_THAT(refusal(with(28, "\xff\xff\xff\xff")), HasSubstr("holds no saved logits"));
  EXPECT_THAT(refusal(with(8, "x")), HasSubstr("another model"));
  EXPECT_THAT(refusal(with(24, "x")), HasSubstr("another model"));
  EXPECT_THAT(refusal(with(16, "x")), HasSubstr("another text"));
  EXPECT_THAT(refusal(with(32, "\xff\xff\xff\xff\xff\xff\xff\xff")), HasSubstr("another text"));
  EXPECT_THAT(refusal(good, {"--window", "9"}), HasSubstr("another text, --window or --stride"));
  EXPECT_THAT(refusal(with(41, "\x1b")), HasSubstr("no plain text"));
  EXPECT_THAT(refusal(good.substr(0, good.size() - 1)), HasSubstr("bytes, expected"));
  EXPECT_THAT(refusal(good + "x"), HasSubstr("bytes, expected"));
  const size_t first_row = good.size() - 18 * 608;
  const std::string nan("\x00\x00\xc0\x7f", 4);
  EXPECT_THAT(refusal(with(first_row, nan)), HasSubstr("no probabilities"));
  EXPECT_THAT(refusal(with(first_row + 4, nan)), HasSubstr("no probabilities"));
  std::filesystem::remove(saved);
  EXPECT_NE(run({"eval", "kl", model(), "--text", text, "--against", saved}), kExitOk);
  EXPECT_THAT(err_, HasSubstr("cannot read"));
}

TEST(SavedLogits, KeepWhatTheyState) {
  const std::string path = std::filesystem::path(testing::TempDir()) / "lanner_saved_logits";
  SavedLogitsKey key{.model = 1, .text = 2, .vocabulary = 5, .rows = 4};
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> rows = {{1.0f, -3.0f, 1.0f, 0.5f, 20.0f},
                                                {7.0f, 7.0f, 7.0f, 7.0f, 7.0f},
                                                {-inf, 3.0f, -200.0f, 2.9999f, 3.0f},
                                                {-1e30f, 0.0f, -1.0f, -30.0f, -63.0f}};
  {
    SavedLogitsWriter writer(path, key, "dtype fp32");
    for (const auto& row : rows) writer.add(row);
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.finish();
  }
  SavedLogitsReader reader(path, key);
  EXPECT_EQ(reader.configuration(), "dtype fp32");
  for (const auto& row : rows) {
    const std::span<const float> saved = reader.next();
    const float range =
        std::min(*std::ranges::max_element(row) - *std::ranges::min_element(row), 64.0f);
    EXPECT_EQ(std::ranges::max_element(saved) - saved.begin(),
              std::ranges::max_element(row) - row.begin());
    for (size_t i = 0; i < row.size(); ++i) {
      const double exact = -negative_log_likelihood(row, static_cast<int32_t>(i));
      if (exact < -64) {
        EXPECT_LT(saved[i], -63.9f);
      } else {
        EXPECT_NEAR(saved[i], exact, range / 65535.0 * 1.01 + 1e-5);
      }
    }
  }
  EXPECT_THROW(reader.next(), Failure);
  // A writer that is not finished leaves nothing, and what was there stays.
  const auto bytes = std::filesystem::file_size(path);
  {
    SavedLogitsWriter writer(path, key, "dtype fp32");
    EXPECT_THROW(writer.add(std::vector<float>{0, NAN, 0, 0, 0}), Failure);
  }
  EXPECT_EQ(std::filesystem::file_size(path), bytes);
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
  key.vocabulary = 1u << 30;
  key.rows = uint64_t{1} << 20;
  EXPECT_THROW(SavedLogitsWriter(path, key, "dtype fp32"), Failure);
  std::filesystem::remove(path);
}

TEST_F(EvalTest, RefusesWhatCannotBeEvaluated) {
  EXPECT_EQ(run({"eval", "perplexity", model()}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--text"));
  EXPECT_NE(run({"eval", "perplexity", model(), "--text", "/nowhere/text"}), kExitOk);
  EXPECT_THAT(err_, HasSubstr("/nowhere/text"));
  EXPECT_NE(run({"eval", "perplexity", model(), "--text", folder_.string()}), kExitOk);
  EXPECT_THAT(err_, HasSubstr("is a folder"));
  EXPECT_EQ(run({"eval", "perplexity", model(), "--text", text_file("")}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("fewer than two tokens"));
  EXPECT_NE(run({"eval", "perplexity", model(), "--text", text_file("\xff\xfe")}), kExitOk);
  EXPECT_THAT(err_, HasSubstr("UTF-8"));
  const std::string text = text_file("some text");
  EXPECT_EQ(run({"eval", "perplexity", model(), "--text", text, "--window", "9999"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("2048"));
  EXPECT_EQ(run({"eval", "perplexity", model(), "--text", text, "--window", "8", "--stride", "8"}),
            kExitUsage);
  EXPECT_EQ(run({"eval", "kl", model(), "--text", text}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--against-kv-dtype"));
  EXPECT_EQ(run({"eval", "kl", model(), "--text", text, "--against-kv-dtype", "int3"}), kExitUsage);
}

// What a caller throws ends both models' work, and comes out.
TEST_F(EvalTest, AnErrorEndsBothSides) {
  const Backend backend = make_fake_backend(script_);
  const auto a = backend.load("a", {}, {}), b = backend.load("b", {}, {});
  PairedLogits pair(*a, *b);
  int pieces = 0;
  EXPECT_THROW(pair.run(numbers(20),
                        [&](int64_t, std::span<const float>, std::span<const float>) {
                          if (++pieces == 3) throw std::runtime_error("enough");
                        }),
               std::runtime_error);
  EXPECT_EQ(pieces, 3);
  // And it can run again, to the end.
  int64_t rows = 0;
  pair.run(numbers(20), [&](int64_t first, std::span<const float> p, std::span<const float> q) {
    EXPECT_EQ(first, rows);
    EXPECT_EQ(p.size(), q.size());
    rows += static_cast<int64_t>(p.size() / 300);
  });
  EXPECT_EQ(rows, 20);
}

}  // namespace
}  // namespace lanner::cli
