#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A chat with the default model, SmolLM2-135M-Instruct: a recorded transcript, an answer that is sensible, Ctrl-C.

Usage: default_model_test.py PROGRAM. Exits with 77 (ctest: skipped) where scripts/get_default_model.sh has not fetched
the model.
"""
import os
import pathlib
import pty
import re
import select
import signal
import sys
import time

import lanner
from lanner import TestCase

TRANSCRIPT = pathlib.Path(__file__).resolve().parent / "transcript.txt"


def read_transcript():
    """Questions and answers, told apart by the first characters of their lines."""
    questions, answers = [], []
    for line in TRANSCRIPT.read_text().splitlines():
        if line.startswith("> "):
            questions.append(line[2:])
            answers.append("")
        elif not line.startswith("#"):
            answers[-1] += line + "\n"
    return questions, answers


class Terminal:
    """The program with a terminal for all three streams."""

    def __init__(self, *arguments):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8"})
            os.execv(lanner.COMMAND[0], [*lanner.COMMAND, *arguments])

    def close(self):
        """Whatever happened: no process stays behind."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.exit_status()

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self):
        if not select.select([self.fd], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, pattern):
        """Waits until the pattern has come and takes everything up to its end."""
        end = time.monotonic() + lanner.TIMEOUT
        while not (found := re.search(pattern, self.text)):
            if not self.read() or time.monotonic() > end:
                raise AssertionError(f"{pattern!r} did not come; there is {self.text!r}")
        taken, self.text = self.text[: found.end()], self.text[found.end() :]
        return taken

    def exit_status(self):
        end = time.monotonic() + lanner.TIMEOUT
        while self.read():
            if time.monotonic() > end:
                raise AssertionError(f"the program did not end; there is {self.text!r}")
        pid, self.pid = self.pid, 0
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class DefaultModelTest(TestCase):
    def test_the_recorded_transcript(self):
        questions, answers = read_transcript()
        self.assertGreater(len(questions), 1)
        result = self.assert_runs("chat", "--greedy", "--dtype", "fp32", "--kv-dtype", "fp32", "--max-tokens", "40",
                                  stdin="".join(question + "\n" for question in questions))
        self.assertEqual(result.out, "".join(answers))
        self.assertEqual(result.err, "")

    def test_its_own_dtype_answers_sensibly(self):
        result = self.assert_runs("run", "--greedy", "--max-tokens", "20", "What is 2 + 3?")
        self.assertIn("5", result.out)

    def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(self):
        terminal = Terminal("chat", "--greedy", "--ignore-eos")
        self.addCleanup(terminal.close)
        terminal.wait_for("Ctrl-D leaves")
        terminal.wait_for("> ")
        terminal.type("Tell me a very long story about a whale.\r")
        terminal.wait_for(r"whale\.\r?\n")
        terminal.wait_for(r"\w+ \w+ \w+ \w+ ")
        terminal.type("\x03")
        terminal.wait_for(r"\(stopped\)")
        terminal.wait_for("> ")
        terminal.type("/clear\r")
        terminal.wait_for(r"\(cleared\)")
        terminal.wait_for("> ")
        terminal.type("What is 2 + 3?\r")
        terminal.wait_for(r"3\?\r?\n")
        self.assertIn("5", terminal.wait_for("5"))
        terminal.type("\x03")  # --ignore-eos: it would go on and on
        terminal.wait_for(r"\(stopped\)")
        terminal.wait_for("> ")
        terminal.type("/stats\r")
        terminal.wait_for("tok/s")
        terminal.wait_for("> ")
        terminal.type("/quit\r")
        self.assertEqual(terminal.exit_status(), 0)


if __name__ == "__main__":
    if not lanner.default_model():
        print("skipped: the default model is not there (scripts/get_default_model.sh fetches it)")
        sys.exit(77)
    lanner.main()
