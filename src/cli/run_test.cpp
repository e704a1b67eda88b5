// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "cli/testing/cli_fixture.h"

namespace lanner::cli {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

using RunTest = CliTest;

TEST_F(RunTest, RunStreamsTheAnswerToTheChatTemplatesPrompt) {
  EXPECT_EQ(run({"run", model(), "Hi", "--system", "Be brief."}), kExitOk);
  EXPECT_EQ(out_, "Hello, world\n");
  EXPECT_EQ(err_, "");
  EXPECT_EQ(prompt(), "<system>Be brief.\n<user>Hi\n<assistant>");
  EXPECT_TRUE(request().prompt_has_special_tokens);
  EXPECT_THAT(script_->loaded, ElementsAre(model()));
}

TEST_F(RunTest, RunRawSendsTheTextAsItIs) {
  EXPECT_EQ(run({"run", gguf(), "--raw"}, "Once \n"), kExitOk);
  EXPECT_EQ(prompt(), "Once \n");
  EXPECT_FALSE(request().prompt_has_special_tokens);
}

TEST_F(RunTest, RunWithoutChatTemplateSendsTheText) {
  script_->chat_template = false;
  EXPECT_EQ(run({"run", model(), "Hi"}), kExitOk);
  EXPECT_EQ(prompt(), "Hi");
  EXPECT_EQ(run({"run", model(), "Hi", "--system", "x"}), exit_code(ErrorCode::kUnsupported));
}

TEST_F(RunTest, RunReadsThePromptFromStandardInput) {
  EXPECT_EQ(run({"run", model()}, "from a pipe\n"), kExitOk);
  EXPECT_EQ(run({"run", model(), "-"}, "from a dash\r\n"), kExitOk);
  EXPECT_EQ(prompt(0), "<user>from a pipe\n<assistant>");
  EXPECT_EQ(prompt(1), "<user>from a dash\n<assistant>");
}

TEST_F(RunTest, RunRefusesToWaitForAPromptNobodyTypes) {
  in_is_terminal_ = true;
  EXPECT_EQ(run({"run", model()}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("no prompt"));
  EXPECT_EQ(run({"run", model(), ""}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("empty"));
  EXPECT_TRUE(script_->loaded.empty());
}

TEST_F(RunTest, RunTellsModelFromPrompt) {
  make_default_model(kDefaultModelBytes);
  EXPECT_EQ(run({"run", "chat"}), kExitOk);
  EXPECT_EQ(prompt(0), "<user>chat\n<assistant>");
  EXPECT_THAT(script_->loaded.back(), EndsWith(kDefaultModelFile));
  EXPECT_EQ(run({"run", model(), "info"}), kExitOk);
  EXPECT_EQ(prompt(1), "<user>info\n<assistant>");
  EXPECT_EQ(run({"run", "a path like ./x or x.gguf"}), kExitOk);
  fs::copy(gguf(), folder_ / "blob");
  EXPECT_EQ(run({"run", (folder_ / "blob").string()}, "x"), kExitOk);
  EXPECT_THAT(script_->loaded.back(), EndsWith("blob"));
}

TEST_F(RunTest, RunPassesOddPromptsUnchanged) {
  make_default_model(kDefaultModelBytes);
  const std::vector<std::string> prompts = {"[a,b]", "{}", "%%", "a=b",        "/clear it",
                                            "\"q\"", "'",  "[]", "Grüße 🌍\nb"};
  for (size_t i = 0; i < prompts.size(); ++i) {
    ASSERT_EQ(run({"run", "--raw", prompts[i]}), kExitOk) << prompts[i] << err_;
    EXPECT_EQ(prompt(i), prompts[i]);
  }
  ASSERT_EQ(run({"run", "--raw", "--", "-5 + 3"}), kExitOk) << err_;
  EXPECT_EQ(prompt(prompts.size()), "-5 + 3");
}

TEST_F(RunTest, AModelThatDoesNotExistIsNamed) {
  const int not_found = exit_code(ErrorCode::kNotFound);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", "/no/model", "hi"},
        {"run", "missing.gguf"},
        {"run", "./no"},
        {"chat", "missing"},
        {"info", "missing"},
        {"tokenize", "missing", "x"},
        {"render", "missing", "x"}}) {
    EXPECT_EQ(run(arguments), not_found) << arguments[0];
    EXPECT_THAT(err_, StartsWith("lanner: error: no such model: '" + arguments[1] + "'"));
  }
}

TEST_F(RunTest, TheDefaultModelMustBeThereAndWhole) {
  EXPECT_EQ(run({"run", "hi"}), exit_code(ErrorCode::kNotFound));
  EXPECT_THAT(err_, HasSubstr("scripts/get_default_model.sh"));
  make_default_model(1000);
  EXPECT_EQ(run({"run", "hi"}), exit_code(ErrorCode::kCorruptFile));
  EXPECT_THAT(err_, HasSubstr("has 1000 bytes, expected 98362432"));
  EXPECT_TRUE(script_->loaded.empty());
}

TEST_F(RunTest, FormsOfTheAnswerAreReadAndExcludeEachOther) {
  using Kind = StructuredOutput::Kind;
  const std::string file = folder_ / "form";
  std::ofstream(file) << "start: \"x\"";
  EXPECT_EQ(run({"run", model(), "--json-object", "hi"}), kExitOk) << err_;
  EXPECT_EQ(run({"run", model(), "--json-schema", " {\"type\": \"null\"}", "hi"}), kExitOk) << err_;
  EXPECT_EQ(run({"run", model(), "--json-schema", file, "hi"}), kExitOk) << err_;
  EXPECT_EQ(run({"run", model(), "--regex", "a+", "hi"}), kExitOk) << err_;
  EXPECT_EQ(run({"run", model(), "--choice", "[a,b]", "--choice", "c", "hi"}), kExitOk) << err_;
  EXPECT_EQ(run({"run", model(), "--grammar", file, "hi"}), kExitOk) << err_;
  EXPECT_EQ(run({"run", model(), "hi"}), kExitOk) << err_;
  const auto form = [&](size_t index) { return request(index).sampling.structured; };
  EXPECT_EQ(form(0).kind, Kind::kJsonObject);
  EXPECT_EQ(form(1).kind, Kind::kJsonSchema);
  EXPECT_EQ(form(1).source, " {\"type\": \"null\"}");
  EXPECT_EQ(form(2).source, "start: \"x\"");
  EXPECT_EQ(form(3).kind, Kind::kRegex);
  EXPECT_EQ(form(3).source, "a+");
  EXPECT_EQ(form(4).kind, Kind::kChoice);
  EXPECT_EQ(form(4).choices, (std::vector<std::string>{"[a,b]", "c"}));
  EXPECT_EQ(form(5).kind, Kind::kLark);
  EXPECT_EQ(form(6).kind, Kind::kNone);
  EXPECT_NE(run({"run", model(), "--regex", "a", "--json-object", "hi"}), kExitOk);
  EXPECT_NE(run({"run", model(), "--grammar", "missing", "hi"}), kExitOk);
  EXPECT_THAT(err_, HasSubstr("'missing' cannot be read"));
}

TEST_F(RunTest, SamplingOptionsOverrideTheModelsDefaults) {
  script_->defaults.temperature = 0.6;
  script_->defaults.top_k = 20;
  EXPECT_EQ(run({"run", model(), "hi"}), kExitOk);
  EXPECT_EQ(request(0).sampling.temperature, 0.6);
  EXPECT_EQ(request(0).sampling.top_k, 20);
  EXPECT_EQ(run({"run",
                 model(),
                 "--temperature",
                 "1.5",
                 "--top-k",
                 "7",
                 "--top-p",
                 "0.9",
                 "--min-p",
                 "0.1",
                 "--repetition-penalty",
                 "1.1",
                 "--frequency-penalty",
                 "-2",
                 "--presence-penalty",
                 "2",
                 "--seed",
                 "18446744073709551615",
                 "--max-tokens",
                 "9",
                 "--stop",
                 "[a,b]",
                 "--stop",
                 "END",
                 "--ignore-eos",
                 "hi"}),
            kExitOk)
      << err_;
  const SamplingParams& sampling = request(1).sampling;
  EXPECT_EQ(sampling.temperature, 1.5);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.min_p, 0.1);
  EXPECT_EQ(sampling.repetition_penalty, 1.1);
  EXPECT_EQ(sampling.frequency_penalty, -2);
  EXPECT_EQ(sampling.presence_penalty, 2);
  EXPECT_EQ(sampling.seed, UINT64_MAX);
  EXPECT_EQ(sampling.max_tokens, 9);
  EXPECT_THAT(sampling.stop, ElementsAre("[a,b]", "END"));
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_EQ(run({"run", model(), "hi", "--greedy"}), kExitOk);
  EXPECT_EQ(request(2).sampling.temperature, 0);
}

