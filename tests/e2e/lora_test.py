#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`--lora` of the commands: the same logits as with merged weights, choice by the server's clients, clear refusals.

Usage: lora_test.py PROGRAM
"""
import json
import pathlib
import sys
import unittest

import lanner
from lanner import TestCase, read_fp32, run
from lora_folder import write_adapter

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "server"))
from harness import Server  # noqa: E402

MODEL = lanner.GOLDEN / "llama-mha"
SHAPES = {f"model.layers.{layer}.{name}": shape for layer in range(3)
          for name, shape in {"self_attn.q_proj": (96, 96), "self_attn.v_proj": (96, 96), "mlp.up_proj": (172, 96),
                              "mlp.down_proj": (96, 172)}.items()}
PROMPT = "1,5,9,200,17,33,4,250"


class LoraTest(TestCase):
    def logits(self, model, *options):
        path = self.folder / "logits.safetensors"
        self.assert_runs("run", model, "--tokens", PROMPT, "--logits-out", path, "--dtype", "fp32", "--kv-dtype", "fp32", *options)
        return read_fp32(path, "logits")[1]

    def assert_close(self, a, b):
        largest = max(map(abs, b))
        self.assertLessEqual(max(abs(x - y) for x, y in zip(a, b, strict=True)), 1e-5 * largest)

    def test_beside_the_weights_and_merged(self):
        adapter = write_adapter(self.folder / "tuned", SHAPES)
        plain = self.logits(MODEL)
        beside = self.logits(MODEL, "--lora", adapter)
        self.assertGreater(max(abs(x - y) for x, y in zip(plain, beside)), 0.01 * max(map(abs, plain)))
        self.assert_close(beside, self.logits(MODEL, "--lora", f"name={adapter}", "--lora-merge"))
        self.assert_runs("quantize", MODEL, self.folder / "merged", "--dtype", "fp32", "--lora", adapter)
        self.assert_close(beside, self.logits(self.folder / "merged"))
        self.assert_close(beside, self.logits(MODEL, "--lora", adapter, "--tp", "2", "--threads", "2"))

    def test_several_are_for_servers_or_merged(self):
        a, b = (write_adapter(self.folder / name, SHAPES, seed=seed) for seed, name in enumerate("ab"))
        both = ("--lora", a, "--lora", b)
        self.assert_refused(run("run", MODEL, "--tokens", PROMPT, "--logits-out", self.folder / "x", *both), "--lora-merge", "two")
        self.assertNotEqual(self.logits(MODEL, *both, "--lora-merge"), self.logits(MODEL, "--lora", a))
        self.assert_refused(run("run", MODEL, "--tokens", "1", "--lora-merge"), "--lora", "nothing to merge")

    def test_info_and_bench_know_them(self):
        adapter = write_adapter(self.folder / "tuned", SHAPES)
        report = json.loads(self.assert_runs("info", MODEL, "--lora", adapter, "--json").out)
        self.assertEqual(report["model"]["lora"], [{"name": "tuned", "path": str(adapter), "matrices": len(SHAPES)}])
        self.assert_refused(run("bench", "reuse", MODEL, "--lora", adapter), "--lora-merge", "bench reuse")

    def test_what_is_wrong_is_named(self):
        good = {"model.layers.0.self_attn.q_proj": (96, 96)}
        cases = [
            ("no_model", {"model.layers.9.self_attn.q_proj": (96, 96)}, {}, "does not have"),
            ("shape", {"model.layers.0.self_attn.q_proj": (96, 64)}, {}, "[96, 64]"),
            ("dora", good, {"use_dora": True}, "use_dora"),
            ("rank", good, {"r": 5}, "rank 4"),
            ("embedding", {"model.embed_tokens.lora_embedding": (320, 96)}, {}, "embed_tokens"),
        ]
        for name, shapes, config, word in cases:
            with self.subTest(name):
                adapter = write_adapter(self.folder / name, shapes, **config)
                self.assert_refused(run("run", MODEL, "--tokens", "1", "--logits-out", self.folder / "x", "--lora", adapter), word, name)
        self.assert_refused(run("run", MODEL, "--tokens", "1", "--lora", self.folder / "nowhere"), "adapter_config.json", "nowhere")

    @unittest.skipUnless(lanner.default_model(), "the default model is not there (scripts/get_default_model.sh)")
    def test_clients_choose(self):
        shapes = {f"model.layers.{layer}.self_attn.{name}": shape for layer in range(30)
                  for name, shape in {"q_proj": (576, 576), "v_proj": (192, 576)}.items()}
        a, b = (write_adapter(self.folder / name, shapes, seed=seed, size=0.2, rank=2) for seed, name in enumerate("ab"))
        model = str(lanner.default_model())
        request = {"prompt": "The capital of France is", "max_tokens": 12, "temperature": 0}
        with Server(lanner.COMMAND[0], "--model", "base=" + model, "--max-context", "512", "--threads", "1",
                    "--lora", f"a={a}", "--lora", f"b={b}", model=None) as server:
            listed = {entry["id"]: entry["parent"] for entry in server.get("/v1/models").json["data"]}
            self.assertEqual(listed, {"base": None, "a": "base", "b": "base"})
            answers = {}
            for name in ("base", "a", "b"):
                answer = server.post("/v1/completions", {**request, "model": name}).json
                self.assertEqual(answer["model"], name)
                answers[name] = answer["choices"][0]["text"]
            self.assertEqual(len(set(answers.values())), 3, answers)
            unnamed = server.post("/v1/completions", request).json["choices"][0]["text"]
            self.assertEqual(unnamed, answers["base"])
            self.assertEqual(server.post("/v1/completions", {**request, "model": "c"}).status, 404)
        for name, adapter in (("a", a), ("b", b)):
            with self.subTest(name):
                out = self.assert_runs("run", model, "--raw", request["prompt"], "--max-tokens", "12", "--greedy", "--max-context", "512",
                                       "--threads", "1", "--lora", adapter).out
                self.assertEqual(out.rstrip("\n"), (answers[name]).rstrip("\n"))


if __name__ == "__main__":
    lanner.main()
