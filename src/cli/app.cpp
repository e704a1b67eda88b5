// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <new>
#include <ostream>
#include <sstream>
#include <type_traits>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"
#include "base/utf8.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/help_formatter.h"
#include "cli/model_tools.h"
#include "cli/options.h"
#include "cli/rank_options.h"
#include "cli/serve.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

std::string root_footer() {
  std::string text =
      "\nMODEL is a folder with config.json and *.safetensors, a GGUF file, or the OWNER/NAME of "
      "a\n"
      "model that `lanner pull` has brought into the cache. Without MODEL the default one is "
      "used:\n"
      "SmolLM2-135M-Instruct, fetched by scripts/get_default_model.sh.\n"
      "\nExamples:\n"
      "  lanner run \"Why is the sky blue?\"\n"
      "  lanner chat ~/models/Llama-3.2-1B-Instruct\n"
      "  lanner info model.gguf\n"
      "  lanner serve --port 8080\n"
      "\nExit status:\n";
  for (const ExitCode& row : exit_codes()) {
    text += fmt::format("  {:>3}  {:<20}{}\n", row.status, row.name, row.meaning);
  }
  text +=
      "\nEnvironment:\n"
      "  LANNER_CACHE      folder for models (default: $XDG_CACHE_HOME/lanner or ~/.cache/lanner)\n"
      "  LANNER_HUB_URL    where `lanner pull` gets models (else HF_ENDPOINT, "
      "https://huggingface.co)\n"
      "  LANNER_HUB_CACHE  where it keeps them (else HF_HUB_CACHE, HF_HOME/hub,\n"
      "                    ~/.cache/huggingface/hub); HF_HUB_OFFLINE=1: it uses no network\n"
      "  LANNER_HUB_TOKEN  its access token (else HF_TOKEN)\n"
      "  LANNER_THREADS    compute threads where --threads is not given\n"
      "  LANNER_LOG_LEVEL  trace, debug, info, warn, error, off (default: warn)\n"
      "  LANNER_MAX_ISA    highest instruction set to use, e.g. scalar, avx2, avx512\n"
      "  LANNER_API_KEYS   keys that `lanner serve` asks for, with commas between them\n"
      "  LANNER_SECRET     what the ranks of a job share, the same for all of them\n"
      "  NO_COLOR          set: no colours\n";
  return text;
}

