#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, Ctrl-D, prompts and colours: what only a process in a terminal can show.

Usage: terminal_test.py PROGRAM, where PROGRAM is lanner_fake: it answers "word1 word2 ... word40",
a word every 50 ms.
"""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = ""
DEADLINE = 20.0


class Terminal:
    """The program with a terminal for all three streams."""

    def __init__(self, *arguments, **environment):
        self.text = ""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8", **environment})
            os.execv(PROGRAM, [PROGRAM, *arguments])

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, seconds):
        """Reads what comes within that time; False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, pattern):
        """Waits until the pattern has come and takes everything up to its end."""
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.text)):
            if not self.read(0.1) or time.monotonic() > end:
                raise AssertionError(f"{pattern!r} did not come; there is {self.text!r}")
        taken, self.text = self.text[: found.end()], self.text[found.end() :]
        return taken

    def exit_status(self):
        end = time.monotonic() + DEADLINE
        while self.read(0.1):
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"the program did not end; there is {self.text!r}")
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class TerminalTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.model = self.folder.name

    def tearDown(self):
        self.folder.cleanup()

    def chat(self, **environment):
        terminal = Terminal("chat", self.model, **environment)
        terminal.wait_for("Ctrl-D leaves")
        terminal.wait_for("> ")
        return terminal

    def test_ctrl_c_stops_a_run_with_130(self):
        terminal = Terminal("run", self.model, "hello")
        terminal.wait_for("word3 ")
        terminal.type("\x03")
        self.assertEqual(terminal.exit_status(), 130)
        self.assertNotIn("word20 ", terminal.text)
        self.assertTrue(terminal.text.endswith("\r\n"))

    def test_sigint_stops_a_run_in_a_pipe(self):
        with subprocess.Popen(
            [PROGRAM, "run", self.model, "hello"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            first = os.read(child.stdout.fileno(), 6)  # it streams: no need to wait for the end
            child.send_signal(signal.SIGINT)
            rest, errors = child.communicate(timeout=DEADLINE)
        self.assertEqual(child.returncode, 130)
        self.assertEqual(first, b"word1 ")
        self.assertTrue(rest.endswith(b"\n"))
        self.assertEqual(errors, b"")

    def test_a_reader_that_leaves_ends_the_run(self):
        child = subprocess.Popen([PROGRAM, "run", self.model, "hello"], stdout=subprocess.PIPE)
        os.read(child.stdout.fileno(), 6)
        child.stdout.close()
        self.assertEqual(child.wait(timeout=DEADLINE), -signal.SIGPIPE)

    def test_ctrl_c_stops_only_the_answer_of_a_chat(self):
        terminal = self.chat()
        terminal.type("one\r")
        terminal.wait_for("word3 ")
        terminal.type("\x03")
        answer = terminal.wait_for(r"\(stopped\)")
        self.assertNotIn("word20 ", answer)
        terminal.wait_for("> ")
        terminal.type("two\r")
        terminal.wait_for("word40 ")
        terminal.wait_for("> ")
        terminal.type("/quit\r")
        self.assertEqual(terminal.exit_status(), 0)

    def test_ctrl_c_at_the_empty_prompt_hints_and_then_leaves(self):
        terminal = self.chat()
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again")
        terminal.wait_for("> ")
        terminal.type("\x03")
        self.assertEqual(terminal.exit_status(), 130)

    def test_ctrl_c_throws_a_half_typed_line_away(self):
        terminal = self.chat()
        for _ in range(3):
            terminal.type("half a li")
            terminal.wait_for("half a li")
            terminal.type("\x03")
            terminal.wait_for("> ")
        terminal.type("\x04")
        self.assertEqual(terminal.exit_status(), 0)

    def test_ctrl_d_leaves(self):
        terminal = self.chat()
        terminal.type("\x04")
        self.assertEqual(terminal.exit_status(), 0)

    def test_unknown_command_lists_the_commands(self):
        terminal = self.chat()
        terminal.type("/nonsense\r")
        terminal.wait_for("unknown command /nonsense")
        terminal.wait_for("/clear")
        terminal.wait_for("> ")
        terminal.type("/quit\r")
        self.assertEqual(terminal.exit_status(), 0)

    def test_messages_may_have_any_character(self):
        terminal = self.chat()
        terminal.type("/system Grüße 🌍\r")
        terminal.wait_for(r"system message: Grüße 🌍\)")
        terminal.wait_for("> ")
        terminal.type("\x04")
        self.assertEqual(terminal.exit_status(), 0)

    def test_an_error_is_red_only_where_colours_are_wanted(self):
        for environment, red in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
            terminal = Terminal("run", "/no/such/model", "hello", **environment)
            self.assertEqual(terminal.exit_status(), 4)
            self.assertEqual("\x1b[31m" in terminal.text, red)

    def test_a_chat_from_a_pipe_prints_answers_alone(self):
        done = subprocess.run(
            [PROGRAM, "chat", self.model], input=b"one\n/quit\n", capture_output=True,
            timeout=DEADLINE, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout, b"".join(b"word%d " % i for i in range(1, 41)) + b"\n")
        self.assertEqual(done.stderr, b"")

    def test_a_bad_environment_variable_is_named(self):
        done = subprocess.run(
            [PROGRAM, "info"], capture_output=True, timeout=DEADLINE, check=False,
            env={**os.environ, "LANNER_THREADS": "many"})
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"lanner: error: LANNER_THREADS=many", done.stderr)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
