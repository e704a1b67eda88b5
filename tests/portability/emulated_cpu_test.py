#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real program on an emulated CPU: the ISA it reports, golden logits, text through the Rust library.

Usage: emulated_cpu_test.py CPU ISA PROGRAM, e.g. Haswell avx2 build/release/src/cli/lanner. Exits with 77 (ctest:
skipped) where qemu-x86_64 is missing.
"""
import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import lanner  # noqa: E402
from lanner import TestCase  # noqa: E402

ISA = ""


class EmulatedCpuTest(TestCase):
    def test_it_reports_the_isa(self):
        report = json.loads(self.assert_runs("info", lanner.GGUF, "--json").out)
        self.assertEqual(report["machine"]["isa"], [ISA])

    def test_the_logits_are_the_references(self):
        folder = lanner.GOLDEN / "llama-tied"
        prompts = json.loads((folder / "golden.json").read_text())["prompts"]
        path = self.folder / "logits.safetensors"
        for prompt in [prompt for prompt in prompts if prompt["length"] <= 64]:
            self.assert_runs("run", folder, "--tokens", ",".join(map(str, prompt["ids"])),
                             "--logits-out", path, "--dtype", "fp32", "--kv-dtype", "fp32")
            lanner.assert_golden(self, folder, path, prompt)

    def test_it_answers_in_text_with_quantised_weights(self):
        result = self.assert_runs("run", lanner.GGUF, "--greedy", "--max-tokens", "8", "--ignore-eos", "--json", "hello")
        answer = json.loads(result.out)
        self.assertEqual(answer["output_tokens"], 8)
        decoded = self.assert_runs("tokenize", lanner.GGUF, "--decode", ",".join(map(str, answer["token_ids"])), "--no-special")
        self.assertEqual(decoded.out, answer["text"] + "\n")

    def test_it_tokenizes(self):
        folder = lanner.TESTS / "tokenizers" / "llama3"
        cases = json.loads((folder / "vectors.json").read_text())["cases"]
        longest = max((case for case in cases if "\0" not in case["text"]), key=lambda case: len(case["ids"]))
        result = self.assert_runs("tokenize", folder, "--ids-only", "-", stdin=longest["text"])
        self.assertEqual(json.loads(f"[{result.out}]"), longest["ids_with_special"])


if __name__ == "__main__":
    cpu, ISA, program = sys.argv[1:]
    if not shutil.which("qemu-x86_64"):
        print("skipped: qemu-x86_64 is not installed (Debian package qemu-user)")
        sys.exit(77)
    lanner.main(["qemu-x86_64", "-cpu", cpu, program])
