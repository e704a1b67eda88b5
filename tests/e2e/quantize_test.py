#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lanner quantize`: the same logits as with --dtype, files that other readers read, and no half files.

Usage: quantize_test.py PROGRAM
"""
import json
import unittest

import lanner
from lanner import TestCase, run

try:
    import gguf
    import numpy
except ImportError:
    gguf = None

PROMPT = "1,5,9,200,17,33,4,250"


class QuantizeTest(TestCase):
    def logits(self, model, *options):
        path = self.folder / "logits.safetensors"
        self.assert_runs("run", model, "--tokens", PROMPT, "--logits-out", path, *options)
        return path.read_bytes()

    def test_a_folder_gives_the_logits_of_quantising_at_load(self):
        source = lanner.GOLDEN / "llama-mha"
        target = self.folder / "int4"
        result = self.assert_runs("quantize", source, target, "--dtype", "int4", "--json")
        report = json.loads(result.out)
        self.assertGreater(report["quantized_tensors"], 0)
        self.assertLess(report["bytes"], report["source_bytes"])
        self.assertEqual(self.logits(target), self.logits(source, "--dtype", "int4"))

    def test_what_is_there_stays_unless_forced(self):
        source, target = lanner.GOLDEN / "llama-mha", self.folder / "model"
        self.assert_runs("quantize", source, target)
        self.assert_refused(run("quantize", source, target), "--force", "a target that is there")
        self.assert_runs("quantize", source, target, "--force", "--dtype", "int4")
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["model"])

    def test_a_full_disk_leaves_nothing(self):
        # A file system that is too small needs root; a limit of the file size is the same to the writer.
        source, target = lanner.GOLDEN / "llama-mha", self.folder / "model"
        command = lanner.COMMAND[:]
        try:
            lanner.COMMAND[:] = ["sh", "-c", 'trap "" XFSZ; ulimit -f 16; exec "$@"', "sh", *command]
            for name in ["model", "model.gguf"]:
                result = run("quantize", source, self.folder / name)
                self.assert_refused(result, name, "a full disk")
                self.assertEqual(list(self.folder.iterdir()), [])
        finally:
            lanner.COMMAND[:] = command
        self.assert_runs("quantize", source, target)

    def test_bad_arguments_are_named(self):
        source, target = lanner.GOLDEN / "llama-mha", self.folder / "model"
        self.assert_refused(run("quantize", source, target, "--dtype", "int3"), "int3", "a type")
        self.assert_refused(run("quantize", source, target, "--dtype", "q4_k"), "q4_k", "a type of GGUF files")
        self.assert_refused(run("quantize", self.folder / "nothing", target), "nothing", "no source")
        self.assert_refused(run("quantize", source), "TARGET", "no target")
        self.assertEqual(list(self.folder.iterdir()), [])

    @unittest.skipUnless(lanner.default_model(), "the default model is not there (scripts/get_default_model.sh)")
    def test_the_default_model(self):
        source = lanner.default_model()
        for dtype in ("int8", "int4g64", "w8a8"):
            with self.subTest(dtype=dtype):
                target = self.folder / dtype
                self.assert_runs("quantize", source, target, "--dtype", dtype)
                self.assertEqual(self.logits(target), self.logits(source, "--dtype", dtype))
        target = self.folder / "again.gguf"
        self.assert_runs("quantize", source, target, "--dtype", "q4_1")  # which it is already
        self.assertEqual(self.logits(target), self.logits(source))
        words = [self.assert_runs("tokenize", model, "Hello, world! 123", "--ids-only").out for model in (source, target)]
        self.assertEqual(*words)

    @unittest.skipUnless(gguf, "the package gguf is not installed (tests/server/make_venv.sh)")
    def test_gguf_files_are_read_by_the_package_gguf(self):
        source = lanner.GOLDEN / "qwen3"
        header, body = lanner.split_safetensors((source / "model.safetensors").read_bytes())
        names = {"self_attn.q_proj": "attn_q", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm"}
        for dtype, error in {"fp32": 0, "fp16": 1e-3, "bf16": 1e-2, "q8_0": 1e-2, "q4_0": 0.15, "q4_1": 0.1}.items():
            with self.subTest(dtype=dtype):
                path = self.folder / f"{dtype}.gguf"
                self.assert_runs("quantize", source, path, "--dtype", dtype)
                reader = gguf.GGUFReader(path)
                self.assertEqual(reader.get_field("general.architecture").contents(), "qwen3")
                self.assertEqual(reader.get_field("qwen3.block_count").contents(),
                                 json.loads((source / "config.json").read_text())["num_hidden_layers"])
                tensors = {tensor.name: tensor for tensor in reader.tensors}
                again = self.read_again(path)
                for hf, ours in names.items():
                    tensor = tensors[f"blk.0.{ours}.weight"]
                    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
                    entry = header[f"model.layers.0.{hf}.weight"]
                    begin, end = entry["data_offsets"]
                    expected = numpy.frombuffer(body[begin:end], "<f4").reshape(entry["shape"])
                    self.assertEqual(list(values.shape), entry["shape"])
                    scale = float(numpy.abs(expected).max())
                    self.assertLessEqual(float(numpy.abs(values - expected).max()), error * scale, f"{dtype} {hf}")
                    # What Lanner reads of its own file is what the package reads, bit by bit.
                    numpy.testing.assert_array_equal(again(f"model.layers.0.{hf}.weight"), values)

    def wide_model(self):
        """A folder whose rows are whole blocks of every type (256 values), and its tensors."""
        config = json.loads((lanner.GOLDEN / "qwen3" / "config.json").read_text())
        config |= {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 64, "tie_word_embeddings": False,
                   "eos_token_id": 2, "bos_token_id": 1}
        block = "model.layers.0."
        shapes = {"model.embed_tokens": (64, 256), "lm_head": (64, 256), "model.norm": (256,),
                  block + "input_layernorm": (256,), block + "post_attention_layernorm": (256,),
                  block + "self_attn.q_proj": (256, 256), block + "self_attn.k_proj": (128, 256),
                  block + "self_attn.v_proj": (128, 256), block + "self_attn.o_proj": (256, 256),
                  block + "self_attn.q_norm": (64,), block + "self_attn.k_norm": (64,),
                  block + "mlp.gate_proj": (512, 256), block + "mlp.up_proj": (512, 256), block + "mlp.down_proj": (256, 512)}
        numbers = numpy.random.default_rng(1)
        tensors = {name + ".weight": numbers.normal(0, 0.05, shape).astype("<f4") for name, shape in shapes.items()}
        header, body = {}, b""
        for name, values in tensors.items():
            header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + values.nbytes]}
            body += values.tobytes()
        folder = self.folder / "wide"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "model.safetensors").write_bytes(lanner.join_safetensors(header, body))
        return folder, tensors

    @unittest.skipUnless(gguf, "the package gguf is not installed (tests/server/make_venv.sh)")
    def test_every_tensor_is_read_by_the_package_gguf_as_by_lanner(self):
        source, original = self.wide_model()
        ours = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
        ours |= {f"blk.0.{name}": f"model.layers.0.{hf}" for name, hf in {
            "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
            "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}.items()}
        for dtype, error in {"q8_0": 0.005, "q4_0": 0.1, "q4_1": 0.1, "q4_k": 0.1}.items():
            with self.subTest(dtype=dtype):
                path = self.folder / f"{dtype}.gguf"
                self.assert_runs("quantize", source, path, "--dtype", dtype, "--embedding-dtype", dtype)
                again = self.read_again(path)
                tensors = gguf.GGUFReader(path).tensors
                self.assertEqual({tensor.name for tensor in tensors}, {name + ".weight" for name in ours})
                for tensor in tensors:
                    name = ours[tensor.name.removesuffix(".weight")] + ".weight"
                    wanted = dtype.upper() if original[name].ndim == 2 else "F32"
                    self.assertEqual(tensor.tensor_type, gguf.GGMLQuantizationType[wanted], name)
                    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
                    numpy.testing.assert_array_equal(again(name), values, name)
                    largest = float(numpy.abs(original[name]).max())
                    self.assertLessEqual(float(numpy.abs(values - original[name]).max()), error * largest, name)

    def test_what_is_another_type_is_noted_by_kind(self):
        # Its rows are whole blocks of q8_0, and not of q4_k.
        result = self.assert_runs("quantize", lanner.GOLDEN / "llama-tied", self.folder / "x.gguf", "--dtype", "q4_k")
        notes = [line for line in result.err.splitlines() if "whole number" in line]
        self.assertLessEqual(len(notes), 3, result.err)
        self.assertRegex(notes[0], r"^note: \d+ matrices are q8_0 instead of q4_k: rows of \d+ values")

    @unittest.skipUnless(gguf and lanner.default_model(), "needs the package gguf and the default model")
    def test_the_default_model_as_gguf(self):
        for dtype in ["q8_0", "q4_0", "q4_1", "q4_k"]:
            with self.subTest(dtype=dtype):
                path = self.folder / f"{dtype}.gguf"
                self.assert_runs("quantize", lanner.default_model(), path, "--dtype", dtype)
                again = self.read_again(path)
                wanted = gguf.GGMLQuantizationType[dtype.upper()]
                kinds = set()
                for tensor in gguf.GGUFReader(path).tensors:
                    kinds.add(tensor.tensor_type)
                    if tensor.name in ("blk.3.ffn_down.weight", "blk.5.attn_v.weight", "token_embd.weight"):
                        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
                        hf = {"blk.3.ffn_down.weight": "model.layers.3.mlp.down_proj.weight",
                              "blk.5.attn_v.weight": "model.layers.5.self_attn.v_proj.weight",
                              "token_embd.weight": "model.embed_tokens.weight"}[tensor.name]
                        numpy.testing.assert_array_equal(again(hf), values)
                self.assertIn(wanted, kinds)
                path.unlink()

    def read_again(self, path):
        """Lanner's own reading of a GGUF file as fp32, by way of an fp32 folder."""
        folder = path.with_suffix(".fp32")
        self.assert_runs("quantize", path, folder, "--dtype", "fp32", "--force")
        header, body = lanner.split_safetensors((folder / "model.safetensors").read_bytes())

        def tensor(name):
            entry = header[name]
            self.assertEqual(entry["dtype"], "F32")
            begin, end = entry["data_offsets"]
            return numpy.frombuffer(body[begin:end], "<f4").reshape(entry["shape"])
        return tensor


if __name__ == "__main__":
    lanner.main()
