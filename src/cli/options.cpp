// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <climits>
#include <span>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/rank_options.h"
#include "lanner/config.h"

namespace lanner::cli {
namespace {

constexpr size_t kMaxStopStrings = 16;
constexpr const char* kModelHelp = "Folder or GGUF file; none: the default model";

// A number in [low, high], or above `low` and up to `high`. Unlike CLI::Range it refuses NaN.
CLI::Validator in_range(double low, double high, bool open_low = false) {
  const std::string range = fmt::format("{}{}, {}]", open_low ? "(" : "[", low, high);
  return CLI::Validator(
      [=](std::string& text) {
        double value = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool number = failure == std::errc() && end == text.data() + text.size();
        const bool fits = (open_low ? value > low : value >= low) && value <= high;
        if (number && fits) return std::string();
        return fmt::format("'{}' is not in {}", text, range);
      },
      "X in " + range);
}

// "auto" or one of the names that the engine takes for a `what`.
CLI::Validator name_or_auto(std::span<const char* const> names, const char* what) {
  std::string known = fmt::format("auto, {}", fmt::join(names, ", "));
  std::string placeholder = what;
  std::ranges::transform(placeholder, placeholder.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return CLI::Validator(
      [names, what, known = std::move(known)](std::string& text) {
        if (text == "auto" || std::ranges::find(names, text) != names.end()) return std::string();
        return fmt::format("'{}' is no {}; known: {}", text, what, known);
      },
      placeholder);
}

CLI::Validator dtype_or_auto(std::span<const char* const> names) {
  return name_or_auto(names, "type");
}

}  // namespace

void add_model_options(CLI::App& command, ModelOptions& options) {
  const char* group = "Model";
  command
      .add_option("--dtype", options.dtype,
                  fmt::format("Type of the weights: auto (as in the file), {} [auto]",
                              fmt::join(kWeightDtypes, ", ")))
      ->check(dtype_or_auto(kWeightDtypes))
      ->group(group);
  command
      .add_option(
          "--kv-dtype", options.kv_dtype,
          fmt::format("Type of the KV cache: auto (fp16), {} [auto]", fmt::join(kKvDtypes, ", ")))
      ->check(dtype_or_auto(kKvDtypes))
      ->group(group);
  command
      .add_option("--attention", options.attention,
                  fmt::format("Attention of prompts: auto (the faster for each length, measured at "
                              "the start), {} [auto]",
                              fmt::join(kAttentionMethods, ", ")))
      ->check(name_or_auto(kAttentionMethods, "method"))
      ->group(group);
  command
      .add_option("--threads", options.threads,
                  "Compute threads; 0: one per physical core, within the CPU quota [0]")
      ->check(whole_number(0, 4096))
      ->group(group);
  command
      .add_option("--tp", options.tensor_parallel,
                  "Ranks that compute the model together, each a process with its share of the "
                  "weights and threads; 0: one per NUMA node [0]")
      ->check(whole_number(0, 64))
      ->group(group);
  command
      .add_option("--max-context", options.max_context,
                  "Longest prompt and answer together in tokens; 0: what the model was trained "
                  "for, as far as the memory allows [0]")
      ->check(whole_number(0, INT_MAX))
      ->group(group);
  command
      .add_flag("--no-prefix-cache", options.no_prefix_cache,
                "Compute every prompt whole, also where it begins like an earlier one")
      ->group(group);
  command
      .add_flag("--no-speculation", options.no_speculation,
                "Generate every token on its own, also where text repeats itself")
      ->group(group);
  CLI::Option* draft = command.add_option(
      "--draft", options.draft_model,
      "A smaller model with the same vocabulary that proposes tokens: the same text, faster where "
      "it is often right");
  draft->type_name("MODEL")->group(group);
  command
      .add_option("--draft-dtype", options.draft_dtype, "Type of its weights, as --dtype [auto]")
      ->check(dtype_or_auto(kWeightDtypes))
      ->needs(draft)
      ->group(group);
  command
      .add_option("--draft-tokens", options.draft_tokens,
                  "Tokens proposed at once; 0: as many as pay off [0]")
      ->check(whole_number(0, 16))
      ->group(group);
  CLI::Option* lora = command.add_option(
      "--lora", options.lora,
      "A LoRA adapter, a folder as PEFT writes it; may be given several times where requests name "
      "theirs (serve)");
  lora->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("[NAME=]FOLDER")
      ->group(group);
  command
      .add_flag("--lora-merge", options.lora_merge,
                "Add the adapters to the weights at loading instead of computing them beside")
      ->needs(lora)
      ->group(group);
}

// A text that may be given several times.
void add_texts(CLI::App& command, const char* name, std::vector<std::string>& texts,
               const char* help, const char* group) {
  command.add_option(name, texts, help)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator(
          [](std::string& text) {
            if (text.empty()) return std::string("the text is empty");
            return std::string();
          },
          "TEXT"))
      ->group(group);
}

void add_answers_options(CLI::App& command, AnswersOptions& options) {
  const char* group = "Several answers";
  command.add_option("--n", options.n, "So many answers")
      ->check(whole_number(1, 128))
      ->group(group);
  CLI::Option* best_of = command.add_option("--best-of", options.best_of,
                                            "Generate so many answers and print the --n likeliest");
  best_of->check(whole_number(1, 128))->group(group);
  command
      .add_option("--beams", options.beams, "Beam search with so many beams; prints the --n best")
      ->check(whole_number(2, 64))
      ->group(group)
      ->excludes(best_of);
  command
      .add_option("--length-penalty", options.length_penalty,
                  "Beams: above 0 favours long answers [1]")
      ->check(in_range(-10, 10))
      ->group(group);
  command
      .add_option("--early-stopping", options.early_stopping,
                  "Beams: when to end: heuristic, always (as soon as there are enough), never "
                  "(only when nothing better can come) [heuristic]")
      ->check(CLI::IsMember({"heuristic", "always", "never"}))
      ->group(group);
  command
      .add_option("--logprobs", options.logprobs,
                  "With --json: the log-probability of every token and of so many of the likeliest "
                  "ones at its place")
      ->check(whole_number(0, 20))
      ->group(group)
      ->needs("--json");
}

namespace {

void add_sampling_options(CLI::App& command, SamplingOptions& options) {
  const char* group = "Sampling (defaults: the model's generation_config.json, else greedy)";
  CLI::Option* temperature =
      command.add_option("--temperature", options.temperature,
                         "Randomness: 0 is greedy, 1 the model's own distribution");
  temperature->check(in_range(0, 100))->group(group);
  command.add_flag("--greedy", options.greedy, "Always the likeliest token: --temperature 0")
      ->excludes(temperature)
      ->group(group);
  command.add_option("--top-k", options.top_k, "Sample from the K likeliest tokens; 0: from all")
      ->check(whole_number(0, INT_MAX))
      ->group(group);
  command
      .add_option("--top-p", options.top_p,
                  "Sample from the smallest set of tokens with this probability together")
      ->check(in_range(0, 1, true))
      ->group(group);
  command
      .add_option("--min-p", options.min_p,
                  "Sample from tokens with at least this part of the best one's probability")
      ->check(in_range(0, 1))
      ->group(group);
  command
      .add_option("--typical-p", options.typical_p,
                  "Sample from the tokens of about the expected surprise, with this probability "
                  "together")
      ->check(in_range(0, 1, true))
      ->group(group);
  command
      .add_option("--repetition-penalty", options.repetition_penalty,
                  "Above 1: avoid tokens of the prompt and the answer")
      ->check(in_range(0, 100, true))
      ->group(group);
  command
      .add_option("--frequency-penalty", options.frequency_penalty,
                  "Subtracted from a logit for each time its token is in the answer")
      ->check(in_range(-2, 2))
      ->group(group);
  command
      .add_option("--presence-penalty", options.presence_penalty,
                  "Subtracted from a logit if its token is in the answer")
      ->check(in_range(-2, 2))
      ->group(group);
  command.add_option("--seed", options.seed, "The same seed gives the same text")
      ->check(whole_number<uint64_t>(0, UINT64_MAX))
      ->group(group);
  command
      .add_option("--max-tokens", options.max_tokens,
                  "End the answer after so many tokens (default: when the context is full)")
      ->check(whole_number(1, INT_MAX))
      ->group(group);
  command
      .add_option("--min-tokens", options.min_tokens, "Do not end the answer before so many tokens")
      ->check(whole_number(0, INT_MAX))
      ->group(group);
  add_texts(command, "--bad-word", options.bad_words,
            "A text that must not be in the answer; may be given several times", group);
  command
      .add_option("--logit-bias", options.logit_bias,
                  "Add to the logit of a token, e.g. 42:-5; may be given several times")
      ->type_name("ID:BIAS")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  command.add_flag("--include-stop", options.include_stop, "Keep the text of --stop in the answer")
      ->group(group);
  command
      .add_option(
          "--stop", options.stop,
          fmt::format("End the answer before this text; may be given {} times", kMaxStopStrings))
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator(
          [](std::string& text) {
            if (text.empty()) return std::string("the text is empty");
            return std::string();
          },
          "TEXT"))
      ->group(group);
  command.add_flag("--ignore-eos", options.ignore_eos, "Go on after the model's end token")
      ->group(group);
  command.parse_complete_callback([&options] {
    if (options.stop.size() > kMaxStopStrings) {
      throw CLI::ValidationError("--stop", fmt::format("{} texts, at most {} are possible",
                                                       options.stop.size(), kMaxStopStrings));
    }
  });
}

// [MODEL] [TEXT]: told apart later, by tell_model_from_text.
void add_positionals(CLI::App& command, ModelAndText& given, const char* text_name,
                     const std::string& text_help) {
  command.add_option("MODEL", given.model, kModelHelp)->type_name("");
  command.add_option(text_name, given.text, text_help)->type_name("");
}

constexpr const char* kModelOrText =
    "\nA single argument is MODEL if it is a folder or a GGUF file, and the text for the default\n"
    "model otherwise; with two the first is MODEL. A text that starts with '-' goes after '--'.\n";

CLI::Option* add_model_positional(CLI::App& command, std::optional<std::string>& path) {
  return command.add_option("MODEL", path, kModelHelp)->type_name("");
}

}  // namespace

