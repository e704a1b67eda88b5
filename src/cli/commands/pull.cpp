// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <ostream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/json.h"
#include "cli/failure.h"
#include "cli/interrupt.h"
#include "cli/load_progress.h"
#include "cli/model_tools.h"
#include "cli/options.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

// The first line of a file.
std::string read_token(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  if (!(file >> token)) {
    throw Failure(exit_code(ErrorCode::kIo), fmt::format("{}: there is no token in it", path));
  }
  return token;
}

}  // namespace

void add_pull_options(CLI::App& command, PullCommandOptions& options) {
  command.add_option("MODEL", options.id, "OWNER/NAME on the hub")->required();
  HubOptions& hub = options.hub;
  command.add_option("--revision", hub.revision, "Branch, tag or commit [main]");
  command
      .add_option("--include", hub.include,
                  "Files to take, with * and ?; may be given several times [what Lanner needs]")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_option("--mirror", hub.url,
                     "The hub's URL [$LANNER_HUB_URL, else https://huggingface.co]");
  command.add_option("--token-file", options.token_file,
                     "File with an access token; else $LANNER_HUB_TOKEN or $HF_TOKEN");
  command.add_option("--cache", hub.cache_dir,
                     "Folder [$LANNER_HUB_CACHE, else that of HF's programs]");
  command.add_option("--connections", hub.connections, "For one file at a time [4]")
      ->check(whole_number(1, 64));
  command.add_flag("--offline", hub.offline, "Use no network: say what is in the cache");
  command.add_flag("--json", options.json, "Print JSON");
  command.footer(
      "\nThe cache has the layout of huggingface_hub's and can be shared with it. What breaks off "
      "is\n"
      "resumed by the next call; every file is checked. Then the name stands for the model:\n"
      "\nExamples:\n"
      "  lanner pull HuggingFaceTB/SmolLM2-135M-Instruct\n"
      "  lanner run HuggingFaceTB/SmolLM2-135M-Instruct \"Why is the sky blue?\"\n"
      "  lanner pull bartowski/Llama-3.2-1B-Instruct-GGUF --include '*Q4_K_M.gguf'\n");
}

int pull_command(const PullCommandOptions& options, const ModelTools& tools, Context& context) {
  HubOptions hub = options.hub;
  if (options.token_file) hub.token = read_token(*options.token_file);
  PulledModel pulled;
  {
    InterruptGuard interrupts;
    LoadProgress bar(context.err, "downloading");
    pulled = tools.pull(options.id, hub, [&](const char* file, int64_t done, int64_t total) {
      if (interrupts.take()) {
        throw Failure(kExitInterrupted, "interrupted", "the same command goes on from here");
      }
      if (context.err_is_terminal) bar.update(file, done, total);
    });
  }
  if (options.json) {
    const Json json{{"path", pulled.path},
                    {"commit", pulled.commit},
                    {"files", pulled.files},
                    {"bytes", pulled.bytes},
                    {"downloaded", pulled.downloaded}};
    context.out << json.dump(2) << '\n';
  } else {
    context.out << pulled.path << '\n';
    context.err << fmt::format("{}: {} files of {}, {} downloaded\n", options.id, pulled.files,
                               format_bytes(pulled.bytes), format_bytes(pulled.downloaded));
  }
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
