// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <ostream>

#include <fmt/format.h>

#include "base/utf8.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/load_progress.h"
#include "cli/model_choice.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

// A conversation and the /commands on it.
class Chat {
 public:
  Chat(const ChatOptions& options, Context& context, LLM& llm, InterruptGuard& interrupts)
      : options_(options),
        context_(context),
        llm_(llm),
        interrupts_(interrupts),
        sampling_(to_sampling(options.sampling, llm.default_sampling_params())),
        system_(options.system.value_or("")),
        lora_(only_adapter(llm)) {}

  // Reads lines until the end. Returns the exit status.
  int run();

 private:
  struct Command {
    const char* name;
    const char* argument;
    const char* help;
    void (Chat::*run)(const std::string& argument);
  };
  static const std::array<Command, 5> kCommands;

  bool interactive() const { return context_.in_is_terminal; }
  void say(const std::string& text) const { context_.err << text << '\n' << std::flush; }
  void command(const std::string& line);
  void turn(const std::string& text);
  std::vector<ChatMessage> conversation() const;

  void help(const std::string& argument);
  void clear(const std::string& argument);
  void system(const std::string& argument);
  void stats(const std::string& argument);
  void quit(const std::string& argument);

  const ChatOptions& options_;
  Context& context_;
  LLM& llm_;
  InterruptGuard& interrupts_;
  SamplingParams sampling_;
  std::string system_;
  std::string lora_;
  std::vector<ChatMessage> messages_;  // without the system message
  std::optional<Answer> last_;
  bool quit_ = false;
};

const std::array<Chat::Command, 5> Chat::kCommands = {{
    {"/help", "", "list the commands", &Chat::help},
    {"/clear", "", "forget the conversation, keep the system message", &Chat::clear},
    {"/system", " TEXT", "set the system message; without TEXT: show it; '-': remove it",
     &Chat::system},
    {"/stats", "", "timings of the last answer, memory", &Chat::stats},
    {"/quit", "", "leave (also Ctrl-D)", &Chat::quit},
}};

int Chat::run() {
  const auto reader = make_line_reader(context_, interrupts_, "> ");
  bool warned = false;
  while (!quit_) {
    std::string line;
    switch (reader->read(line)) {
      case ReadResult::kEnd:
        if (interactive()) context_.err << '\n';
        return kExitOk;
      case ReadResult::kInterrupted:
        if (!interactive() || (warned && line.empty())) return kExitInterrupted;
        if (line.empty()) {
          say("(Ctrl-C again or Ctrl-D to leave, /help for the commands)");
          warned = true;
        }
        continue;
      case ReadResult::kLine:
        break;
    }
    warned = false;
    if (line.empty()) continue;
    try {
      if (const auto bad = find_invalid_utf8(line)) {
        throw Failure(exit_code(ErrorCode::kInvalidArgument),
                      fmt::format("the message is not valid UTF-8 (byte {})", *bad));
      }
      if (line.starts_with("//")) {
        turn(line.substr(1));
      } else if (line.starts_with('/')) {
        command(line);
      } else {
        turn(line);
      }
    } catch (const std::exception& e) {
      // Someone at a terminal can go on; a script must hear of it.
      if (!interactive() || !context_.out) throw;
      say(fmt::format("error: {}", terminal_text(e.what())));
    }
  }
  return kExitOk;
}

void Chat::command(const std::string& line) {
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const size_t start = line.find_first_not_of(' ', space);
  const std::string argument = start == std::string::npos ? "" : line.substr(start);
  for (const Command& entry : kCommands) {
    if (name == entry.name) return (this->*entry.run)(argument);
  }
  say(fmt::format("unknown command {}; these are known:", terminal_text(name)));
  help("");
}

std::vector<ChatMessage> Chat::conversation() const {
  std::vector<ChatMessage> all;
  if (!system_.empty()) all.push_back({"system", system_});
  all.insert(all.end(), messages_.begin(), messages_.end());
  return all;
}

void Chat::turn(const std::string& text) {
  messages_.push_back({"user", text});
  Answer answer;
  try {
    Request request;
    request.sampling = sampling_;
    request.lora = lora_;
    request.prompt = llm_.render({.messages = conversation()});
    request.prompt_has_special_tokens = true;
    answer = stream_answer(llm_, request, interrupts_, [&](std::string_view piece) {
      context_.out << (context_.out_is_terminal ? terminal_text(piece) : piece);
      flush_output(context_);
    });
  } catch (...) {
    messages_.pop_back();  // so that the next turn does not stumble over this one
    throw;
  }
  if (!answer.text.ends_with('\n')) context_.out << '\n';
  flush_output(context_);
  if (answer.interrupted && interactive()) say("(stopped)");
  if (answer.text.empty()) {
    messages_.pop_back();
  } else {
    messages_.push_back({"assistant", answer.text});
  }
  last_ = std::move(answer);
  if (options_.stats) stats("");
  if (last_->finish_reason == FinishReason::kError) throw Failure(kExitFailure, last_->error);
}

void Chat::help(const std::string&) {
  for (const Command& entry : kCommands) {
    say(fmt::format("  {:<14}{}", std::string(entry.name) + entry.argument, entry.help));
  }
  say("  //TEXT        a message that starts with a slash");
  say("Ctrl-C stops an answer; what it said so far stays in the conversation.");
}

void Chat::clear(const std::string&) {
  messages_.clear();
  say("(cleared)");
}

void Chat::system(const std::string& argument) {
  if (argument == "-") {
    system_.clear();
  } else if (!argument.empty()) {
    system_ = argument;
  }
  say(system_.empty() ? "(no system message)" : "(system message: " + terminal_text(system_) + ")");
}

void Chat::stats(const std::string&) {
  if (!last_) {
    say("(no answer yet)");
    return;
  }
  print_stats(context_.err, *last_, llm_.stats());
}

void Chat::quit(const std::string&) { quit_ = true; }

}  // namespace

int chat_command(const ChatOptions& options, Context& context) {
  if (options.path) check_model(*options.path);
  const std::string path = resolve_model(options.path, context);
  const auto llm = load_model(context, path, to_config(options.model, context));
  if (!llm->has_chat_template()) {
    throw Failure(exit_code(ErrorCode::kUnsupported),
                  fmt::format("{}: the model has no chat template", path),
                  "lanner run --raw continues a text with it");
  }
  if (context.in_is_terminal) {
    context.err << fmt::format(
        "lanner {} with {}\n/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves\n",
        context.backend.version, terminal_text(path));
  }
  InterruptGuard interrupts;
  return Chat(options, context, *llm, interrupts).run();
}

}  // namespace lanner::cli