void add_run_options(CLI::App& command, RunOptions& options) {
  add_positionals(command, options.given, "PROMPT",
                  "What to answer; none or '-': read it from standard input");
  const char* input = "Input";
  command.add_option("--system", options.system, "System message for the chat template")
      ->group(input);
  CLI::Option* raw =
      command.add_flag("--raw", options.raw,
                       "Continue the text as it is; without it a chat template, if the model "
                       "has one, makes the prompt of it");
  raw->group(input)->excludes("--system");
  CLI::Option* tokens =
      command.add_option("--tokens", options.tokens, "Token ids instead of a prompt, e.g. 1,2,3");
  tokens->type_name("IDS")->group(input)->excludes("--system")->excludes(raw);
  command
      .add_flag("--truncate", options.truncate,
                "Leave out the first tokens of a prompt that is too long for the context")
      ->group(input);
  add_sampling_options(command, options.sampling);
  add_form_options(command, options.form);
  add_model_options(command, options.model);
  add_rank_options(command, options.model);
  const char* output = "Output";
  command
      .add_flag("--stats", options.stats,
                "Then print timings (load, TTFT, TPOT, tok/s) and memory to standard error")
      ->group(output);
  CLI::Option* json = command.add_flag(
      "--json", options.json, "Print one JSON object with text, tokens and timings at the end");
  json->group(output);
  add_answers_options(command, options.answers);
  command
      .add_option("--logits-out", options.logits_out,
                  "Write the fp32 logits of all --tokens, [num_tokens, vocab_size], as the "
                  "tensor 'logits' of this safetensors file and generate nothing; needs no "
                  "tokenizer")
      ->type_name("FILE")
      ->group(output)
      ->needs(tokens)
      ->excludes(json);
  command.footer(std::string(kModelOrText) +
                 "\nCtrl-C stops the answer; what there is stays printed, the exit status is 130.\n"
                 "\nExamples:\n"
                 "  lanner run \"Why is the sky blue?\"\n"
                 "  lanner run model.gguf --temperature 0.7 --seed 1 \"Tell me a story.\"\n"
                 "  git diff | lanner run ~/models/Qwen --system \"Review this change.\" --stats\n"
                 "  lanner run ~/models/Llama --raw --max-tokens 20 \"Once upon a time\"\n"
                 "  lanner run \"Rate this: I like it.\" --choice good --choice bad\n"
                 "  lanner run \"Name a city.\" --json-schema '{\"properties\": {\"city\": "
                 "{\"type\": \"string\"}}}'\n"
                 "  lanner run ~/models/Llama --tokens 1,2,3 --logits-out logits.safetensors\n");
}