// The program's grammar. Owns the options the parser fills in, and knows the command to run.
class Parser {
 public:
  // tools must outlive the parser.
  explicit Parser(const ModelTools& tools) : app_("Runs large language models on CPUs.", "lanner") {
    app_.require_subcommand(1);
    app_.formatter(std::make_shared<HelpFormatter>());  // the commands inherit it
    app_.set_help_flag("-h,--help", "Print this help and exit");
    app_.add_flag("-V,--version", version_, "Print the version and exit");
    app_.footer(root_footer());
    add("run", "Answer one prompt", run_, add_run_options, run_command);
    add("chat", "Talk with a model, turn by turn", chat_, add_chat_options, chat_command);
    add("serve", "Serve models over HTTP: OpenAI's API and a chat page", serve_, add_serve_options,
        serve_command);
    CLI::App* bench = app_.add_subcommand("bench", "Measure the machine, or a model on it");
    bench->require_subcommand(1);
    add("machine", "Bandwidth, peak arithmetic, cost of a parallel region", bench_machine_,
        add_bench_machine_options, bench_machine_command, bench);
    add("model", "Prefill and decode speed, as shares of the machine's limits", bench_model_,
        add_bench_model_options, bench_model_command, bench);
    add("op", "The micro-benchmarks of an op, kernel by kernel", bench_op_, add_bench_op_options,
        bench_op_command, bench);
    add("attention", "SlimAttention and flash attention by length, and decode attention",
        bench_attention_, add_bench_attention_options, bench_attention_command, bench);
    add("comm", "What the messages between ranks cost, by size and backend", bench_comm_,
        add_bench_comm_options, bench_comm_command, bench);
    add("ranks", "A model on several ranks against one, in turn", bench_ranks_,
        add_bench_ranks_options, bench_ranks_command, bench);
    add("plan", "Predict a model's speed on several ranks from what is measured here", plan_,
        add_plan_options, plan_command);
    CLI::App* eval =
        app_.add_subcommand("eval", "Measure how well a configuration predicts a text");
    eval->require_subcommand(1);
    add("perplexity", "Perplexity of a text", eval_perplexity_, add_eval_perplexity_options,
        eval_perplexity_command, eval);
    add("kl", "Divergence of two types of weights or KV cache on a text", eval_kl_,
        add_eval_kl_options, eval_kl_command, eval);
    add("serve", "A running server under load: latencies and goodput", bench_serve_,
        add_bench_serve_options, bench_serve_command, bench);
    add("serve-offline", "Throughput of a fixed set of requests, many at a time",
        bench_serve_offline_, add_bench_serve_offline_options, bench_serve_offline_command, bench);
    add("reuse", "What the prefix cache saves", bench_reuse_, add_bench_reuse_options,
        bench_reuse_command, bench);
    add("speculate", "Decoding with speculation over decoding without, in pairs of runs",
        bench_speculate_, add_bench_speculate_options, bench_speculate_command, bench);
    add("info", "Show the machine, and how a model would run on it", info_, add_info_options,
        info_command);
    add("doctor", "Check the machine, the limits and a model, and say what to do", doctor_,
        add_doctor_options, doctor_command);
    add("pull", "Bring a model from the Hugging Face hub into the cache", pull_, add_pull_options,
        [&tools](const PullCommandOptions& options, Context& context) {
          return pull_command(options, tools, context);
        });
    add("quantize", "Write a model with its weights in another type", quantize_,
        add_quantize_options, [&tools](const QuantizeCommandOptions& options, Context& context) {
          return quantize_command(options, tools, context);
        });
    add("tokenize", "Show the tokens of a text", tokenize_, add_tokenize_options, tokenize_command);
    add("render", "Show the prompt that a chat template makes", render_, add_render_options,
        render_command);
    add("worker", "A further rank of a model that another process runs", worker_,
        add_worker_options, worker_command);
  }

  int parse_and_run(const std::vector<std::string>& arguments, Context& context);
  const CLI::App& app() const { return app_; }

 private:
  template <typename Options>
  void add(const char* name, const char* description, Options& options,
           void (*add_options)(CLI::App&, Options&),
           std::type_identity_t<std::function<int(const Options&, Context&)>> run,
           CLI::App* parent = nullptr) {
    CLI::App* command = (parent != nullptr ? *parent : app_).add_subcommand(name, description);
    add_options(*command, options);
    command->final_callback([this, &options, run] {
      run_chosen_ = [&options, run](Context& context) {
        if constexpr (requires { options.model.ranks; }) {
          if (is_further_rank(options.model, context)) {
            return run_further_rank(options.model, context);
          }
        }
        return run(options, context);
      };
    });
  }

  CLI::App app_;
  bool version_ = false;
  RunOptions run_;
  ChatOptions chat_;
  InfoOptions info_;
  BenchMachineOptions bench_machine_;
  BenchModelOptions bench_model_;
  BenchOpOptions bench_op_;
  BenchAttentionOptions bench_attention_;
  BenchCommOptions bench_comm_;
  BenchRanksOptions bench_ranks_;
  PlanOptions plan_;
  EvalOptions eval_perplexity_;
  EvalKlOptions eval_kl_;
  ServeOptions serve_;
  BenchServeOptions bench_serve_;
  BenchServeOfflineOptions bench_serve_offline_;
  BenchReuseOptions bench_reuse_;
  BenchSpeculateOptions bench_speculate_;
  DoctorCommandOptions doctor_;
  PullCommandOptions pull_;
  QuantizeCommandOptions quantize_;
  TokenizeOptions tokenize_;
  RenderOptions render_;
  WorkerCommandOptions worker_;
  std::function<int(Context&)> run_chosen_;
};

