#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models over oneCCL: ranks of one machine, and of two "hosts" that are network namespaces.

Usage: hosts_test.py PROGRAM
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import lanner
import tensor_parallel_test as tensor_parallel
from lanner import GGUF
from tensor_parallel_test import EXACT
from two_hosts import TwoHosts

os.environ["LANNER_SECRET"] = "a secret of the tests, long enough"
# oneCCL takes a third of a second to start on a calm machine, much longer on a busy one.
PATIENCE = 240
# Of each kind of layer one: heads of their own and in groups, norms of queries and keys, parallel blocks, experts,
# latent attention, sums of norms, biases, soft caps, learnt positions.
FAMILIES = ("llama-mha", "qwen3", "mixtral", "deepseek_v2", "falcon-7b", "olmo2", "gemma2", "opt-125m")
# Weights and KV cache. Where a group of int8 activations has its columns on two ranks, each takes the scale of its own
# part: another rounding than that of one rank, and no coarser one. How far both are from fp32 is what is compared.
TYPES = (("bf16", "fp16"), ("int8", "int8"), ("int4", "int8"))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def shared_files():
    """What programs leave in shared memory; the tests of Python's own processes are not ours."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith(("sem.", "pymp-", "psm_"))}


def difference(path, other):
    """Of all logits, as a share of how large they are (root mean squares)."""
    shape, values = lanner.read_fp32(path, "logits")
    expected_shape, expected = lanner.read_fp32(other, "logits")
    assert shape == expected_shape
    return (sum((a - b) ** 2 for a, b in zip(values, expected, strict=True)) / sum(b * b for b in expected)) ** 0.5


def skip_without_oneccl(test):
    result = lanner.run("run", GGUF, "abc", "--max-tokens", "1", "--tp", "2", "--communicator", "oneccl", timeout=PATIENCE)
    if "oneCCL cannot be used" in result.err:
        test.skipTest(result.err.strip())
    test.assertEqual(result.status, 0, result)


class OneCclTest(lanner.TestCase):
    """With a rank whose program is told everything by rank 0, on this machine."""

    def setUp(self):
        super().setUp()
        skip_without_oneccl(self)

    def rank_options(self, ranks):
        return ["--tp", ranks, "--communicator", "oneccl"]

    def run_ranks(self, ranks, *arguments):
        return self.assert_runs("run", *arguments, *self.rank_options(ranks), timeout=PATIENCE)

    def test_families_have_the_references_logits_and_tokens(self):
        for name in FAMILIES:
            folder = lanner.GOLDEN / name
            golden = json.loads((folder / "golden.json").read_text())
            prompt = golden["prompts"][-1]
            ids = ",".join(map(str, prompt["ids"]))
            # Three ranks have two cores: once is enough.
            for ranks in (2, 3) if name == FAMILIES[0] else (2,):
                with self.subTest(family=name, ranks=ranks):
                    path = self.folder / "logits.safetensors"
                    self.run_ranks(ranks, folder, "--tokens", ids, "--logits-out", path, *EXACT)
                    lanner.assert_golden(self, folder, path, prompt)
                    greedy = prompt["greedy"]
                    result = self.run_ranks(ranks, folder, "--tokens", ids, "--greedy", "--ignore-eos", "--json",
                                            "--max-tokens", len(greedy), *EXACT)
                    answer = json.loads(result.out)
                    self.assertEqual(answer["token_ids"], greedy)
                    self.assertEqual(answer["stats"]["communicator"], "oneccl")
                    self.assertEqual(answer["stats"]["ranks"], ranks)
                    self.assertEqual(answer["stats"]["copied_bytes"], 0)

    def test_types_of_weights_and_cache(self):
        folder = lanner.GOLDEN / "llama-mha"
        prompt = json.loads((folder / "golden.json").read_text())["prompts"][-1]
        ids = ",".join(map(str, prompt["ids"]))
        exact, alone, split = self.folder / "exact", self.folder / "alone", self.folder / "split"
        self.assert_runs("run", folder, "--tokens", ids, "--logits-out", exact, "--tp", 1, *EXACT)
        for dtype, kv_dtype in TYPES:
            with self.subTest(dtype=dtype, kv_dtype=kv_dtype):
                types = ("--dtype", dtype, "--kv-dtype", kv_dtype)
                self.assert_runs("run", folder, "--tokens", ids, "--logits-out", alone, "--tp", 1, *types)
                self.run_ranks(2, folder, "--tokens", ids, "--logits-out", split, *types)
                rounding = difference(alone, exact)
                self.assertLessEqual(difference(split, exact), 1.1 * rounding)
                self.assertLessEqual(difference(split, alone), rounding)

    def test_sums_as_bf16_are_half_of_the_bytes(self):
        stats = {}
        for wire in ("fp32", "bf16"):
            result = self.run_ranks(2, GGUF, "abc", "--ignore-eos", "--max-tokens", "4", "--no-speculation", "--json",
                                    "--wire", wire)
            stats[wire] = json.loads(result.out)["stats"]
            # docs/distributed.md: of two layers with 64 columns, two sums each.
            self.assertEqual(stats[wire]["reduced_bytes"],
                             stats[wire]["computed_tokens"] * 2 * 2 * 64 * (4 if wire == "fp32" else 2))
        self.assertEqual(stats["fp32"]["copied_bytes"], 0)
        self.assertEqual(stats["bf16"]["copied_bytes"], stats["bf16"]["reduced_bytes"])
        self.assert_refused(lanner.run("run", GGUF, "abc", "--tp", "2", "--wire", "bf16"), ["wire", "oneccl"],
                            "sums in shared memory are fp32")

    def test_the_faster_of_both_is_measured(self):
        result = self.assert_runs("run", GGUF, "abc", "--ignore-eos", "--max-tokens", "4", "--no-speculation", "--json",
                                  "--tp", "2", "--communicator", "fastest", timeout=PATIENCE)
        stats = json.loads(result.out)["stats"]
        self.assertIn(stats["communicator"], ("shm", "shm+oneccl"))
        # Of two layers with 64 columns, two sums each; what was measured does not count.
        self.assertEqual(stats["reduced_bytes"], stats["computed_tokens"] * 2 * 2 * 64 * 4)


class OneCclJobTest(tensor_parallel.TensorParallelTest):
    """The server, and the ends of ranks, as over shared memory. Of two ranks: more have no core each."""

    RANKS = 2

    def setUp(self):
        super().setUp()
        skip_without_oneccl(self)
        before = shared_files()
        self.addCleanup(lambda: self.assertEqual(shared_files() - before, set(), "left in /dev/shm"))

    def rank_options(self, ranks):
        if ranks == 1:
            return ["--tp", "1"]
        return ["--hosts", f"127.0.0.1:{ranks}", "--rendezvous", f"127.0.0.1:{free_port()}", "--communicator", "oneccl"]

    def assert_nothing_named(self, *processes):
        for process_id in processes:
            self.assertNotIn("/dev/shm/", pathlib.Path(f"/proc/{process_id}/maps").read_text())

    # Told by other tests.
    test_logits_are_the_references = None
    test_what_travels_is_what_the_document_says = None
    test_statistics_name_the_ranks = None
    test_a_model_that_cannot_be_loaded_is_refused_once = None
    test_a_worker_started_by_hand_says_why_it_cannot_work = None


class StartedElsewhereTest(lanner.TestCase):
    """Ranks that rank 0 does not start itself, on one machine: over shared memory."""

    OPTIONS = ("--ignore-eos", "--greedy", "--max-tokens", "6", "--json", "--communicator", "shm", *EXACT)

    def start(self, *arguments, **environment):
        process = subprocess.Popen([*lanner.COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, **environment})
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def assert_same_tokens(self, first, *others, model):
        alone = json.loads(self.assert_runs("run", model, "--tokens", "5,6,7", *self.OPTIONS).out)
        out, err = first.communicate(timeout=PATIENCE)
        self.assertEqual(first.returncode, 0, err)
        answer = json.loads(out)
        self.assertEqual((answer["token_ids"], answer["stats"]["ranks"]), (alone["token_ids"], 1 + len(others)))
        for process in others:
            out, err = process.communicate(timeout=PATIENCE)
            self.assertEqual((process.returncode, out), (0, ""), err)

    def test_every_rank_of_a_launcher_runs_the_same_command(self):
        for rank_name, size_name in (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
                                     ("SLURM_PROCID", "SLURM_NTASKS")):
            with self.subTest(launcher=rank_name):
                arguments = ("run", GGUF, "--tokens", "5,6,7", *self.OPTIONS, "--rendezvous", f"127.0.0.1:{free_port()}")
                ranks = [self.start(*arguments, **{rank_name: str(rank), size_name: "2"}) for rank in (0, 1)]
                self.assert_same_tokens(*ranks, model=GGUF)

    def test_a_worker_has_a_path_of_its_own(self):
        model = lanner.GOLDEN / "llama-mha"
        address = f"127.0.0.1:{free_port()}"
        first = self.start("run", model, "--tokens", "5,6,7", *self.OPTIONS, "--tp", "2", "--rendezvous", address)
        worker = self.start("worker", self.copy_of("llama-mha"), "--rendezvous", address)
        self.assert_same_tokens(first, worker, model=model)

    def test_weights_of_other_content_are_refused_by_all(self):
        copy = self.copy_of("llama-mha")
        with open(copy / "model.safetensors", "r+b") as file:
            file.seek(-200, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-200, os.SEEK_END)
            file.write(bytes([byte ^ 1]))
        address = f"127.0.0.1:{free_port()}"
        ranks = (self.start("run", lanner.GOLDEN / "llama-mha", "--tokens", "5,6,7", *self.OPTIONS, "--tp", "2",
                            "--rendezvous", address), self.start("worker", copy, "--rendezvous", address))
        for process in ranks:
            out, err = process.communicate(timeout=PATIENCE)
            self.assertNotEqual(process.returncode, 0)
            self.assertEqual(out, "")
            self.assertRegex(err, r"the content of the weights is \w+ on rank 0 .*, \w+ on rank 1")


class TwoHostsTest(lanner.TestCase):
    """A rank on each of two machines, which a cable joins."""

    def setUp(self):
        super().setUp()
        self.hosts = TwoHosts()
        self.hosts.start(self)
        self.model = lanner.default_model() or GGUF

    def start(self, host, *arguments):
        process = subprocess.Popen([*self.hosts.prefix(host), *lanner.COMMAND, *map(str, arguments)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        # `ip` and `unshare` become the program.
        if process.poll() is None:
            process.kill()
        process.communicate()

    def start_both(self, *arguments, worker=()):
        first = self.start(0, *arguments, "--hosts", ",".join(self.hosts.ADDRESSES))
        return first, self.start(1, "worker", "--rendezvous", f"{self.hosts.ADDRESSES[0]}:29500", *worker)

    def finish(self, *processes):
        """Status, output and errors of each."""
        results = []
        for process in processes:
            out, err = process.communicate(timeout=PATIENCE)
            if "oneCCL cannot be used" in err:
                self.skipTest(err.strip())
            results.append((process.returncode, out, err))
        return results

    def answer(self, *options):
        arguments = ("run", self.model, "The cat sat on the mat, and then", "--raw", "--greedy", "--ignore-eos",
                     "--max-tokens", "24", "--json", "--dtype", "fp32", "--kv-dtype", "fp32")
        (status, out, err), (worker_status, worker_out, worker_err) = self.finish(*self.start_both(*arguments, *options))
        self.assertEqual((status, worker_status, worker_out), (0, 0, ""), f"{err} {worker_err}")
        split = json.loads(out)
        self.assertEqual((split["stats"]["ranks"], split["stats"]["communicator"]), (2, "oneccl"))
        alone = json.loads(self.assert_runs(*arguments, "--tp", "1", timeout=PATIENCE).out)
        self.assertEqual(split["token_ids"], alone["token_ids"])
        return split["stats"]

    def test_tokens_are_those_of_one_rank(self):
        before = self.hosts.sent_bytes(0)
        stats = self.answer()
        sent = stats["reduced_bytes"] + stats["gathered_bytes"] + stats["broadcast_bytes"]
        # Headers, acknowledgements and signs of life come on top.
        self.assertGreater(self.hosts.sent_bytes(0) - before, stats["reduced_bytes"])
        self.assertLess(self.hosts.sent_bytes(0) - before, 1.5 * sent + (4 << 20))

    def test_tokens_over_a_slow_cable(self):
        self.hosts.slow_down(self)
        self.answer()

    def test_ranks_that_differ_say_what_in(self):
        folder = lanner.GOLDEN / "llama-mha"
        arguments = ("run", folder, "--tokens", "1,2,3", "--max-tokens", "2")
        cases = ((("--dtype", "auto"), (lanner.GOLDEN / "llama-tied",), "the model is .* on rank 0 .host lannerC., .* on "
                                                                       "rank 1 .host lannerD."),
                 ((), (self.folder / "none",), "none"))
        for options, worker, expected in cases:
            with self.subTest(expected=expected):
                results = self.finish(*self.start_both(*arguments, *options, worker=worker))
                for status, out, err in results:
                    self.assertNotEqual(status, 0)
                    self.assertEqual(out, "")
                    self.assertRegex(err, expected)

    def test_ranks_on_too_few_hosts_are_refused(self):
        first = self.start(0, "run", GGUF, "abc", "--hosts", ",".join(self.hosts.ADDRESSES))
        second = self.start(0, "worker", "--rendezvous", f"{self.hosts.ADDRESSES[0]}:29500")
        for status, _, err in self.finish(first, second):
            self.assertNotEqual(status, 0)
            self.assertRegex(err, "expected to be 2 machines; the ranks that came are on lannerC, lannerC")

    def test_a_rank_that_ends_or_stands_still_ends_the_job(self):
        for victim, number in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)):
            with self.subTest(victim=victim, signal=number):
                ranks = self.start_both("run", GGUF, "abc", "--ignore-eos", "--max-tokens", "1000000", "--no-speculation",
                                        "--max-context", "2048")
                if not ranks[0].stdout.read(1):
                    self.finish(*ranks)
                    self.fail("nothing was generated")
                start = time.monotonic()
                ranks[victim].send_signal(number)
                survivor = ranks[1 - victim]
                _, err = survivor.communicate(timeout=PATIENCE)
                self.assertNotEqual(survivor.returncode, 0)
                what = "has been silent for 15" if number == signal.SIGSTOP else "has died"
                self.assertRegex(err, rf"rank {victim} \(host lanner[CD], process \d+\) {what}")
                print(f"rank {victim}, signal {int(number)}: the other ended after {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    lanner.main()