void add_bench_serve_offline_options(CLI::App& command, BenchServeOfflineOptions& options) {
  add_model_positional(command, options.path);
  const char* group = "What to run";
  command
      .add_option("--concurrency", options.concurrency, "Requests in flight, e.g. 1,16 [1,4,16,64]")
      ->delimiter(',')
      ->check(whole_number(1, 1024))
      ->group(group);
  command
      .add_option("--scale", options.scale,
                  "Part of the recorded lengths (161 tokens in and 338 out on average) [0.25]")
      ->check(in_range(0, 100, true))
      ->group(group);
  CLI::Option* prompt =
      command.add_option("--prompt", options.prompt, "Tokens of every prompt, instead of those")
          ->check(whole_number(1, INT_MAX))
          ->group(group);
  CLI::Option* generate =
      command
          .add_option("--generate", options.generate, "Tokens of every answer, instead of those")
          ->check(whole_number(1, INT_MAX))
          ->group(group)
          ->needs(prompt);
  prompt->needs(generate);
  command
      .add_option("--requests", options.requests,
                  "Requests in all; 0: twice as many as in flight, and 6 [0]")
      ->check(whole_number(0, 100000))
      ->group(group);
  add_model_options(command, options.model);
  add_rank_options(command, options.model);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nThe requests are the same every time: random tokens, recorded lengths. overhead_share is "
      "the\n"
      "part of the engine's time that it does not spend in the model.\n"
      "\nExample:\n"
      "  lanner bench serve-offline model.gguf --concurrency 1,16 --json\n");
}

