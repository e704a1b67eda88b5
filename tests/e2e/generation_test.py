#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lanner run` and `lanner chat` with a tiny model that talks nonsense: options, streams, exit statuses.

Usage: generation_test.py PROGRAM
"""
import json

import lanner
from lanner import GGUF, TestCase, run


class GenerationTest(TestCase):
    def answer(self, *arguments, **options):
        result = self.assert_runs("run", GGUF, "--json", *arguments, **options)
        return json.loads(result.out)

    def test_the_same_seed_gives_the_same_text(self):
        options = ("--temperature", "1", "--ignore-eos", "--max-tokens", "24", "hello")
        first = self.answer("--seed", "7", *options)
        self.assertEqual(first["token_ids"], self.answer("--seed", "7", *options)["token_ids"])
        self.assertEqual(first["token_ids"],
                         self.answer("--seed", "7", "--threads", "1", "--dtype", "auto", *options)["token_ids"])
        self.assertNotEqual(first["token_ids"], self.answer("--seed", "8", *options)["token_ids"])

    def test_greedy_needs_no_seed(self):
        options = ("--greedy", "--ignore-eos", "--max-tokens", "24", "hello")
        self.assertEqual(self.answer(*options)["token_ids"], self.answer(*options)["token_ids"])

    def test_max_tokens_ends_the_answer(self):
        for count in (1, 5):
            answer = self.answer("--greedy", "--ignore-eos", "--max-tokens", count, "hello")
            self.assertEqual(answer["output_tokens"], count)
            self.assertEqual(len(answer["token_ids"]), count)
            self.assertEqual(answer["finish_reason"], "length")

    def test_a_stop_string_ends_the_answer_before_it(self):
        options = ("--greedy", "--ignore-eos", "--max-tokens", "24", "hello")
        whole = self.answer(*options)["text"]
        plain = [c for c in whole[4:] if c.isascii() and c.isprintable()]
        stop = plain[0]
        answer = self.answer("--stop", stop, *options)
        self.assertEqual(answer["text"], whole[: whole.index(stop)])
        self.assertEqual(answer["finish_reason"], "stop")
        never = self.answer("--stop", "no such text", *options)
        self.assertEqual(never["text"], whole)

    def test_the_prompt_may_come_from_standard_input(self):
        options = ("--greedy", "--ignore-eos", "--max-tokens", "8")
        expected = self.answer(*options, "hello")["token_ids"]
        self.assertEqual(self.answer(*options, stdin="hello\n")["token_ids"], expected)
        self.assertEqual(self.answer(*options, "-", stdin="hello")["token_ids"], expected)

    def test_the_text_goes_to_the_output_and_timings_to_the_errors(self):
        options = ("--greedy", "--ignore-eos", "--max-tokens", "8", "hello")
        text = self.answer(*options)["text"]
        result = self.assert_runs("run", GGUF, *options)
        self.assertEqual(result.out, text + ("" if text.endswith("\n") else "\n"))
        self.assertEqual(result.err, "")
        result = self.assert_runs("run", GGUF, "--stats", *options)
        for word in ("load", "TTFT", "TPOT", "tok/s", "memory"):
            self.assertIn(word, result.err)

    def test_a_prompt_of_token_ids_needs_no_tokenizer(self):
        result = self.assert_runs("run", lanner.GOLDEN / "llama-tied", "--tokens", "1,2,3", "--greedy",
                                  "--ignore-eos", "--max-tokens", "4", "--json")
        answer = json.loads(result.out)
        self.assertEqual((answer["prompt_tokens"], answer["output_tokens"]), (3, 4))
        for command in (("run",), ("tokenize",), ("chat",), ("render",)):
            result = run(*command, lanner.GOLDEN / "llama-tied", stdin="hello\n")
            self.assert_refused(result, "llama-tied", command)

    def test_a_chat_remembers(self):
        def chat(text):
            return self.assert_runs("chat", GGUF, "--greedy", "--ignore-eos", "--max-tokens", "8", stdin=text).out

        self.assertEqual(chat("one\n/clear\ntwo\n"), chat("one\n") + chat("two\n"))
        self.assertNotEqual(chat("one\ntwo\n"), chat("one\n/clear\ntwo\n"))

    def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(self):
        result = run("run", GGUF, "--max-context", "16", "--tokens", ",".join(["5"] * 17))
        self.assert_refused(result, "17", "a long prompt")
        self.assertIn("16", result.err)
        self.assertEqual(result.status, 3)

    def test_the_context_ends_an_answer(self):
        answer = self.answer("--greedy", "--ignore-eos", "--max-context", "32", "--tokens", "1,2,3")
        self.assertEqual(answer["finish_reason"], "length")
        self.assertEqual(answer["prompt_tokens"] + answer["output_tokens"], 32)

    def test_exit_statuses_are_the_documented_ones(self):
        pickle = self.folder / "pytorch_model.bin"
        pickle.write_bytes(b"x")
        corrupt = self.folder / "x.gguf"
        corrupt.write_bytes(b"GGUF")
        for status, arguments in {
            0: ("--version",),
            2: ("run", GGUF, "--no-such-option"),
            3: ("run", GGUF, "--tokens", "320"),
            4: ("run", self.folder / "none.gguf", "hello"),
            5: ("info", pickle),
            6: ("info", corrupt),
            8: ("run", GGUF, "--tokens", "1", "--logits-out", "/no/such/folder/x"),
        }.items():
            result = run(*arguments)
            self.assertEqual(result.status, status, f"{arguments}: {result}")
        usage = self.assert_runs("--help").out
        for status in range(11):
            self.assertRegex(usage, rf"(?m)^ +{status} ")


if __name__ == "__main__":
    lanner.main()
