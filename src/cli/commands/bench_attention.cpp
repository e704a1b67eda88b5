// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/interrupt.h"
#include "cli/report_table.h"

namespace lanner::cli {
namespace {

struct Interrupted {};

}  // namespace

int bench_attention_command(const BenchAttentionOptions& options, Context& context) {
  AttentionBenchmark benchmark;
  benchmark.tokens = options.tokens;
  benchmark.head_dims = options.head_dims;
  benchmark.depths = options.depths;
  benchmark.kv_dtype = options.kv_dtype == "auto" ? "fp16" : options.kv_dtype;
  benchmark.threads = options.threads > 0 ? options.threads : context.threads;
  benchmark.repeat = options.repeat;
  InterruptGuard interrupts;
  std::string report;
  try {
    report = context.backend.benchmark_attention(benchmark, [&](const std::string& next) {
      if (interrupts.take()) throw Interrupted();
      if (context.err_is_terminal) {
        context.err << "\r\033[Kmeasuring " << next << " …" << std::flush;
      }
    });
  } catch (const Interrupted&) {
    if (context.err_is_terminal) context.err << "\r\033[K";
    context.err << "interrupted\n";
    return kExitInterrupted;
  }
  if (context.err_is_terminal) context.err << "\r\033[K" << std::flush;
  context.out << (options.json ? report + "\n" : report_table(report));
  flush_output(context);
  return kExitOk;
}

}  // namespace lanner::cli