void add_bench_reuse_options(CLI::App& command, BenchReuseOptions& options) {
  add_model_positional(command, options.path);
  const char* group = "What to run";
  command.add_option("--tokens", options.tokens, "Tokens of the first turn of a chat [4000]")
      ->check(whole_number(1, INT_MAX))
      ->group(group);
  command.add_option("--repeat", options.repeat, "Runs of each; medians are given [3]")
      ->check(whole_number(1, 1000))
      ->group(group);
  add_model_options(command, options.model);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nTime to the first token of a chat's second turn, with its first one in the prefix cache "
      "and\n"
      "without.\n"
      "\nExample:\n"
      "  lanner bench reuse model.gguf --json\n");
}

void add_bench_speculate_options(CLI::App& command, BenchSpeculateOptions& options) {
  CLI::Option* path = add_model_positional(command, options.path);
  const char* group = "What to run";
  command
      .add_option("--random-weights", options.random_weights,
                  "Instead of a model: a preset or config.json with random weights, and the text "
                  "'random'")
      ->type_name("MODEL")
      ->excludes(path)
      ->group(group);
  command
      .add_option("--text", options.texts,
                  "copying: an answer that repeats its prompt; chat: answers to three questions, "
                  "greedy; drawn: the same at temperature 0.8; random: random tokens, temperature "
                  "1 [copying,random]")
      ->delimiter(',')
      ->check(CLI::IsMember({"copying", "chat", "drawn", "random"}))
      ->group(group);
  command.add_option("--batch", options.batches, "Sequences together [1]")
      ->delimiter(',')
      ->check(whole_number(1, 1024))
      ->group(group);
  command.add_option("--generate", options.generate, "Tokens of an answer [96]")
      ->check(whole_number(2, INT_MAX))
      ->group(group);
  command.add_option("--repeat", options.repeat, "Pairs of runs; medians are given [9]")
      ->check(whole_number(1, 1000))
      ->group(group);
  add_model_options(command, options.model);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nThe model is loaded twice, and each text generated with speculation and without, in "
      "turns.\n"
      "speedup is the median of the pairs' ratios, with its quartiles; steps and computed tokens\n"
      "are counts, which no noise of the machine changes.\n"
      "\nExamples:\n"
      "  lanner bench speculate model.gguf\n"
      "  lanner bench speculate large --draft small.gguf --text chat,random --json\n");
}