TEST_F(RunTest, ModelOptionsReachTheEngine) {
  EXPECT_EQ(run({"run", model(), "hi"}), kExitOk);
  EXPECT_EQ(script_->config.dtype, "auto");
  EXPECT_EQ(script_->config.threads, 3);  // from the environment
  EXPECT_EQ(run({"run", model(), "hi", "--dtype", "bf16", "--kv-dtype", "fp32", "--threads", "5",
                 "--max-context", "99"}),
            kExitOk);
  EXPECT_EQ(script_->config.dtype, "bf16");
  EXPECT_EQ(script_->config.kv_dtype, "fp32");
  EXPECT_EQ(script_->config.threads, 5);
  EXPECT_EQ(script_->config.max_context, 99);
}

TEST_F(RunTest, TokensReplaceThePrompt) {
  EXPECT_EQ(run({"run", model(), "--tokens", "1, 2,3"}), kExitOk) << err_;
  EXPECT_THAT(std::get<std::vector<int32_t>>(request().prompt), ElementsAre(1, 2, 3));
  for (const char* bad : {"", "1,,2", "a", "-1", "1,2,", "99999999999", "1 2", "1.5"}) {
    EXPECT_EQ(run({"run", model(), "--tokens", bad}), kExitUsage) << bad;
    EXPECT_THAT(err_, HasSubstr("--tokens"));
  }
  EXPECT_EQ(run({"run", model(), "prompt", "--tokens", "1"}), kExitUsage);
}

