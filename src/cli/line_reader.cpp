// SPDX-License-Identifier: Apache-2.0
#include "cli/line_reader.h"

#include <ostream>

#include "cli/interrupt.h"

#if LANNER_HAVE_LIBEDIT
#include <array>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwchar>

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include "base/error.h"
#endif

namespace lanner::cli {
namespace {

// A pipe, or a terminal that only knows the kernel's own editing.
class PlainReader : public LineReader {
 public:
  PlainReader(Context& context, InterruptGuard& interrupts, std::string prompt)
      : input_(context.in_fd, &interrupts),
        err_(context.err),
        prompt_(context.in_is_terminal ? std::move(prompt) : "") {}

  ReadResult read(std::string& line) override {
    err_ << prompt_ << std::flush;
    line.clear();
    return input_.read_line(line);
  }

 private:
  Input input_;
  std::ostream& err_;
  std::string prompt_;
};

#if LANNER_HAVE_LIBEDIT

// libedit works on wide characters of the locale: one with UTF-8, whatever the user has.
void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

class EditingReader : public LineReader {
 public:
  EditingReader(Context& context, InterruptGuard& interrupts, std::string prompt)
      : in_fd_(context.in_fd), interrupts_(interrupts), prompt_(std::move(prompt)) {
    use_utf8_locale();
    history_ = history_init();
    edit_ = el_init("lanner", stdin, stderr, stderr);
    LANNER_CHECK(history_ != nullptr && edit_ != nullptr);
    HistEvent event;
    ::history(history_, &event, H_SETSIZE, 1000);
    ::history(history_, &event, H_SETUNIQUE, 1);
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, ::history, history_);
    el_set(edit_, EL_PROMPT, &EditingReader::prompt);
    el_set(edit_, EL_GETCFN, &EditingReader::read_character);
  }
  ~EditingReader() override {
    el_end(edit_);
    history_end(history_);
  }

  ReadResult read(std::string& line) override {
    interrupted_ = false;
    line.clear();
    // libedit shows the prompt first and takes the terminal over only then: a key pressed in
    // between would be the kernel's.
    el_set(edit_, EL_PREP_TERM, 1);
    int bytes = 0;
    const char* text = el_gets(edit_, &bytes);
    if (interrupted_) {
      line = std::move(abandoned_);
      std::fputc('\n', stderr);
      return ReadResult::kInterrupted;
    }
    if (text == nullptr || bytes <= 0) return ReadResult::kEnd;
    line.assign(text, static_cast<size_t>(bytes));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (!line.empty()) {
      HistEvent event;
      ::history(history_, &event, H_ENTER, line.c_str());
    }
    return ReadResult::kLine;
  }

 private:
  static EditingReader& self(EditLine* edit) {
    void* data = nullptr;
    el_get(edit, EL_CLIENTDATA, &data);
    return *static_cast<EditingReader*>(data);
  }
  static char* prompt(EditLine* edit) { return self(edit).prompt_.data(); }
  static int read_character(EditLine* edit, wchar_t* character) {
    return self(edit).next_character(character);
  }

  // As libedit wants it: 1 for a character, 0 at the end, -1 for what ends the line early.
  int next_character(wchar_t* character) {
    std::mbstate_t state{};
    while (true) {
      std::array<pollfd, 2> waits = {pollfd{in_fd_, POLLIN, 0},
                                     pollfd{interrupts_.fd(), POLLIN, 0}};
      if (::poll(waits.data(), waits.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return -1;
      }
      if (interrupts_.take()) {
        interrupted_ = true;
        const LineInfo* info = el_line(edit_);
        abandoned_.assign(info->buffer, info->lastchar);
        return -1;
      }
      if (waits[0].revents == 0) continue;
      char byte = 0;
      const ssize_t count = ::read(in_fd_, &byte, 1);
      if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (count <= 0) return static_cast<int>(count);
      const size_t used = std::mbrtowc(character, &byte, 1, &state);
      if (used == static_cast<size_t>(-1)) state = {};  // no UTF-8: drop the byte
      if (used <= 1) return 1;
    }
  }

  int in_fd_;
  InterruptGuard& interrupts_;
  std::string prompt_;
  History* history_ = nullptr;
  EditLine* edit_ = nullptr;
  bool interrupted_ = false;
  std::string abandoned_;
};

#endif

}  // namespace

std::unique_ptr<LineReader> make_line_reader(Context& context, InterruptGuard& interrupts,
                                             const std::string& prompt) {
#if LANNER_HAVE_LIBEDIT
  // libedit insists on stdio streams: only when the program's own are terminals.
  if (context.in_is_terminal && context.err_is_terminal && context.in_fd == STDIN_FILENO) {
    return std::make_unique<EditingReader>(context, interrupts, prompt);
  }
#endif
  return std::make_unique<PlainReader>(context, interrupts, prompt);
}

}  // namespace lanner::cli