void add_chat_options(CLI::App& command, ChatOptions& options) {
  add_model_positional(command, options.path);
  command.add_option("--system", options.system, "System message")->group("Input");
  add_sampling_options(command, options.sampling);
  add_model_options(command, options.model);
  add_rank_options(command, options.model);
  command.add_flag("--stats", options.stats, "Print timings and memory after each answer")
      ->group("Output");
  command.footer(
      "\nIn the chat: /help, /clear, /system TEXT, /stats, /quit. Ctrl-C stops an answer; at the\n"
      "prompt it leaves at the second time, Ctrl-D at once. From a pipe each line is a message.\n"
      "\nExamples:\n"
      "  lanner chat\n"
      "  lanner chat model.gguf --system \"Answer in one sentence.\" --temperature 0.7\n");
}

void add_info_options(CLI::App& command, InfoOptions& options) {
  add_model_positional(command, options.path);
  add_model_options(command, options.model);
  command.add_flag("--families", options.families, "List the model families that Lanner runs")
      ->group("Output");
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nThe weights are not loaded.\n"
      "\nExamples:\n"
      "  lanner info\n"
      "  lanner info --families\n"
      "  lanner info ~/models/Llama --dtype int8 --json\n");
}

void add_tokenize_options(CLI::App& command, TokenizeOptions& options) {
  add_positionals(command, options.given, "TEXT",
                  "The text; none or '-': read it from standard input, as it is");
  CLI::Option* ids_only =
      command.add_flag("--ids-only", options.ids_only, "One line of ids: 1,2,3");
  command.add_flag("--no-special", options.no_special,
                   "Add no special tokens such as <s>; with --decode: leave them out");
  command.add_option("--decode", options.decode, "The other way: print the text of these ids")
      ->type_name("IDS")
      ->excludes(ids_only);
  command.footer(std::string(kModelOrText) +
                 "\nExamples:\n"
                 "  lanner tokenize \"Hello, world\"\n"
                 "  lanner tokenize model.gguf --ids-only - < text.txt\n"
                 "  lanner tokenize model.gguf --decode 1,2,3\n");
}

void add_render_options(CLI::App& command, RenderOptions& options) {
  add_positionals(command, options.given, "TEXT",
                  "A user's message; none or '-': read it from standard input");
  command
      .add_option("--messages", options.messages,
                  "JSON file with the conversation ('-': standard input), as in the OpenAI API: "
                  "a list of {\"role\": .., \"content\": ..}")
      ->type_name("FILE");
  command.add_option("--system", options.system, "System message, put first");
  command.add_flag("--no-generation-prompt", options.no_generation_prompt,
                   "Do not end with the start of an answer");
  command.footer(std::string(kModelOrText) +
                 "\nExamples:\n"
                 "  lanner render \"Hello\"\n"
                 "  lanner render ~/models/Llama --messages conversation.json\n");
}

void add_bench_attention_options(CLI::App& command, BenchAttentionOptions& options) {
  const char* group = "What to run";
  command.add_option("--tokens", options.tokens, "Lengths of prompts [128,256,…,32768]")
      ->delimiter(',')
      ->check(whole_number(1, 1 << 20))
      ->group(group);
  command.add_option("--head-dim", options.head_dims, "Head sizes, even [64,128]")
      ->delimiter(',')
      ->check(whole_number(2, 1024))
      ->group(group);
  command.add_option("--depth", options.depths, "Tokens before a decoded one [1024,4096,16384]")
      ->delimiter(',')
      ->check(whole_number(1, 1 << 20))
      ->group(group);
  command
      .add_option("--kv-dtype", options.kv_dtype,
                  fmt::format("Type of the KV cache of the prompts: auto (fp16), {} [auto]",
                              fmt::join(kKvDtypes, ", ")))
      ->check(dtype_or_auto(kKvDtypes))
      ->group(group);
  command
      .add_option("--threads", options.threads,
                  "Compute threads; 0: one per physical core, within the CPU quota [0]")
      ->check(whole_number(0, 4096))
      ->group(group);
  command.add_option("--repeat", options.repeat, "Runs of each; medians are given [3]")
      ->check(whole_number(1, 1000))
      ->group(group);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.footer(
      "\nOne layer of 32 heads, with 32 KV heads and with 8. Prompts: SlimAttention and flash\n"
      "attention alternate; slim_share_of_peak counts the multiply-adds that the causal mask lets\n"
      "through, against the peak of the arithmetic in use (fp32 FMA; int8 or bf16 for such a "
      "cache).\n"
      "Calls of more than a second are measured on some of the KV heads (measured_heads) and\n"
      "scaled. Times are medians; flash_over_slim and chosen_over_better are medians over pairs\n"
      "of runs. Decode: one token, an fp16 and an int8 cache of the last head size,\n"
      "share_of_bandwidth against what is read from DRAM right before and after (read_gbps).\n"
      "Takes several minutes; Ctrl-C ends it.\n"
      "\nExamples:\n"
      "  lanner bench attention\n"
      "  lanner bench attention --tokens 1024,8192 --head-dim 128 --json\n");
}

