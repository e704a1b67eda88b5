// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>

#include <fmt/format.h>

#include "base/json.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/eval/metrics.h"
#include "cli/eval/paired_logits.h"
#include "cli/eval/saved_logits.h"
#include "cli/failure.h"
#include "cli/interrupt.h"
#include "cli/load_progress.h"
#include "cli/report_table.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

struct Interrupted {};

std::string read_text(const std::string& path, const Context& context) {
  if (path == "-") return resolve_text(std::nullopt, context, "text");
  if (std::filesystem::is_directory(path)) {
    throw Failure(exit_code(ErrorCode::kNotFound), path + " is a folder, not a text file");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw Failure(exit_code(ErrorCode::kNotFound),
                  fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (const auto bad = find_invalid_utf8(text)) {
    throw Failure(exit_code(ErrorCode::kInvalidArgument),
                  fmt::format("{} is not valid UTF-8 (byte {})", path, *bad));
  }
  return text;
}

// A bar on the terminal, and what is known so far beside it.
class Progress {
 public:
  Progress(Context& context, int64_t total) : context_(context), total_(total) {}
  ~Progress() {
    if (drawn_) context_.err << "\r\033[K" << std::flush;
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done, const std::string& so_far) {
    const auto now = std::chrono::steady_clock::now();
    if (!context_.err_is_terminal || now < next_draw_) return;
    next_draw_ = now + std::chrono::milliseconds(100);
    constexpr int kBarWidth = 30;
    const int full = static_cast<int>(kBarWidth * done / std::max<int64_t>(total_, 1));
    context_.err << fmt::format("\r\033[K[{:#<{}}{:{}}] {} of {} tokens  {}", "", full, "",
                                kBarWidth - full, done, total_, so_far)
                 << std::flush;
    drawn_ = true;
  }

 private:
  Context& context_;
  int64_t total_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_draw_{};
};

std::vector<EvalWindow> make_windows(const EvalOptions& options, const std::string& text,
                                     const LLM& llm) {
  const size_t limit = static_cast<size_t>(llm.max_context());
  if (options.window > llm.max_context()) {
    throw usage_failure(fmt::format("--window {} is longer than the context of {} tokens",
                                    options.window, llm.max_context()));
  }
  const size_t window =
      options.window > 0 ? static_cast<size_t>(options.window) : std::min<size_t>(limit, 2048);
  const size_t stride =
      options.stride > 0 ? static_cast<size_t>(options.stride) : std::max<size_t>(window / 2, 1);
  // What the tokenizer puts before a text stands before every window.
  std::vector<int32_t> prefix = llm.tokenize("", /*with_special=*/true);
  const std::vector<int32_t> ids = llm.tokenize(text, /*with_special=*/false);
  return eval_windows(ids, prefix, window, stride);
}

int64_t scored_tokens(const std::vector<EvalWindow>& windows) {
  int64_t tokens = 0;
  for (const EvalWindow& window : windows) {
    tokens += static_cast<int64_t>(window.tokens.size() - window.score_from);
  }
  return tokens;
}

// Calls on_row(row, token that came after it) for the rows of a piece that are scored.
template <typename OnRow>
void for_scored_rows(const EvalWindow& window, int64_t first, size_t num_rows,
                     const OnRow& on_row) {
  for (size_t row = 0; row < num_rows; ++row) {
    const size_t next = static_cast<size_t>(first) + row + 1;
    if (next >= window.score_from && next < window.tokens.size()) on_row(row, window.tokens[next]);
  }
}

void print(const Json& report, bool as_json, Context& context) {
  context.out << (as_json ? report.dump(2) + "\n" : report_table(report.dump()));
  flush_output(context);
}

size_t vocabulary_of(const LLM& llm) {
  return parse_json(llm.report(), "report").at("model").at("vocab_size").get<size_t>();
}

std::string name_of(const LlmConfig& config) {
  return fmt::format("dtype {}, kv_dtype {}", config.dtype, config.kv_dtype);
}

int interrupted(Context& context, int64_t tokens) {
  context.err << fmt::format("interrupted after {} tokens\n", tokens);
  return kExitInterrupted;
}

// Calls on_row(logits of one position, token that came after it) for every position that is
// scored, and shows what so_far(positions scored) says. Returns kExitOk or kExitInterrupted.
template <typename OnRow, typename SoFar>
int score(LLM& llm, const std::vector<EvalWindow>& windows, Context& context, const OnRow& on_row,
          const SoFar& so_far) {
  const size_t vocabulary = vocabulary_of(llm);
  const std::string lora = only_adapter(llm);
  int64_t tokens = 0;
  InterruptGuard interrupts;
  try {
    Progress progress(context, scored_tokens(windows));
    for (const EvalWindow& window : windows) {
      llm.logits(
          window.tokens,
          [&](int64_t first, std::span<const float> rows) {
            for_scored_rows(window, first, rows.size() / vocabulary,
                            [&](size_t row, int32_t token) {
                              on_row(rows.subspan(row * vocabulary, vocabulary), token);
                              ++tokens;
                            });
            if (interrupts.take()) throw Interrupted();
            if (tokens > 0) progress.update(tokens, so_far(tokens));
          },
          lora);
    }
  } catch (const Interrupted&) {
    return interrupted(context, tokens);
  }
  return kExitOk;
}

}  // namespace

int eval_perplexity_command(const EvalOptions& options, Context& context) {
  const std::string text = read_text(options.text, context);
  const std::string path = resolve_model(options.path, context);
  const LlmConfig config = to_config(options.model, context);
  const auto llm = load_model(context, path, config);
  const std::vector<EvalWindow> windows = make_windows(options, text, *llm);
  double nll = 0;
  int64_t tokens = 0;
  const int status = score(
      *llm, windows, context,
      [&](std::span<const float> logits, int32_t token) {
        nll += negative_log_likelihood(logits, token);
        ++tokens;
      },
      [&](int64_t done) {
        return fmt::format("perplexity {:.3f}", std::exp(nll / static_cast<double>(done)));
      });
  if (status != kExitOk) return status;
  print(Json{{"perplexity", std::exp(nll / static_cast<double>(tokens))},
             {"tokens", tokens},
             {"windows", windows.size()},
             {"model", path},
             {"dtype", config.dtype},
             {"kv_dtype", config.kv_dtype}},
        options.json, context);
  return kExitOk;
}

namespace {

void print_divergence(const DivergenceTally& tally, size_t windows, const std::string& path,
                      const std::string& configuration, const std::string& reference, bool as_json,
                      Context& context) {
  print(Json{{"mean_kl", tally.mean_kl()},
             {"p99_kl", tally.p99_kl()},
             {"top1_agreement", tally.top1_agreement()},
             {"perplexity_ratio", tally.perplexity_ratio()},
             {"perplexity", tally.perplexity()},
             {"reference_perplexity", tally.reference_perplexity()},
             {"tokens", tally.tokens()},
             {"windows", windows},
             {"model", path},
             {"configuration", configuration},
             {"reference", reference}},
        as_json, context);
}

std::string so_far(const DivergenceTally& tally) {
  return fmt::format("mean KL {:.2e}, top-1 {:.2f} %", tally.mean_kl(),
                     100 * tally.top1_agreement());
}

SavedLogitsKey key_of(const LLM& llm, std::span<const EvalWindow> windows) {
  return saved_logits_key(parse_json(llm.report(), "report").at("model"), windows);
}

int save_logits(const EvalKlOptions& options, const std::string& text, Context& context) {
  const std::string path = resolve_model(options.eval.path, context);
  const LlmConfig config = to_config(options.eval.model, context);
  const auto llm = load_model(context, path, config);
  const std::vector<EvalWindow> windows = make_windows(options.eval, text, *llm);
  const SavedLogitsKey key = key_of(*llm, windows);
  SavedLogitsWriter writer(*options.save_logits, key, name_of(config));
  double nll = 0;
  int64_t tokens = 0;
  const int status = score(
      *llm, windows, context,
      [&](std::span<const float> logits, int32_t token) {
        writer.add(logits);
        nll += negative_log_likelihood(logits, token);
        ++tokens;
      },
      [](int64_t) { return "saved"; });
  if (status != kExitOk) return status;
  writer.finish();
  print(Json{{"saved_logits", *options.save_logits},
             {"bytes", saved_logits_bytes(key, name_of(config))},
             {"perplexity", std::exp(nll / static_cast<double>(tokens))},
             {"tokens", tokens},
             {"windows", windows.size()},
             {"model", path},
             {"configuration", name_of(config)}},
        options.eval.json, context);
  return kExitOk;
}

int compare_with_saved(const EvalKlOptions& options, const std::string& text, Context& context) {
  const std::string path = resolve_model(options.eval.path, context);
  const LlmConfig config = to_config(options.eval.model, context);
  const auto llm = load_model(context, path, config);
  const std::vector<EvalWindow> windows = make_windows(options.eval, text, *llm);
  SavedLogitsReader saved(*options.against, key_of(*llm, windows));
  DivergenceTally tally;
  const int status = score(
      *llm, windows, context,
      [&](std::span<const float> logits, int32_t token) {
        tally.add(compare(saved.next(), logits, token));
      },
      [&](int64_t) { return so_far(tally); });
  if (status != kExitOk) return status;
  print_divergence(tally, windows.size(), path, name_of(config),
                   fmt::format("{}, saved in {}", saved.configuration(), *options.against),
                   options.eval.json, context);
  return kExitOk;
}

}  // namespace

int eval_kl_command(const EvalKlOptions& options, Context& context) {
  const int references = (options.save_logits ? 1 : 0) + (options.against ? 1 : 0) +
                         (options.against_dtype || options.against_kv_dtype ? 1 : 0);
  if (references > 1) {
    throw usage_failure(
        "--save-logits, --against and --against-[kv-]dtype exclude each other: a run saves its "
        "logits or compares them with one reference");
  }
  const std::string text = read_text(options.eval.text, context);
  if (options.save_logits) return save_logits(options, text, context);
  if (options.against) return compare_with_saved(options, text, context);
  const std::string path = resolve_model(options.eval.path, context);
  const LlmConfig config = to_config(options.eval.model, context);
  LlmConfig against = config;
  against.dtype = options.against_dtype.value_or(config.dtype);
  against.kv_dtype = options.against_kv_dtype.value_or(config.kv_dtype);
  if (against.dtype == config.dtype && against.kv_dtype == config.kv_dtype) {
    throw usage_failure("both configurations are the same: " + name_of(config),
                        "give --against-kv-dtype, --against-dtype or --against");
  }
  const auto reference = load_model(context, path, against);
  const auto llm = load_model(context, path, config);
  const std::vector<EvalWindow> windows = make_windows(options.eval, text, *llm);
  if (windows.front().tokens.size() > static_cast<size_t>(reference->max_context())) {
    throw usage_failure(fmt::format("a window of {} tokens is longer than the context of {} that "
                                    "the second configuration has room for",
                                    windows.front().tokens.size(), reference->max_context()),
                        "give a shorter --window");
  }
  const size_t vocabulary = vocabulary_of(*llm);
  DivergenceTally tally;
  InterruptGuard interrupts;
  try {
    Progress progress(context, scored_tokens(windows));
    for (const EvalWindow& window : windows) {
      PairedLogits(*reference, *llm, only_adapter(*llm))
          .run(window.tokens,
               [&](int64_t first, std::span<const float> expected, std::span<const float> rows) {
                 for_scored_rows(window, first, rows.size() / vocabulary,
                                 [&](size_t row, int32_t token) {
                                   const size_t at = row * vocabulary;
                                   tally.add(compare(expected.subspan(at, vocabulary),
                                                     rows.subspan(at, vocabulary), token));
                                 });
                 if (interrupts.take()) throw Interrupted();
                 if (tally.tokens() == 0) return;
                 progress.update(tally.tokens(), so_far(tally));
               });
    }
  } catch (const Interrupted&) {
    return interrupted(context, tally.tokens());
  }
  print_divergence(tally, windows.size(), path, name_of(config), name_of(against),
                   options.eval.json, context);
  return kExitOk;
}

}  // namespace lanner::cli