int Parser::parse_and_run(const std::vector<std::string>& arguments, Context& context) {
  // CLI11 takes what is left of a vector from its back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app_.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    // The help of the command that was named, if one was.
    context.out << app_.help();
    flush_output(context);
    return kExitOk;
  } catch (const CLI::ParseError& e) {
    if (!version_) {
      const auto chosen = app_.get_subcommands();
      throw usage_failure(e.what(), chosen.empty()
                                        ? "lanner --help"
                                        : fmt::format("lanner {} --help", chosen[0]->get_name()));
    }
  }
  if (version_) {
    context.out << "lanner " << context.backend.version << '\n';
    flush_output(context);
    return kExitOk;
  }
  return run_chosen_(context);
}

void check_utf8(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (const auto bad = find_invalid_utf8(arguments[i])) {
      throw usage_failure(fmt::format("argument {} is not valid UTF-8 (byte {}): '{}'", i + 1, *bad,
                                      arguments[i].substr(0, *bad)));
    }
  }
}

int report(Context& context, int status, const std::string& message, const std::string& hint) {
  const char* red = context.color ? "\033[31m" : "";
  const char* plain = context.color ? "\033[0m" : "";
  context.err << fmt::format("lanner: {}error:{} {}\n", red, plain, terminal_text(message));
  if (!hint.empty()) context.err << fmt::format("hint: {}\n", terminal_text(hint));
  context.err << std::flush;
  return status;
}

// "" where the program's own path cannot be read.
std::string benchmarks_beside_program() {
  std::error_code failure;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failure);
  return failure ? "" : (program.parent_path() / "benchmarks").string();
}

}  // namespace

int run_cli(const std::vector<std::string>& arguments, Context& context, const ModelTools& tools) {
  try {
    check_utf8(arguments);
    return Parser(tools).parse_and_run(arguments, context);
  } catch (const Failure& e) {
    return report(context, e.status(), e.what(), e.hint());
  } catch (const Error& e) {
    return report(context, exit_code(e.code()), e.what(), "");
  } catch (const std::bad_alloc&) {
    return report(context, exit_code(ErrorCode::kResourceExhausted), "out of memory", "");
  } catch (const std::exception& e) {
    return report(context, kExitFailure, e.what(), "");
  } catch (...) {
    return report(context, kExitFailure, "an unknown exception", "");
  }
}

int run_program(int argc, char** argv, const Backend& backend, const ModelTools& tools) {
  Context context{
      .backend = backend,
      .in_fd = STDIN_FILENO,
      .out = std::cout,
      .err = std::cerr,
      .in_is_terminal = isatty(STDIN_FILENO) == 1,
      .out_is_terminal = isatty(STDOUT_FILENO) == 1,
      .err_is_terminal = isatty(STDERR_FILENO) == 1,
  };
  try {
    const Environment environment = read_environment();
    context.color = context.err_is_terminal && !environment.no_color;
    context.cache_dir = environment.cache_dir;
    context.threads = environment.threads.value_or(0);
    context.job_secret = environment.job_secret;
    context.launcher_rank = read_launcher_rank();
    context.benchmarks_dir = benchmarks_beside_program();
  } catch (const Error& e) {
    return report(context, exit_code(e.code()), e.what(), "");
  }
  return run_cli(std::vector<std::string>(argv + std::min(argc, 1), argv + argc), context, tools);
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  const Parser parser({});
  for (const CLI::App* command : parser.app().get_subcommands({})) {
    const auto parts = command->get_subcommands({});
    if (parts.empty()) names.push_back(command->get_name());
    for (const CLI::App* part : parts)
      names.push_back(command->get_name() + " " + part->get_name());
  }
  return names;
}

std::vector<std::string> option_names(const std::string& command) {
  const Parser parser({});
  const CLI::App* app = &parser.app();
  std::istringstream words(command);
  for (std::string word; words >> word;) app = app->get_subcommand(word);
  std::vector<std::string> names;
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

}  // namespace lanner::cli