void add_eval_options(CLI::App& command, EvalOptions& options) {
  add_model_positional(command, options.path);
  const char* group = "What to run";
  command
      .add_option("--text", options.text,
                  "File with the text ('-': standard input), UTF-8; longer is more certain")
      ->type_name("FILE")
      ->required()
      ->group(group);
  command
      .add_option("--window", options.window,
                  "Tokens that the model sees at once; 0: its context, at most 2048 [0]")
      ->check(whole_number(0, INT_MAX))
      ->group(group);
  command
      .add_option("--stride", options.stride,
                  "Tokens from one window to the next, which are scored in it; 0: half a window "
                  "[0]")
      ->check(whole_number(0, INT_MAX))
      ->group(group);
  add_model_options(command, options.model);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
}

void add_eval_perplexity_options(CLI::App& command, EvalOptions& options) {
  add_eval_options(command, options);
  add_rank_options(command, options.model);
  command.footer(
      "\nexp of the mean of -ln p over the tokens of the text, each predicted from what stands\n"
      "before it in its window. Ctrl-C ends it.\n"
      "\nExamples:\n"
      "  lanner eval perplexity --text book.txt\n"
      "  lanner eval perplexity ~/models/Llama --text book.txt --dtype int8 --json\n");
}

void add_eval_kl_options(CLI::App& command, EvalKlOptions& options) {
  add_eval_options(command, options.eval);
  const char* group = "Compare with";
  command
      .add_option("--against-kv-dtype", options.against_kv_dtype,
                  "Type of the KV cache of the reference [--kv-dtype]")
      ->check(dtype_or_auto(kKvDtypes))
      ->group(group);
  command
      .add_option("--against-dtype", options.against_dtype,
                  "Type of the weights of the reference [--dtype]")
      ->check(dtype_or_auto(kWeightDtypes))
      ->group(group);
  command
      .add_option("--against", options.against,
                  "File that --save-logits wrote of the same text, windows and kind of model")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--save-logits", options.save_logits,
                  "Compare nothing: write the log-probabilities of every scored position to a "
                  "file, two bytes each")
      ->type_name("FILE")
      ->group("Output");
  command.footer(
      "\nLoads the model twice and compares the distributions of the next token at every position\n"
      "of the text: mean and 99th percentile of KL(reference || this) in nats, how often both "
      "find\n"
      "the same token most probable, and the ratio of their perplexities. A reference that does "
      "not\n"
      "fit beside it, or is used more than once, is saved first and read with --against; the type\n"
      "of the weights, their file and the cache may differ. Ctrl-C ends it.\n"
      "\nExamples:\n"
      "  lanner eval kl --text book.txt --kv-dtype int8 --against-kv-dtype fp32\n"
      "  lanner eval kl ~/models/Llama --text book.txt --dtype int8 --against-dtype bf16 --json\n"
      "  lanner eval kl ~/models/Llama --text book.txt --save-logits reference.logits\n"
      "  lanner eval kl llama-q4.gguf --text book.txt --against reference.logits\n");
}

