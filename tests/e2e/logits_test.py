#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lanner run --tokens --logits-out` on every golden folder: the reference's logits, and no half files.

Usage: logits_test.py PROGRAM
"""
import json

import lanner
from lanner import TestCase, run

EXACT = ("--dtype", "fp32", "--kv-dtype", "fp32")


class LogitsTest(TestCase):
    def test_they_are_the_references_for_every_prompt(self):
        for folder in lanner.golden_folders():
            for prompt in json.loads((folder / "golden.json").read_text())["prompts"]:
                with self.subTest(family=folder.name, prompt=prompt["name"]):
                    path = self.folder / "logits.safetensors"
                    result = self.assert_runs("run", folder, "--tokens", ",".join(map(str, prompt["ids"])),
                                              "--logits-out", path, *EXACT)
                    self.assertEqual(result.out, "")
                    self.assertEqual(result.err, "")
                    lanner.assert_golden(self, folder, path, prompt)
                    header, _ = lanner.split_safetensors(path.read_bytes())
                    self.assertEqual([name for name in header if name != "__metadata__"], ["logits"])
                    path.unlink()

    def test_a_failed_run_leaves_no_file(self):
        folder = lanner.GOLDEN / "llama-tied"
        path = self.folder / "out" / "logits.safetensors"
        path.parent.mkdir()
        cases = {
            "320": "320",  # one more than the vocabulary has
            "-1": "-1",
            "": "--tokens",
            "1,,2": "--tokens",
            "99999999999999999999": "--tokens",
            ",".join(["1"] * 3000): "3000",  # the context is 2048
        }
        for tokens, name in cases.items():
            with self.subTest(tokens=tokens[:20]):
                result = run("run", folder, f"--tokens={tokens}", "--logits-out", path)
                self.assert_refused(result, name, tokens[:20])
                self.assertEqual(list(path.parent.iterdir()), [])

    def test_a_file_from_before_survives_a_failed_run(self):
        path = self.folder / "logits.safetensors"
        path.write_text("precious")
        result = run("run", lanner.GOLDEN / "llama-tied", "--tokens", "320", "--logits-out", path)
        self.assert_refused(result, "320", "a token past the vocabulary")
        self.assertEqual(path.read_text(), "precious")
        self.assertEqual([entry.name for entry in self.folder.iterdir()], [path.name])

    def test_a_place_that_cannot_be_written_is_named(self):
        path = self.folder / "no" / "such" / "folder.safetensors"
        result = run("run", lanner.GOLDEN / "llama-tied", "--tokens", "1", "--logits-out", path)
        self.assert_refused(result, str(path.parent), "a missing folder")
        result = run("run", lanner.GOLDEN / "llama-tied", "--tokens", "1", "--logits-out", self.folder)
        self.assert_refused(result, str(self.folder), "a folder for a file")

    def test_a_full_disk_is_an_error(self):
        result = run("run", lanner.GOLDEN / "llama-tied", "--tokens", "1,2,3", "--logits-out", "/dev/full")
        self.assert_refused(result, "/dev/full", "a full disk")


if __name__ == "__main__":
    lanner.main()
