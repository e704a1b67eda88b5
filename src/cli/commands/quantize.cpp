// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <ostream>
#include <span>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/interrupt.h"
#include "cli/load_progress.h"
#include "cli/model_tools.h"
#include "cli/options.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

// A type of folders or of GGUF files, or one of `more`.
CLI::Validator weight_type(const char* more = "") {
  return CLI::Validator(
      [more](std::string& text) {
        const auto has = [&](std::span<const char* const> names) {
          return std::ranges::find(names, text) != names.end();
        };
        if (has(kWeightDtypes) || has(kGgufDtypes) || (*more != '\0' && text == more)) {
          return std::string();
        }
        return fmt::format("'{}' is no type; known: {}, {}", text, fmt::join(kWeightDtypes, ", "),
                           fmt::join(kGgufDtypes, ", "));
      },
      "TYPE");
}

Json to_json(const QuantizeReport& report, const QuantizeCommandOptions& options) {
  return {{"target", options.target},
          {"dtype", options.quantize.dtype},
          {"source_bytes", report.source_bytes},
          {"bytes", report.bytes},
          {"quantized_tensors", report.quantized_tensors},
          {"other_tensors", report.other_tensors},
          {"notes", report.notes}};
}

}  // namespace

void add_quantize_options(CLI::App& command, QuantizeCommandOptions& options) {
  command.add_option("SOURCE", options.source, "Folder or GGUF file")->required();
  command.add_option("TARGET", options.target, "Folder to make, or a file ending with .gguf")
      ->required();
  command
      .add_option(
          "--dtype", options.quantize.dtype,
          fmt::format("Type of the matrices: {}; in a GGUF file fp32, fp16, bf16, {} [int8]",
                      fmt::join(kWeightDtypes, ", "), fmt::join(kGgufDtypes, ", ")))
      ->check(weight_type());
  command
      .add_option("--embedding-dtype", options.quantize.embedding_dtype,
                  "Type of the token vectors in a GGUF file: auto (q8_0 beside quantised matrices, "
                  "else theirs), or as --dtype [auto]")
      ->check(weight_type("auto"));
  command
      .add_option("--lora", options.quantize.lora,
                  "Folder of a LoRA adapter (PEFT) to merge first; may be given several times")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_flag("--force", options.quantize.overwrite, "Replace a model that is there");
  command
      .add_option("--threads", options.quantize.threads,
                  "Compute threads; 0: one per physical core, within the CPU quota [0]")
      ->check(whole_number(0, 4096));
  command.add_flag("--json", options.json, "Print JSON");
  command.footer(
      "\nTARGET appears whole or not at all. A folder, loaded without --dtype, gives the logits "
      "that\n"
      "SOURCE gives with this --dtype; it takes less space, and less time to load. A GGUF file is "
      "for\n"
      "other engines too.\n"
      "\nExamples:\n"
      "  lanner quantize ~/models/Llama-3.2-1B-Instruct ~/models/Llama-3.2-1B-int4 --dtype int4\n"
      "  lanner run ~/models/Llama-3.2-1B-int4 \"Why is the sky blue?\"\n"
      "  lanner quantize ~/models/Llama-3.2-1B-Instruct Llama-3.2-1B.Q4_K.gguf --dtype q4_k\n");
}

int quantize_command(const QuantizeCommandOptions& options, const ModelTools& tools,
                     Context& context) {
  check_model(options.source);
  QuantizeOptions quantize = options.quantize;
  if (quantize.threads == 0) quantize.threads = context.threads;
  QuantizeReport report;
  {
    InterruptGuard interrupts;
    LoadProgress bar(context.err, "writing");
    report = tools.quantize(options.source, options.target, quantize,
                            [&](const char* stage, int64_t done, int64_t total) {
                              if (interrupts.take()) {
                                throw Failure(kExitInterrupted, "interrupted: nothing was written");
                              }
                              if (context.err_is_terminal) bar.update(stage, done, total);
                            });
  }
  for (const std::string& note : report.notes) context.err << "note: " << note << '\n';
  if (options.json) {
    context.out << to_json(report, options).dump(2) << '\n';
  } else {
    context.out << fmt::format(
        "{}: {} of {} tensors as {}, {} instead of {}\n", options.target, report.quantized_tensors,
        report.quantized_tensors + report.other_tensors, options.quantize.dtype,
        format_bytes(report.bytes), format_bytes(report.source_bytes));
  }
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