void add_bench_machine_options(CLI::App& command, BenchMachineOptions& options) {
  command
      .add_option("--threads", options.threads,
                  "Compute threads; 0: one per physical core, within the CPU quota [0]")
      ->check(whole_number(0, 4096));
  command.add_flag("--json", options.json, "Print JSON");
  command.footer(
      "\nRead bandwidth from DRAM (with one thread and more) and from the last-level cache, peak\n"
      "arithmetic by type, and what a parallel region costs. Takes seconds; other programs\n"
      "disturb it.\n"
      "\nExample:\n"
      "  lanner bench machine --json\n");
}

void add_bench_model_options(CLI::App& command, BenchModelOptions& options) {
  add_model_positional(command, options.path);
  const char* group = "What to run";
  command
      .add_option("--random-weights", options.random_weights,
                  "Draw the weights at random instead of reading a MODEL: for a folder with "
                  "config.json, a config.json, or one of the presets llama-1b, llama2-7b-4l")
      ->type_name("CONFIG")
      ->excludes("MODEL")
      ->group(group);
  command
      .add_option("--prompt", options.benchmark.prompts,
                  "Tokens of the prefill, e.g. 128,512 [512]")
      ->delimiter(',')
      ->check(whole_number(1, INT_MAX))
      ->group(group);
  command.add_option("--generate", options.benchmark.generate, "Tokens of each decode run [128]")
      ->check(whole_number(2, INT_MAX))
      ->group(group);
  command
      .add_option("--depth", options.benchmark.depths,
                  "Tokens in the cache before a decode run, e.g. 0,4096 [0]")
      ->delimiter(',')
      ->check(whole_number(0, INT_MAX))
      ->group(group);
  command
      .add_option("--batch", options.benchmark.batches,
                  "Sequences decoded together, e.g. 1,4,16 [1]")
      ->delimiter(',')
      ->check(whole_number(1, 1024))
      ->group(group);
  command.add_option("--repeat", options.benchmark.repeat, "Runs of each; medians are given [5]")
      ->check(whole_number(1, 1000))
      ->group(group);
  add_model_options(command, options.model);
  add_rank_options(command, options.model);
  command.add_flag("--json", options.json, "Print JSON")->group("Output");
  command.add_option("--html", options.html, "Also write a page with plots; it needs no network")
      ->type_name("FILE")
      ->group("Output");
  command.footer(
      "\nPrompts are random tokens, and lengths are fixed. A decode run at a depth does not "
      "prefill:\n"
      "the cache is filled with random numbers.\n"
      "  share of peak       multiplications that a prefill needs, per second, over the peak\n"
      "                      measured in the same run for the type they are done in\n"
      "  share of bandwidth  bytes of weights and KV cache that a decode step reads, per second,\n"
      "                      over the measured read bandwidth; above 1 a model fits the caches\n"
      "  roofline            a step's bytes at the read bandwidth, or its multiplications at 60 %\n"
      "                      of the peak, whichever takes longer; times roofline: how many times\n"
      "                      that a step takes\n"
      "Ctrl-C ends it.\n"
      "\nExamples:\n"
      "  lanner bench model\n"
      "  lanner bench model model.gguf --depth 0,4096 --batch 1,4,16 --json\n"
      "  lanner bench model --random-weights llama-1b --dtype int8 --html report.html\n");
}

void add_bench_op_options(CLI::App& command, BenchOpOptions& options) {
  command.add_option("NAME", options.name, "Op, e.g. rms_norm; none: all of them, one by one")
      ->type_name("");
  command.add_flag("--list", options.list, "Print the names of the ops and run nothing");
  command
      .add_option("--filter", options.filter, "Only benchmarks whose names fit, e.g. avx512.*4096")
      ->type_name("REGEX");
  command
      .add_option("--repeat", options.repeat,
                  "Runs of each; above 1 mean, median and deviation [1]")
      ->check(whole_number(1, 1000));
  command.add_flag("--json", options.json, "Print one JSON object with the results by op");
  command.footer(
      "\nEvery kernel that this CPU can run, over sizes; other programs disturb it. The "
      "benchmarks\n"
      "are programs of their own, built beside this one with LANNER_BUILD_BENCHMARKS.\n"
      "\nExamples:\n"
      "  lanner bench op --list\n"
      "  lanner bench op rms_norm --filter avx512 --repeat 5\n");
}

}  // namespace lanner::cli
