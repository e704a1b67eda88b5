// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <gmock/gmock.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "cli/app.h"
#include "cli/exit_codes.h"
#include "cli/model_choice.h"
#include "cli/testing/fake_llm.h"

namespace lanner::cli {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Runs the program in this process, with a fake engine, a folder of its own and text for standard
// input.
class CliTest : public testing::Test {
 protected:
  CliTest() {
    folder_ = fs::path(testing::TempDir()) / fmt::format("lanner_cli_{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "model");
    std::ofstream(folder_ / "model.gguf") << "GGUF";
  }
  ~CliTest() override { fs::remove_all(folder_); }

  int run(const std::vector<std::string>& arguments, const std::string& input = "") {
    const fs::path file = folder_ / "input";
    std::ofstream(file, std::ios::binary) << input;
    std::FILE* stream = std::fopen(file.c_str(), "rb");
    std::ostringstream out;
    std::ostringstream err;
    Context context{
        .backend = make_fake_backend(script_), .in_fd = fileno(stream), .out = out, .err = err};
    context.in_is_terminal = in_is_terminal_;
    context.out_is_terminal = out_is_terminal_;
    context.cache_dir = folder_ / "cache";
    context.threads = 3;
    const int status = run_cli(arguments, context);
    std::fclose(stream);
    out_ = out.str();
    err_ = err.str();
    return status;
  }
  std::string model() const { return folder_ / "model"; }
  std::string gguf() const { return folder_ / "model.gguf"; }
  void make_default_model(int64_t bytes) {
    fs::create_directories(folder_ / "cache/models");
    const fs::path file = folder_ / "cache/models" / kDefaultModelFile;
    std::ofstream(file) << "";
    fs::resize_file(file, static_cast<uintmax_t>(bytes));
  }
  const Request& request(size_t index = 0) const { return script_->requests.at(index); }
  std::string prompt(size_t index = 0) const {
    return std::get<std::string>(request(index).prompt);
  }

  fs::path folder_;
  std::shared_ptr<FakeScript> script_ = std::make_shared<FakeScript>();
  bool in_is_terminal_ = false;
  bool out_is_terminal_ = false;
  std::string out_;
  std::string err_;
};

// --- run -----------------------------------------------------------------------------------------

TEST_F(CliTest, RunStreamsTheAnswerToTheChatTemplatesPrompt) {
  EXPECT_EQ(run({"run", model(), "Hi", "--system", "Be brief."}), kExitOk);
  EXPECT_EQ(out_, "Hello, world\n");
  EXPECT_EQ(err_, "");
  EXPECT_EQ(prompt(), "<system>Be brief.\n<user>Hi\n<assistant>");
  EXPECT_TRUE(request().prompt_has_special_tokens);
  EXPECT_THAT(script_->loaded, ElementsAre(model()));
}

TEST_F(CliTest, RunRawSendsTheTextAsItIs) {
  EXPECT_EQ(run({"run", gguf(), "--raw"}, "Once \n"), kExitOk);
  EXPECT_EQ(prompt(), "Once \n");
  EXPECT_FALSE(request().prompt_has_special_tokens);
}

TEST_F(CliTest, RunWithoutChatTemplateSendsTheText) {
  script_->chat_template = false;
  EXPECT_EQ(run({"run", model(), "Hi"}), kExitOk);
  EXPECT_EQ(prompt(), "Hi");
  EXPECT_EQ(run({"run", model(), "Hi", "--system", "x"}), exit_code(ErrorCode::kUnsupported));
}

TEST_F(CliTest, RunReadsThePromptFromStandardInput) {
  EXPECT_EQ(run({"run", model()}, "from a pipe\n"), kExitOk);
  EXPECT_EQ(run({"run", model(), "-"}, "from a dash\r\n"), kExitOk);
  EXPECT_EQ(prompt(0), "<user>from a pipe\n<assistant>");
  EXPECT_EQ(prompt(1), "<user>from a dash\n<assistant>");
}

TEST_F(CliTest, RunRefusesToWaitForAPromptNobodyTypes) {
  in_is_terminal_ = true;
  EXPECT_EQ(run({"run", model()}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("no prompt"));
  EXPECT_EQ(run({"run", model(), ""}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("empty"));
  EXPECT_TRUE(script_->loaded.empty());
}

TEST_F(CliTest, RunTellsModelFromPrompt) {
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

TEST_F(CliTest, RunPassesOddPromptsUnchanged) {
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

TEST_F(CliTest, AModelThatDoesNotExistIsNamed) {
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

TEST_F(CliTest, TheDefaultModelMustBeThereAndWhole) {
  EXPECT_EQ(run({"run", "hi"}), exit_code(ErrorCode::kNotFound));
  EXPECT_THAT(err_, HasSubstr("scripts/get_default_model.sh"));
  make_default_model(1000);
  EXPECT_EQ(run({"run", "hi"}), exit_code(ErrorCode::kCorruptFile));
  EXPECT_THAT(err_, HasSubstr("has 1000 bytes, expected 98362432"));
  EXPECT_TRUE(script_->loaded.empty());
}

TEST_F(CliTest, SamplingOptionsOverrideTheModelsDefaults) {
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

TEST_F(CliTest, ModelOptionsReachTheEngine) {
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

TEST_F(CliTest, TokensReplaceThePrompt) {
  EXPECT_EQ(run({"run", model(), "--tokens", "1, 2,3"}), kExitOk) << err_;
  EXPECT_THAT(std::get<std::vector<int32_t>>(request().prompt), ElementsAre(1, 2, 3));
  for (const char* bad : {"", "1,,2", "a", "-1", "1,2,", "99999999999", "1 2", "1.5"}) {
    EXPECT_EQ(run({"run", model(), "--tokens", bad}), kExitUsage) << bad;
    EXPECT_THAT(err_, HasSubstr("--tokens"));
  }
  EXPECT_EQ(run({"run", model(), "prompt", "--tokens", "1"}), kExitUsage);
}

TEST_F(CliTest, LogitsOutWritesLogitsAndGeneratesNothing) {
  EXPECT_EQ(run({"run", model(), "--tokens", "4,5", "--logits-out", "l.safetensors"}), kExitOk);
  EXPECT_THAT(script_->logits_tokens, ElementsAre(4, 5));
  EXPECT_EQ(script_->logits_path, "l.safetensors");
  EXPECT_TRUE(script_->requests.empty());
  EXPECT_EQ(out_, "");
  EXPECT_EQ(run({"run", model(), "hi", "--logits-out", "x"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--tokens"));
}

TEST_F(CliTest, StatsGoToStandardErrorAfterTheAnswer) {
  EXPECT_EQ(run({"run", model(), "hi", "--stats"}), kExitOk);
  EXPECT_EQ(out_, "Hello, world\n");
  for (const char* text : {"load           500.00 ms", "TTFT", "TPOT", "100.0 tok/s", "50.0 tok/s",
                           "peak memory    3.0 MiB", "prompt tokens  5", "output tokens  3"}) {
    EXPECT_THAT(err_, HasSubstr(text));
  }
}

TEST_F(CliTest, RunJsonIsOneObject) {
  EXPECT_EQ(run({"run", model(), "hi", "--json"}), kExitOk);
  const Json json = parse_json(out_, "output");
  EXPECT_EQ(json["text"], "Hello, world");
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["output_tokens"], 3);
  EXPECT_EQ(json["stats"]["peak_memory_bytes"], 3 << 20);
}

TEST_F(CliTest, AnAnswerThatBreaksOffFailsAfterWhatThereIs) {
  script_->error = "the KV cache is on fire";
  EXPECT_EQ(run({"run", model(), "hi"}), kExitFailure);
  EXPECT_EQ(out_, "Hello, world\n");
  EXPECT_EQ(err_, "lanner: error: the KV cache is on fire\n");
}

TEST_F(CliTest, CtrlCStopsTheAnswerAndKeepsWhatThereIs) {
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

TEST_F(CliTest, ModelTextCannotSteerTheTerminal) {
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

TEST_F(CliTest, AFullDiskIsAnError) {
  std::ofstream full("/dev/full");
  std::ostringstream err;
  Context context{.backend = make_fake_backend(script_), .out = full, .err = err};
  EXPECT_EQ(run_cli({"run", model(), "hi"}, context), exit_code(ErrorCode::kIo));
  EXPECT_THAT(err.str(), HasSubstr("cannot be written"));
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
  for (const std::string& name : command_names()) EXPECT_THAT(out_, HasSubstr("  " + name + " "));
  for (const ExitCode& row : exit_codes()) EXPECT_THAT(out_, HasSubstr(row.meaning));
  EXPECT_THAT(command_names(), ElementsAre("run", "chat", "info", "tokenize", "render"));
  for (const std::string& command : command_names()) {
    EXPECT_EQ(run({command, "--help"}), kExitOk);
    const auto options = option_names(command);
    EXPECT_GE(options.size(), 2u);
    for (const std::string& option : options) EXPECT_THAT(out_, HasSubstr(option)) << command;
    EXPECT_THAT(out_, HasSubstr("MODEL"));
    EXPECT_THAT(out_, HasSubstr("Examples:"));
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
