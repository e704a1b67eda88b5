// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "cli/testing/cli_fixture.h"

namespace lanner::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(CliTest, BenchAttentionMeasuresWhatItIsTold) {
  EXPECT_EQ(run({"bench", "attention", "--tokens", "100,200", "--head-dim", "80", "--kv-dtype",
                 "int8", "--json"}),
            kExitOk);
  const Json report = Json::parse(out_);
  EXPECT_EQ(report.at("kv_dtype"), "int8");
  EXPECT_EQ(report.at("attention").at(0).at("tokens"), 100);
  EXPECT_EQ(report.at("attention").at(0).at("head_dim"), 80);
  EXPECT_EQ(err_, "");
  EXPECT_EQ(run({"bench", "attention", "--tokens", "0"}), kExitUsage);
  EXPECT_EQ(run({"bench", "attention", "--kv-dtype", "int3"}), kExitUsage);
}

TEST_F(CliTest, BenchCommIsOneRankOfSeveral) {
  EXPECT_EQ(run({"bench", "comm", "--json"}), kExitOk);
  Json report = Json::parse(out_);
  EXPECT_EQ(report.at("ranks"), 2);
  EXPECT_EQ(report.at("address"), "127.0.0.1:0");
  EXPECT_EQ(run({"bench", "comm", "--rendezvous", "node1:29500", "--rank", "0"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("set LANNER_SECRET"));
  job_secret_ = "of all the ranks";
  EXPECT_EQ(run({"bench", "comm", "--rendezvous", "node1:29500", "--rank", "0", "--ranks", "4",
                 "--wire", "bf16", "--json"}),
            kExitOk);
  report = Json::parse(out_);
  EXPECT_EQ(report.at("ranks"), 4);
  EXPECT_EQ(report.at("address"), "node1:29500");
  EXPECT_EQ(report.at("secret"), "of all the ranks");
  EXPECT_EQ(report.at("wire"), "bf16");
  // The place that a launcher gave, unless another is asked for.
  launcher_rank_ = LauncherRank{.launcher = "PMI", .rank = 1, .size = 3};
  EXPECT_EQ(run({"bench", "comm", "--rendezvous", "node1:29500"}), kExitOk);
  EXPECT_EQ(out_, "");
  launcher_rank_ = LauncherRank{.launcher = "PMI", .rank = 0, .size = 3};
  EXPECT_EQ(run({"bench", "comm", "--rendezvous", "node1:29500", "--json"}), kExitOk);
  EXPECT_EQ(Json::parse(out_).at("ranks"), 3);
  EXPECT_EQ(run({"bench", "comm", "--rank", "0"}), kExitUsage);
  EXPECT_EQ(run({"bench", "comm", "--backend", "pigeons"}), kExitUsage);
  EXPECT_EQ(run({"bench", "comm", "--bytes", "0"}), kExitUsage);
}

TEST_F(CliTest, ModelsRunOnSeveralMachines) {
  EXPECT_EQ(run({"run", model(), "hi", "--hosts", "a,b:2"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("set LANNER_SECRET"));
  job_secret_ = "of all the ranks";
  EXPECT_EQ(run({"run", model(), "hi", "--hosts", "a,b:2", "--rendezvous", "10.0.0.1:7",
                 "--rendezvous-timeout", "9", "--communicator", "fastest", "--wire", "bf16"}),
            kExitOk);
  EXPECT_EQ(script_->config.hosts, "a,b:2");
  EXPECT_EQ(script_->config.rendezvous, "10.0.0.1:7");
  EXPECT_EQ(script_->config.rendezvous_timeout, 9);
  EXPECT_EQ(script_->config.communicator, "fastest");
  EXPECT_EQ(script_->config.wire, "bf16");
  EXPECT_EQ(script_->config.job_secret, "of all the ranks");
  EXPECT_EQ(script_->config.tensor_parallel, 0);
  EXPECT_EQ(run({"run", model(), "hi", "--hosts", "a,b", "--tp", "2"}), kExitUsage);
  EXPECT_EQ(run({"run", model(), "hi", "--communicator", "pigeons"}), kExitUsage);
  EXPECT_EQ(run({"run", model(), "hi", "--wire", "int8"}), kExitUsage);
}

TEST_F(CliTest, ALauncherGivesEveryRankItsPlace) {
  job_secret_ = "of all the ranks";
  const std::vector<std::string> command = {"run", model(), "hi", "--rendezvous", "node1:29500"};
  EXPECT_EQ(run(command), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("how many ranks"));
  launcher_rank_ = LauncherRank{.launcher = "PMI", .rank = 0, .size = 3};
  EXPECT_EQ(run(command), kExitOk);
  EXPECT_EQ(script_->config.tensor_parallel, 3);
  EXPECT_EQ(script_->config.rendezvous, "node1:29500");
  EXPECT_NE(out_, "");
  // The others do what they are told by the first.
  launcher_rank_->rank = 2;
  script_->loaded.clear();
  EXPECT_EQ(run(command), kExitOk);
  EXPECT_EQ(out_, "");
  EXPECT_TRUE(script_->loaded.empty());
  EXPECT_EQ(script_->worker.rendezvous.address, "node1:29500");
  EXPECT_EQ(script_->worker.rendezvous.rank, 2);
  EXPECT_EQ(script_->worker.rendezvous.ranks, 3);
}

TEST_F(CliTest, AWorkerIsToldWhereToGo) {
  EXPECT_EQ(run({"worker"}), kExitUsage);
  EXPECT_EQ(run({"worker", "--rendezvous", "node1:29500"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("set LANNER_SECRET"));
  job_secret_ = "of all the ranks";
  EXPECT_EQ(run({"worker", "elsewhere", "--rendezvous", "node1:29500", "--rank", "3"}), kExitOk);
  EXPECT_EQ(script_->worker.path, "elsewhere");
  EXPECT_EQ(script_->worker.rendezvous.rank, 3);
  EXPECT_EQ(script_->worker.rendezvous.secret, "of all the ranks");
  EXPECT_EQ(run({"worker", "--rendezvous", "node1:29500"}), kExitOk);
  EXPECT_EQ(script_->worker.path, "");
  EXPECT_EQ(script_->worker.rendezvous.rank, -1);
}

TEST_F(CliTest, BenchRanksRunsBothInTurn) {
  EXPECT_EQ(run({"bench", "ranks", model(), "--pairs", "3", "--generate", "2", "--json"}), kExitOk);
  const Json report = Json::parse(out_);
  EXPECT_EQ(report.at("runs").size(), 2u);
  EXPECT_GT(report.at("decode").at("median").get<double>(), 0);
  EXPECT_EQ(script_->config.tensor_parallel, 1);
  EXPECT_EQ(script_->loaded.size(), 2u);
  EXPECT_EQ(script_->requests.size(), 8u);
  EXPECT_EQ(run({"bench", "ranks", "--pairs", "0"}), kExitUsage);
}

TEST_F(CliTest, PlanNeedsAConnection) {
  EXPECT_EQ(run({"plan", "llama-1b", "--ranks", "1,2,8", "--latency", "20", "--bandwidth", "12.5",
                 "--dtype", "int8", "--depth", "1000", "--json"}),
            kExitOk);
  Json report = Json::parse(out_);
  EXPECT_EQ(report.at("path"), "llama-1b");
  EXPECT_EQ(report.at("ranks"), 3);
  EXPECT_EQ(report.at("latency_us"), 20);
  EXPECT_EQ(report.at("depth"), 1000);
  EXPECT_EQ(script_->config.dtype, "int8");
  EXPECT_TRUE(script_->config.random_weights);
  const std::string file = folder_ / "comm.json";
  std::ofstream(file) << "{}";
  EXPECT_EQ(run({"plan", "llama-1b", "--comm", file, "--json"}), kExitOk);
  EXPECT_EQ(Json::parse(out_).at("communication"), 2);
  EXPECT_EQ(run({"plan", "llama-1b"}), kExitUsage);
  EXPECT_EQ(run({"plan", "llama-1b", "--latency", "20"}), kExitUsage);
  EXPECT_EQ(run({"plan", "llama-1b", "--latency", "20", "--bandwidth", "1", "--comm", file}),
            kExitUsage);
  EXPECT_EQ(run({"plan", "llama-1b", "--comm", folder_ / "none"}), exit_code(ErrorCode::kNotFound));
}

TEST_F(CliTest, AttentionIsAutoOrAMethod) {
  EXPECT_EQ(run({"run", model(), "--attention", "flash", "hi"}), kExitOk);
  EXPECT_EQ(script_->config.attention, "flash");
  EXPECT_EQ(run({"run", model(), "--attention", "fast", "hi"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("'fast' is no method; known: auto, slim, flash"));
}

// --- chat ----------------------------------------------------------------------------------------

TEST_F(CliTest, ChatFromAPipeAnswersEachLineWithTheConversation) {
  EXPECT_EQ(run({"chat", model(), "--system", "S"}, "one\n\ntwo"), kExitOk);
  EXPECT_EQ(out_, "Hello, world\nHello, world\n");
  EXPECT_EQ(err_, "");  // no prompt marks, no banner
  EXPECT_EQ(prompt(0), "<system>S\n<user>one\n<assistant>");
  EXPECT_EQ(prompt(1), "<system>S\n<user>one\n<assistant>Hello, world\n<user>two\n<assistant>");
}

TEST_F(CliTest, ChatCommandsDoWhatTheySay) {
  EXPECT_EQ(run({"chat", model()},
                "/stats\none\n/stats\n/system Be kind.\n/clear\n//two\n/system -\n/help\n"
                "/quit\nnever"),
            kExitOk);
  ASSERT_EQ(script_->requests.size(), 2u);
  EXPECT_EQ(prompt(1), "<system>Be kind.\n<user>/two\n<assistant>");
  for (const char* text : {"(no answer yet)", "peak memory", "(system message: Be kind.)",
                           "(cleared)", "(no system message)"}) {
    EXPECT_THAT(err_, HasSubstr(text));
  }
  for (const char* command : {"/help", "/clear", "/system TEXT", "/stats", "/quit", "//TEXT"}) {
    EXPECT_THAT(err_, HasSubstr(command));
  }
}

TEST_F(CliTest, ChatListsTheCommandsWhenOneIsUnknown) {
  EXPECT_EQ(run({"chat", model()}, "/exit now\n"), kExitOk);
  EXPECT_TRUE(script_->requests.empty());
  EXPECT_THAT(err_, StartsWith("unknown command /exit;"));
  EXPECT_THAT(err_, HasSubstr("/quit"));
}

TEST_F(CliTest, ChatAtATerminalGoesOnAfterAnError) {
  in_is_terminal_ = true;
  script_->longest_prompt = 40;
  EXPECT_EQ(run({"chat", model()}, std::string(50, 'x') + "\nshort\n"), kExitOk);
  EXPECT_THAT(err_, HasSubstr("error: the prompt has 68 tokens, the context 40"));
  EXPECT_EQ(prompt(0), "<user>short\n<assistant>");
}

TEST_F(CliTest, ChatFromAPipeFailsWithTheFirstError) {
  script_->longest_prompt = 40;
  EXPECT_EQ(run({"chat", model()}, std::string(50, 'x') + "\nshort\n"),
            exit_code(ErrorCode::kInvalidArgument));
  EXPECT_TRUE(script_->requests.empty());
  EXPECT_EQ(run({"chat", model()}, "\xFF\n"), exit_code(ErrorCode::kInvalidArgument));
}

TEST_F(CliTest, ChatNeedsATemplate) {
  script_->chat_template = false;
  EXPECT_EQ(run({"chat", model()}), exit_code(ErrorCode::kUnsupported));
  EXPECT_THAT(err_, HasSubstr("--raw"));
}

// --- info, tokenize, render ----------------------------------------------------------------------

TEST_F(CliTest, InfoShowsTheReportAsTableOrJson) {
  EXPECT_EQ(run({"info", model()}), kExitOk);
  EXPECT_EQ(out_, "machine\n  isa  avx2\n\nmodel\n  path  " + model() + "\n");
  EXPECT_EQ(run({"info", model(), "--json"}), kExitOk);
  EXPECT_EQ(parse_json(out_, "output")["model"]["path"], model());
}

TEST_F(CliTest, InfoWithoutAnyModelShowsTheMachine) {
  EXPECT_EQ(run({"info", "--threads", "2"}), kExitOk);
  EXPECT_EQ(out_, "machine\n  threads  2\n  l2       2.0 MiB\n");
  EXPECT_THAT(err_, HasSubstr("scripts/get_default_model.sh"));
  make_default_model(kDefaultModelBytes);
  EXPECT_EQ(run({"info"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr(kDefaultModelFile));
}

TEST_F(CliTest, QuantizeSaysWhatItWrote) {
  EXPECT_EQ(run({"quantize", model(), "new", "--dtype", "int4", "--force"}), kExitOk);
  EXPECT_EQ(out_, "new: 3 of 5 tensors as int4, 1.0 KiB instead of 2.0 KiB\n");
  EXPECT_EQ(err_, "note: something was left out\n");
  EXPECT_EQ(quantized_, model());
  EXPECT_EQ(run({"quantize", model(), "new.gguf", "--dtype", "q4_k", "--json"}), kExitOk);
  EXPECT_EQ(parse_json(out_, "output")["quantized_tensors"], 3);
  EXPECT_EQ(run({"quantize", model()}), kExitUsage);
  EXPECT_EQ(run({"quantize", model(), "new", "--dtype", "int3"}), kExitUsage);
  EXPECT_EQ(run({"quantize", folder_ / "nothing", "new"}), exit_code(ErrorCode::kNotFound));
}

TEST_F(CliTest, DoctorChecksAndSaysWhatToDo) {
  EXPECT_EQ(run({"doctor", "--json"}), kExitOk);
  const Json machine = parse_json(out_, "output")["checks"];
  EXPECT_GE(machine.size(), 10u);
  for (const Json& check : machine) {
    EXPECT_EQ(check["level"] == "ok", !check.contains("advice")) << check.dump();
  }
  EXPECT_EQ(run({"doctor", model()}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("ok    model text"));
  EXPECT_EQ(run({"doctor", folder_ / "nothing"}), exit_code(ErrorCode::kNotFound));
}

TEST_F(CliTest, PullPrintsThePath) {
  EXPECT_EQ(run({"pull", "owner/name", "--revision", "v1", "--include", "*.gguf", "--include", "x",
                 "--mirror", "http://127.0.0.1:1", "--connections", "2"}),
            kExitOk);
  EXPECT_EQ(out_, "/cache/owner/name\n");
  EXPECT_EQ(err_, "owner/name: 3 files of 2.0 KiB, 1.0 KiB downloaded\n");
  EXPECT_EQ(hub_.revision, "v1");
  EXPECT_THAT(hub_.include, ElementsAre("*.gguf", "x"));
  EXPECT_EQ(hub_.connections, 2);
  std::ofstream(folder_ / "token") << "secret\n";
  EXPECT_EQ(run({"pull", "owner/name", "--token-file", folder_ / "token", "--json"}), kExitOk);
  EXPECT_EQ(hub_.token, "secret");
  EXPECT_EQ(parse_json(out_, "output")["commit"], "abc");
  EXPECT_EQ(run({"pull", "owner/name", "--token-file", folder_ / "none"}),
            exit_code(ErrorCode::kIo));
  EXPECT_EQ(run({"pull", "owner/name", "--connections", "0"}), kExitUsage);
  EXPECT_EQ(run({"pull"}), kExitUsage);
}

TEST_F(CliTest, TheNameOfAPulledModelStandsForIt) {
  const std::string name = "owner/name";
  std::filesystem::create_directories(folder_ / "hub/models--owner--name/refs");
  std::ofstream(folder_ / "hub/models--owner--name/refs/main") << "abc";
  ::setenv("LANNER_HUB_CACHE", (folder_ / "hub").c_str(), 1);
  EXPECT_EQ(run({"run", name, "hi"}), kExitOk);
  EXPECT_EQ(run({"run", name}, "hi"), kExitOk);
  EXPECT_EQ(run({"info", name}), kExitOk);
  EXPECT_EQ(run({"chat", name}, "hi\n"), kExitOk);
  EXPECT_THAT(script_->loaded, ElementsAre(name, name, name));
  EXPECT_EQ(run({"run", "owner/other", "hi"}), exit_code(ErrorCode::kNotFound));
  EXPECT_THAT(err_, HasSubstr("lanner pull owner/other"));
  ::unsetenv("LANNER_HUB_CACHE");
}

TEST_F(CliTest, BenchMachineShowsTheLimitsAsTableOrJson) {
  EXPECT_EQ(run({"bench", "machine", "--threads", "3"}), kExitOk);
  EXPECT_EQ(out_, "machine\n  threads    3\n  read gbps  12.35\n");
  EXPECT_EQ(run({"bench", "machine", "--json"}), kExitOk);
  EXPECT_EQ(parse_json(out_, "output")["machine"]["read_gbps"], 12.345678);
}

TEST_F(CliTest, BenchRefusesWhatItCannotRun) {
  EXPECT_EQ(run({"bench"}), kExitUsage);
  for (const auto& [option, values] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"--prompt", {"0", "-1", "x"}},
           {"--generate", {"1", "0"}},
           {"--depth", {"-1", "0,x", ""}},
           {"--batch", {"0", "1,0", "1025"}},
           {"--repeat", {"0", "1001"}}}) {
    for (const std::string& value : values) {
      EXPECT_EQ(run({"bench", "model", model(), option, value}), kExitUsage) << option << value;
      EXPECT_THAT(err_, HasSubstr(option));
    }
  }
}

TEST_F(CliTest, BenchModelRunsAModelOrAConfigWithRandomWeights) {
  EXPECT_EQ(run({"bench", "model", model(), "--prompt", "8,16", "--depth", "0,4", "--batch", "2",
                 "--generate", "3", "--repeat", "7"}),
            kExitOk);
  EXPECT_EQ(script_->loaded, std::vector<std::string>{model()});
  EXPECT_FALSE(script_->config.random_weights);
  EXPECT_EQ(script_->benchmark.prompts, (std::vector<int>{8, 16}));
  EXPECT_EQ(script_->benchmark.depths, (std::vector<int>{0, 4}));
  EXPECT_EQ(script_->benchmark.batches, std::vector<int>{2});
  EXPECT_EQ(script_->benchmark.generate, 3);
  EXPECT_EQ(script_->benchmark.repeat, 7);

  EXPECT_EQ(run({"bench", "model", "--random-weights", "llama-1b", "--dtype", "int8"}), kExitOk);
  EXPECT_EQ(script_->loaded.back(), "llama-1b");
  EXPECT_TRUE(script_->config.random_weights);
  EXPECT_EQ(run({"bench", "model", model(), "--random-weights", "llama-1b"}), kExitUsage);
}

TEST_F(CliTest, BenchModelWritesAPageThatNeedsNothingElse) {
  const std::string page = folder_ / "report.html";
  EXPECT_EQ(run({"bench", "model", "--random-weights", "a</script>b", "--html", page}), kExitOk);
  std::ifstream file(page);
  const std::string html{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(html, testing::StartsWith("<!doctype html>"));
  EXPECT_THAT(html, HasSubstr("a\\u003c/script>b"));
  for (const char* outside : {"src=", "href=", "url(", "import ", "fetch(", "{{"}) {
    EXPECT_THAT(html, testing::Not(HasSubstr(outside)));
  }
  // Said before the benchmark runs.
  script_->loaded.clear();
  EXPECT_EQ(run({"bench", "model", model(), "--html", folder_ / "none" / "report.html"}),
            exit_code(ErrorCode::kIo));
  EXPECT_THAT(err_, HasSubstr("report.html"));
  EXPECT_TRUE(script_->loaded.empty());
}

TEST_F(CliTest, BenchOpRunsTheProgramsBesideIt) {
  const std::filesystem::path benchmarks = folder_ / "benchmarks";
  EXPECT_EQ(run({"bench", "op"}), exit_code(ErrorCode::kNotFound));
  EXPECT_THAT(err_, HasSubstr("LANNER_BUILD_BENCHMARKS"));

  std::filesystem::create_directories(benchmarks);
  const auto write_program = [&](const char* name, const std::string& script) {
    std::ofstream(benchmarks / name) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(benchmarks / name, std::filesystem::perms::owner_all);
  };
  write_program("gemm_bench", "echo '{\"arguments\": \"'$*'\"}'\n");
  write_program("rope_bench", "exit 3\n");
  EXPECT_EQ(run({"bench", "op", "--list"}), kExitOk);
  EXPECT_EQ(out_, "gemm\nrope\n");
  EXPECT_EQ(run({"bench", "op", "gemm", "--json", "--filter", "int8", "--repeat", "5"}), kExitOk);
  EXPECT_EQ(parse_json(out_, "output")["ops"]["gemm"]["arguments"],
            "--benchmark_filter=int8 --benchmark_repetitions=5 "
            "--benchmark_report_aggregates_only=true --benchmark_format=json");
  EXPECT_EQ(run({"bench", "op", "rope", "--json"}), kExitFailure);
  EXPECT_THAT(err_, HasSubstr("rope_bench ended with status 3"));
  EXPECT_EQ(run({"bench", "op", "rms"}), exit_code(ErrorCode::kNotFound));
  EXPECT_THAT(err_, HasSubstr("gemm, rope"));
}

TEST_F(CliTest, TokenizeShowsIdsAndPieces) {
  EXPECT_EQ(run({"tokenize", model(), "a\n"}), kExitOk);
  EXPECT_EQ(out_, "      1  \"<s>\"\n    107  \"a\"\n     20  \"\\n\"\n");
  EXPECT_EQ(run({"tokenize", model(), "--ids-only", "--no-special"}, "ab\n"), kExitOk);
  EXPECT_EQ(out_, "107,108,20\n");
  EXPECT_EQ(run({"tokenize", model(), "--decode", "1,107,108"}), kExitOk);
  EXPECT_EQ(out_, "<s>ab\n");
  EXPECT_EQ(run({"tokenize", model(), "--decode", "1,107", "--no-special"}), kExitOk);
  EXPECT_EQ(out_, "a\n");
  EXPECT_EQ(run({"tokenize", model(), "text", "--decode", "1"}), kExitUsage);
}

TEST_F(CliTest, TokenizeShowsHalfACharacterAsReplacement) {
  EXPECT_EQ(run({"tokenize", model(), "--no-special", "é"}), kExitOk);
  EXPECT_EQ(out_, "    205  \"\uFFFD\"\n    179  \"\uFFFD\"\n");
}

TEST_F(CliTest, RenderPrintsThePromptExactly) {
  EXPECT_EQ(run({"render", model(), "Hi", "--system", "S"}), kExitOk);
  EXPECT_EQ(out_, "<system>S\n<user>Hi\n<assistant>");
  EXPECT_EQ(run({"render", model(), "--no-generation-prompt"}, "Hi\n"), kExitOk);
  EXPECT_EQ(out_, "<user>Hi\n");
  const std::string json = R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"}])";
  EXPECT_EQ(run({"render", model(), "--messages", "-"}, json), kExitOk);
  EXPECT_EQ(out_, "<user>a\n<assistant>b\n<assistant>");
  const std::string file = folder_ / "messages.json";
  std::ofstream(file) << R"({"messages": )" << json << "}";
  EXPECT_EQ(run({"render", model(), "--messages", file}), kExitOk);
  EXPECT_EQ(out_, "<user>a\n<assistant>b\n<assistant>");
}

TEST_F(CliTest, TokenizeAndRenderDoNotLoadTheWeights) {
  EXPECT_EQ(run({"tokenize", model(), "a"}), kExitOk);
  EXPECT_EQ(run({"render", gguf(), "a"}), kExitOk);
  EXPECT_THAT(script_->texts_loaded, ElementsAre(model(), gguf()));
  EXPECT_TRUE(script_->loaded.empty());
}

TEST_F(CliTest, RenderRefusesMessagesItWouldNotUse) {
  for (const char* bad :
       {"", "[]", "{}", "3", "[3]", R"([{"role":"user"}])", R"([{"role":1,"content":"a"}])",
        R"([{"role":"user","content":[]}])", R"([{"role":"user","content":"a","name":"x"}])"}) {
    EXPECT_NE(run({"render", model(), "--messages", "-"}, bad), kExitOk) << bad;
    EXPECT_THAT(err_, HasSubstr("standard input")) << bad;
  }
}

// --- the command line itself ---------------------------------------------------------------------

TEST_F(CliTest, ValuesOutOfRangeNameTheirOption) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"--temperature", {"-0.1", "100.1", "nan", "inf", "1e308", "x", "", "0x1"}},
      {"--top-k", {"-1", "2147483648", "1.5", "9223372036854775808", "x"}},
      {"--top-p", {"0", "1.01", "-1", "nan"}},
      {"--min-p", {"-0.1", "1.1", "nan"}},
      {"--repetition-penalty", {"0", "101", "-1", "nan"}},
      {"--frequency-penalty", {"-2.1", "2.1", "nan"}},
      {"--presence-penalty", {"-2.1", "2.1", "nan"}},
      {"--seed", {"-1", "18446744073709551616", "x"}},
      {"--max-tokens", {"0", "-1", "2147483648"}},
      {"--stop", {""}},
      {"--dtype", {"fp12", ""}},
      {"--kv-dtype", {"fp12", ""}},
      {"--threads", {"-1", "4097", "two"}},
      {"--tp", {"-1", "65", "two"}},
      {"--max-context", {"-1", "2147483648"}},
  };
  for (const auto& [option, values] : cases) {
    for (const std::string& value : values) {
      EXPECT_EQ(run({"run", model(), "hi", option, value}), kExitUsage) << option << " " << value;
      EXPECT_THAT(err_, HasSubstr(option));
      EXPECT_THAT(err_, HasSubstr("lanner run --help"));
    }
    EXPECT_EQ(run({"run", model(), "hi", option}), kExitUsage) << option;
  }
  EXPECT_TRUE(script_->loaded.empty());
}

TEST_F(CliTest, MistakesOnTheCommandLineAreUsageErrors) {
  const std::vector<std::vector<std::string>> cases = {
      {},
      {"fly"},
      {"run", model(), "hi", "--no-such-option"},
      {"run", "a", "b", "c"},
      {"run", model(), "hi", "--greedy", "--temperature", "1"},
      {"run", model(), "hi", "--raw", "--system", "x"},
      {"run", model(), "hi", "--temperature", "1", "--temperature", "2"},
      {"chat", model(), "hi"},
      {"tokenize", model(), "--ids-only", "--decode", "1"},
      {"run", "\xC3\x28"},
      {"run", "\xED\xA0\x80"},
  };
  for (const auto& arguments : cases) {
    EXPECT_EQ(run(arguments), kExitUsage) << testing::PrintToString(arguments) << out_;
    EXPECT_THAT(err_, StartsWith("lanner: error: ")) << testing::PrintToString(arguments);
  }
  std::vector<std::string> many = {"run", model(), "hi"};
  for (int i = 0; i < 17; ++i) many.insert(many.end(), {"--stop", "x"});
  EXPECT_EQ(run(many), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--stop: 17 texts, at most 16"));
}

TEST_F(CliTest, VersionIsPrinted) {
  EXPECT_EQ(run({"--version"}), kExitOk);
  EXPECT_EQ(out_, "lanner 1.2.3\n");
}

TEST_F(CliTest, HelpMentionsEveryCommandOptionAndStatus) {
  EXPECT_EQ(run({"--help"}), kExitOk);
  for (const std::string& name : command_names()) {
    EXPECT_THAT(out_, HasSubstr("  " + name.substr(0, name.find(' ')) + " "));
  }
  for (const ExitCode& row : exit_codes()) EXPECT_THAT(out_, HasSubstr(row.meaning));
  EXPECT_THAT(command_names(),
              ElementsAre("run", "chat", "serve", "bench machine", "bench model", "bench op",
                          "bench attention", "bench comm", "bench ranks", "bench serve",
                          "bench serve-offline", "bench reuse", "bench speculate", "plan",
                          "eval perplexity", "eval kl", "info", "doctor", "pull", "quantize",
                          "tokenize", "render", "worker"));
  for (const std::string& command : command_names()) {
    std::istringstream stream(command + " --help");
    EXPECT_EQ(run({std::istream_iterator<std::string>(stream), {}}), kExitOk);
    const auto options = option_names(command);
    EXPECT_GE(options.size(), 2u);
    for (const std::string& option : options) EXPECT_THAT(out_, HasSubstr(option)) << command;
    EXPECT_THAT(out_, HasSubstr("Example"));
  }
}

TEST_F(CliTest, EveryErrorCodeHasAStatusOfItsOwn) {
  std::set<int> seen;
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    const int status = exit_code(code);
    EXPECT_GE(status, 3) << error_code_name(code);
    EXPECT_TRUE(seen.insert(status).second) << error_code_name(code);
    script_ = std::make_shared<FakeScript>();
    std::ostringstream out;
    std::ostringstream err;
    Context context{.backend = make_fake_backend(script_), .out = out, .err = err};
    context.backend.load = [&](const std::string&, const LlmConfig&,
                               const ProgressCallback&) -> std::unique_ptr<LLM> {
      throw Error(code, "the engine says no");
    };
    EXPECT_EQ(run_cli({"run", model(), "hi"}, context), status);
    EXPECT_EQ(err.str(), "lanner: error: the engine says no\n");
  }
  EXPECT_EQ(seen.size() + 4, exit_codes().size());
}

TEST_F(CliTest, UnexpectedExceptionsAreCaught) {
  std::ostringstream out;
  std::ostringstream err;
  Context context{.backend = make_fake_backend(script_), .out = out, .err = err};
  context.backend.machine_report = [](const LlmConfig&) -> std::string {
    throw std::runtime_error("odd");
  };
  EXPECT_EQ(run_cli({"info"}, context), kExitFailure);
  context.backend.machine_report = [](const LlmConfig&) -> std::string { throw std::bad_alloc(); };
  EXPECT_EQ(run_cli({"info"}, context), exit_code(ErrorCode::kResourceExhausted));
  context.backend.machine_report = [](const LlmConfig&) -> std::string { throw 3; };
  EXPECT_EQ(run_cli({"info"}, context), kExitFailure);
}

}  // namespace
}  // namespace lanner::cli
