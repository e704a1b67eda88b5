#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several ranks as processes (`--tp`): the same numbers as one, and a clean end whichever of them dies when.

Usage: tensor_parallel_test.py PROGRAM
"""
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import lanner
from lanner import GGUF, TestCase

EXACT = ("--dtype", "fp32", "--kv-dtype", "fp32")
# A death is noticed in a fraction of a second; test machines are stopped for longer.
PATIENCE = 120


def processes_below(process):
    """The ids of the processes that a process has started."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        tasks = pathlib.Path(f"/proc/{process.pid}/task").iterdir()
        return sorted(int(child) for task in tasks for child in (task / "children").read_text().split())
    return []


def is_running(process_id):
    try:
        stat = pathlib.Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never came to pass: {what}")
        time.sleep(0.01)


class TensorParallelTest(TestCase):
    RANKS = 3  # where one is to die

    def rank_options(self, ranks):
        return ["--tp", str(ranks)]

    def start(self, *arguments, ranks, stdin=subprocess.DEVNULL):
        """Starts the program and waits until its other ranks are there."""
        process = subprocess.Popen([*lanner.COMMAND, *map(str, arguments), *self.rank_options(ranks)], stdin=stdin,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, process)
        wait_until(lambda: len(processes_below(process)) == ranks - 1 or process.poll() is not None, "ranks started")
        return process, processes_below(process)

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()

    def test_logits_are_the_references(self):
        for folder in lanner.golden_folders():
            prompts = json.loads((folder / "golden.json").read_text())["prompts"]
            for ranks, prompt in zip((2, 3), prompts, strict=False):
                with self.subTest(family=folder.name, ranks=ranks, prompt=prompt["name"]):
                    path = self.folder / "logits.safetensors"
                    result = self.assert_runs("run", folder, "--tokens", ",".join(map(str, prompt["ids"])),
                                              "--logits-out", path, *self.rank_options(ranks), *EXACT)
                    self.assertEqual(result.err, "")
                    lanner.assert_golden(self, folder, path, prompt)

    def answer(self, *arguments, ranks):
        result = self.assert_runs("run", GGUF, "abc", "--json", "--ignore-eos", *self.rank_options(ranks), *arguments)
        return json.loads(result.out)

    def test_answers_are_those_of_one_rank(self):
        for options in (["--greedy"], ["--temperature", "0.8", "--seed", "3"],
                        ["--temperature", "1", "--top-p", "0.9", "--seed", "4", "--repetition-penalty", "1.2"],
                        ["--beams", "3"], ["--greedy", "--logprobs", "2"]):
            with self.subTest(options=options):
                alone = self.answer(*options, "--max-tokens", "12", *EXACT, ranks=1)
                split = self.answer(*options, "--max-tokens", "12", *EXACT, ranks=2)
                self.assertEqual(split["text"], alone["text"])

    def test_what_travels_is_what_the_document_says(self):
        config = {"layers": 2, "hidden": 64}  # of tests/gguf
        for ranks in (2, 3, 4):
            stats = self.answer("--greedy", "--no-speculation", "--max-tokens", "9", ranks=ranks)["stats"]
            self.assertEqual(stats["ranks"], ranks)
            self.assertEqual(stats["copied_bytes"], 0)
            # docs/distributed.md: two sums in each layer, 4 bytes an element, to each of the others.
            self.assertEqual(stats["reduced_bytes"],
                             stats["computed_tokens"] * 2 * config["layers"] * config["hidden"] * 4 * (ranks - 1))
            # One token and the sum of a row, for each of the nine; the last turn may not be counted yet.
            # Before that, once, what each has room for.
            self.assertIn(stats["gathered_bytes"], [(rows * 28 + 48) * (ranks - 1) for rows in (8, 9)])

    def test_statistics_name_the_ranks(self):
        result = self.assert_runs("run", GGUF, "abc", "--stats", "--max-tokens", "3", "--tp", "2")
        self.assertRegex(result.err, r"ranks +2 \(shm\)")
        self.assertRegex(result.err, r"sent per token +\d+ B of sums \(0 B copied\), \d+ B of logits")

    def test_evaluation_and_benchmark_run_on_ranks(self):
        text = self.folder / "text"
        text.write_text("the cat sat on the mat. " * 20)
        results = []
        for ranks in (1, 2):
            result = self.assert_runs("eval", "perplexity", GGUF, "--text", text, "--window", "64", "--json",
                                      "--tp", ranks, *EXACT)
            results.append(json.loads(result.out)["perplexity"])
        self.assertAlmostEqual(results[0] / results[1], 1, places=3)

    def test_a_model_that_cannot_be_loaded_is_refused_once(self):
        folder = self.copy_of("llama-mha")
        (folder / "model.safetensors").unlink()
        self.assert_refused(lanner.run("run", folder, "--tokens", "1", "--tp", "2"), ["safetensors"], "no weights")
        self.assert_refused(lanner.run("run", GGUF, "--tokens", "1", "--tp", "65"), ["--tp"], "too many")

    def test_a_worker_started_by_hand_says_why_it_cannot_work(self):
        arguments = ("worker", "--rendezvous", "127.0.0.1:1", "--rendezvous-timeout", "0.5")
        self.assert_refused(lanner.run(*arguments, LANNER_SECRET=""), ["LANNER_SECRET"], "no secret")
        result = lanner.run(*arguments, LANNER_SECRET="a secret of the tests, long enough")
        self.assert_refused(result, ["127.0.0.1:1"], "nobody there")

    # --- Deaths ---

    def assert_ends(self, process, others, *words):
        """All ranks end soon, the first with an error that says why, and leave nothing behind."""
        out, err = process.communicate(timeout=PATIENCE)
        err = err.decode(errors="replace")
        self.assertIn(process.returncode, (1, 8, 9), f"{process.returncode}: {err}")
        for word in words:
            self.assertRegex(err, word)
        wait_until(lambda: not any(map(is_running, others)), "the other ranks end")
        return out, err

    def assert_nothing_named(self, *processes):
        """The ranks share memory, and no file that could stay behind."""
        for process_id in processes:
            maps = pathlib.Path(f"/proc/{process_id}/maps").read_text()
            self.assertIn("/memfd:lanner-ranks", maps)
            self.assertNotIn("/dev/shm/", maps)

    def long_answer(self, ranks):
        """Ranks in the midst of decoding."""
        process, others = self.start("run", GGUF, "abc", "--ignore-eos", "--max-tokens", "1000000",
                                     "--no-speculation", ranks=ranks)
        self.assertTrue(process.stdout.read(1))
        self.assert_nothing_named(process.pid, *others)
        return process, others

    def test_any_other_rank_dies_while_it_decodes(self):
        for victim in range(self.RANKS - 1):
            with self.subTest(rank=victim + 1):
                process, others = self.long_answer(ranks=self.RANKS)
                os.kill(others[victim], signal.SIGKILL)
                self.assert_ends(process, others, r"rank \d", rf"process {others[victim]}\b")

    def test_the_first_rank_dies_while_it_decodes(self):
        process, others = self.long_answer(ranks=self.RANKS)
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(is_running, others)), "the other ranks end")
        self.assertRegex(process.stderr.read().decode(), rf"rank 0 \(.*process {process.pid}\) has (died|ended)")

    def test_a_rank_dies_while_prompts_are_computed(self):
        text = lanner.TESTS / "data" / "opticks.txt"
        for delay in (0, 0.05, 0.2, 0.5):  # in the load or in the first prompts
            with self.subTest(delay=delay):
                process, others = self.start("eval", "perplexity", GGUF, "--text", text, "--stride", "1", ranks=self.RANKS)
                time.sleep(delay)
                os.kill(others[-1], signal.SIGKILL)
                self.assert_ends(process, others, r"rank \d")

    def large_config(self):
        """A model that takes seconds to load: its weights are drawn."""
        config = json.loads((lanner.GOLDEN / "llama-mha" / "config.json").read_text())
        config.update(hidden_size=768, intermediate_size=2048, num_hidden_layers=24, vocab_size=32000)
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        return path

    def test_any_rank_dies_while_it_loads(self):
        arguments = ("bench", "model", "--random-weights", self.large_config(), "--prompt", "64", "--generate", "4",
                     "--depth", "0")
        process, others = self.start(*arguments, ranks=self.RANKS)
        os.kill(others[0], signal.SIGKILL)
        self.assert_ends(process, others, r"rank \d")
        process, others = self.start(*arguments, ranks=self.RANKS)
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(is_running, others)), "the other ranks end")

    def test_a_rank_dies_while_all_shut_down(self):
        for first in (True, False):
            process, others = self.long_answer(ranks=self.RANKS)
            if first:
                os.kill(others[0], signal.SIGKILL)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(ProcessLookupError):
                os.kill(others[-1], signal.SIGKILL)
            process.communicate(timeout=PATIENCE)
            wait_until(lambda o=others: not any(map(is_running, o)), "the other ranks end")

    def test_an_interrupt_ends_all_ranks(self):
        process, others = self.long_answer(ranks=2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 130)
        wait_until(lambda: not any(map(is_running, others)), "the other rank ends")

    # --- The server ---

    @contextlib.contextmanager
    def server(self, ranks, *options):
        process = subprocess.Popen(
            [*lanner.COMMAND, "serve", "--model", f"tiny={GGUF}", "--port", "0", "--access-log", "off",
             *self.rank_options(ranks), *EXACT, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        try:
            port = None
            for line in process.stderr:
                found = re.search(r"listening on .*?://.*?:(\d+) ", line)
                port = int(found.group(1)) if found else port
                if "ready" in line:
                    break
            yield process, port
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def complete(self, port, **body):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("POST", "/v1/completions", json.dumps({"model": "tiny", **body}),
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def mixed_requests(self):
        for i in range(24):
            body = {"prompt": "abc def " * (1 + i * 5 % 17), "max_tokens": 4 + i % 9, "seed": i,
                    "temperature": (0, 0.7, 1.2)[i % 3]}
            if i % 4 == 1:
                body.update(top_p=0.9, frequency_penalty=0.3)
            if i % 4 == 2:
                body.update(logprobs=2, n=2)
            if i % 4 == 3:
                body.update(logit_bias={"70": 5, "71": -100}, presence_penalty=0.2)
            yield body

    def test_a_mixed_load_gets_the_answers_of_one_rank(self):
        texts = []
        for ranks in (1, 2):
            with self.server(ranks) as (_, port), concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda body, port=port: self.complete(port, **body), self.mixed_requests()))
                self.assertEqual({status for status, _ in answers}, {200})
                texts.append([[choice["text"] for choice in answer["choices"]] for _, answer in answers])
        self.assertEqual(texts[0], texts[1])

    def test_a_server_that_has_lost_a_rank_says_so(self):
        with self.server(2, "--restart-ranks", "0") as (process, port):
            self.assertEqual(self.complete(port, prompt="abc", max_tokens=2)[0], 200)
            (other,) = processes_below(process)
            os.kill(other, signal.SIGKILL)
            for _ in range(3):
                status, answer = self.complete(port, prompt="abc", max_tokens=2)
                self.assertEqual(status, 503)
                self.assertRegex(answer["error"]["message"], "rank 1")

    def complete_again(self, port, **body):
        """Until the ranks are back."""
        answers = []
        wait_until(lambda: (answers.append(self.complete(port, **body)), answers[-1][0] != 503)[1], "ranks restarted")
        for status, answer in answers[:-1]:
            self.assertRegex(answer["error"]["message"], r"rank \d|ranks")
        return answers[-1]

    def gives_up(self, port):
        _, answer = self.complete(port, prompt="abc", max_tokens=2)
        return "were started again" in answer.get("error", {}).get("message", "")

    def test_a_server_starts_lost_ranks_again(self):
        with self.server(2, "--restart-ranks", "1") as (process, port):
            body = {"prompt": "abc def", "max_tokens": 8}
            expected = self.complete(port, **body)
            self.assertEqual(expected[0], 200)
            (first,) = processes_below(process)
            os.kill(first, signal.SIGKILL)
            # Nobody asks: the loss is noticed all the same.
            wait_until(lambda: processes_below(process) not in ([], [first]), "another rank comes")
            status, answer = self.complete_again(port, **body)
            self.assertEqual(status, 200)
            self.assertEqual(answer["choices"][0]["text"], expected[1]["choices"][0]["text"])
            # A loss within a minute after that is one too many; a busy machine may take longer.
            for _ in range(5):
                for other in processes_below(process):
                    os.kill(other, signal.SIGKILL)
                wait_until(lambda: self.gives_up(port) or self.complete(port, **body)[0] == 200, "a decision")
                if self.gives_up(port):
                    break
            else:
                self.fail("the ranks are started again without an end")
            self.assertEqual(self.complete(port, **body)[0], 503)


if __name__ == "__main__":
    lanner.main()