TEST_F(RunTest, LogitsOutWritesLogitsAndGeneratesNothing) {
  EXPECT_EQ(run({"run", model(), "--tokens", "4,5", "--logits-out", "l.safetensors"}), kExitOk);
  EXPECT_THAT(script_->logits_tokens, ElementsAre(4, 5));
  EXPECT_EQ(script_->logits_path, "l.safetensors");
  EXPECT_TRUE(script_->requests.empty());
  EXPECT_EQ(out_, "");
  EXPECT_EQ(run({"run", model(), "hi", "--logits-out", "x"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--tokens"));
}

TEST_F(RunTest, StatsGoToStandardErrorAfterTheAnswer) {
  EXPECT_EQ(run({"run", model(), "hi", "--stats"}), kExitOk);
  EXPECT_EQ(out_, "Hello, world\n");
  for (const char* text : {"load           500.00 ms", "TTFT", "TPOT", "100.0 tok/s", "50.0 tok/s",
                           "peak memory    3.0 MiB", "prompt tokens  5", "output tokens  3"}) {
    EXPECT_THAT(err_, HasSubstr(text));
  }
}

TEST_F(RunTest, RunJsonIsOneObject) {
  EXPECT_EQ(run({"run", model(), "hi", "--json"}), kExitOk);
  const Json json = parse_json(out_, "output");
  EXPECT_EQ(json["text"], "Hello, world");
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["output_tokens"], 3);
  EXPECT_EQ(json["stats"]["peak_memory_bytes"], 3 << 20);
}

TEST_F(RunTest, AnAnswerThatBreaksOffFailsAfterWhatThereIs) {
  script_->error = "the KV cache is on fire";
  EXPECT_EQ(run({"run", model(), "hi"}), kExitFailure);
  EXPECT_EQ(out_, "Hello, world\n");
  EXPECT_EQ(err_, "lanner: error: the KV cache is on fire\n");
}

TEST_F(RunTest, CtrlCStopsTheAnswerAndKeepsWhatThereIs) {
  script_->pieces.assign(1000, "word ");
  script_->delay = std::chrono::milliseconds(10);
  std::thread user([&] {
    while (true) {  // the first word is there: now the guard is in place
      std::this_thread::sleep_for(std::chrono::milliseconds(60));
      const std::lock_guard lock(script_->mutex);
      if (!script_->requests.empty()) break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    kill(getpid(), SIGINT);
  });
  EXPECT_EQ(run({"run", model(), "hi"}), kExitInterrupted);
  user.join();
  EXPECT_THAT(out_, StartsWith("word "));
  EXPECT_THAT(out_, EndsWith("\n"));
  EXPECT_LT(out_.size(), 1000u);
  EXPECT_GE(script_->aborts, 1);
}

TEST_F(RunTest, ModelTextCannotSteerTheTerminal) {
  script_->pieces = {"a\x1B[2J",
                     "\xC2\x9B"
                     "b\tc\n",
                     "\x07é"};
  EXPECT_EQ(run({"run", model(), "hi"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("\x1B[2J"));  // a pipe gets what the model said
  out_is_terminal_ = true;
  EXPECT_EQ(run({"run", model(), "hi"}), kExitOk);
  EXPECT_EQ(out_,
            "a\uFFFD[2J\uFFFD"
            "b\tc\n\uFFFDé\n");
}

TEST_F(RunTest, AFullDiskIsAnError) {
  std::ofstream full("/dev/full");
  std::ostringstream err;
  Context context{.backend = make_fake_backend(script_), .out = full, .err = err};
  EXPECT_EQ(run_cli({"run", model(), "hi"}, context), exit_code(ErrorCode::kIo));
  EXPECT_THAT(err.str(), HasSubstr("cannot be written"));
}

}  // namespace
}  // namespace lanner::cli
