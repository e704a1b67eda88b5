#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Damaged, lying and missing files through the real program: an error that names the thing, never a signal.

Usage: hostile_input_test.py PROGRAM; meant for the asan build as well.
"""
import json
import os
import random
import struct

import lanner
from lanner import GGUF, TestCase, run

TOKENS = ("--tokens", "1,2,3")


def run_model(path):
    return run("run", path, *TOKENS, "--max-tokens", "1")


def spread(size, count, dense):
    """Every point below `dense`, and `count` more up to size."""
    points = set(range(min(dense, size)))
    points.update(size * i // count for i in range(count))
    points.update((size - 1, size - 2))
    return sorted(point for point in points if 0 <= point < size)


def byte_vocabulary():
    """A tokenizer.json of 256 byte tokens and three special ones, for the golden models of 320 tokens."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [byte for byte in range(256) if byte not in plain]
    characters = [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(other))]
    special = ["<unk>", "<s>", "</s>"]
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [
            {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for i, text in enumerate(special)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {text: i for i, text in enumerate([*special, *characters])}, "merges": []},
    }


class HostileInputTest(TestCase):
    # --- checkpoint files ---------------------------------------------------------------------------

    def test_truncated_safetensors(self):
        folder = self.copy_of("llama-linear")
        path = folder / "model.safetensors"
        data = path.read_bytes()
        for size in spread(len(data), 60, 12):
            path.write_bytes(data[:size])
            self.assert_refused(run_model(folder), "model.safetensors", f"cut to {size} bytes")

    def test_truncated_shard(self):
        folder = self.copy_of("llama-llama3")
        path = folder / "model-00002-of-00003.safetensors"
        data = path.read_bytes()
        for size in spread(len(data), 12, 1):
            path.write_bytes(data[:size])
            self.assert_refused(run_model(folder), path.name, f"cut to {size} bytes")

    def test_truncated_gguf(self):
        data = GGUF.read_bytes()
        path = self.folder / "cut.gguf"
        for size in spread(len(data), 120, 24):
            path.write_bytes(data[:size])
            self.assert_refused(run_model(path), path.name, f"cut to {size} bytes")

    def assert_no_crash(self, result, what):
        """After a random change a file may be whole by chance."""
        if result.status == 0:
            return
        self.assert_refused(result, "lanner: error: ", what)

    def test_flipped_header_bytes(self):
        generator = random.Random(1)
        folder = self.copy_of("llama-tied")
        safetensors = folder / "model.safetensors"
        gguf = self.folder / "flipped.gguf"
        for path, data, model, header in (
            (safetensors, safetensors.read_bytes(), folder, 8 + struct.unpack("<Q", safetensors.read_bytes()[:8])[0]),
            (gguf, GGUF.read_bytes(), gguf, 9000),
        ):
            points = [*range(16), *(generator.randrange(header) for _ in range(100))]
            for at in points:
                for mask in (1 << generator.randrange(8), 0xFF)[: 1 if at >= 16 else 2]:
                    damaged = bytearray(data)
                    damaged[at] ^= mask
                    path.write_bytes(damaged)
                    self.assert_no_crash(run_model(model), f"{path.name}: byte {at} ^ {mask}")

    def test_headers_that_lie(self):
        folder = self.copy_of("llama-tied")
        path = folder / "model.safetensors"
        header, body = lanner.split_safetensors(path.read_bytes())
        norm = "model.norm.weight"
        begin, end = header[norm]["data_offsets"]

        def changed(name, **values):
            return {**header, name: {**header[name], **values}}

        for what, new, named in (
            ("a missing tensor", {k.replace(norm, "model.morn.weight"): v for k, v in header.items()}, norm),
            ("a hole", {k: v for k, v in header.items() if k != norm}, "model.safetensors"),
            ("another shape", changed(norm, shape=[2, 32]), norm),
            ("another size", changed(norm, shape=[32], data_offsets=[begin, begin + 128]), "model.safetensors"),
            ("another dtype", changed(norm, dtype="I64", shape=[32]), norm),
            ("an unknown dtype", changed(norm, dtype="F7"), norm),
            ("an offset past the end", changed(norm, data_offsets=[begin, end + 10**9]), norm),
            ("offsets the wrong way", changed(norm, data_offsets=[end, begin]), norm),
            ("an overflowing shape", changed(norm, shape=[2**62, 2**62]), norm),
            ("a negative dimension", changed(norm, shape=[-64]), "-64"),
            ("offsets that are text", changed(norm, data_offsets=["0", "1"]), "a string in the header"),
            ("huge offsets", changed(norm, data_offsets=[2**63, 2**64]), "huge number in the header"),
            ("a list for a header", [], "model.safetensors"),
        ):
            path.write_bytes(lanner.join_safetensors(new, body))
            self.assert_refused(run_model(folder), named, what)
        for what, length in (("a length past the end", len(body) * 2), ("a huge length", 2**63), ("length 0", 0)):
            path.write_bytes(struct.pack("<Q", length) + b"{}" + body)
            self.assert_refused(run_model(folder), "model.safetensors", what)
        path.write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
        self.assert_refused(run_model(folder), "model.safetensors", "deep JSON")

    def test_gguf_metadata_that_lies(self):
        data = GGUF.read_bytes()
        path = self.folder / "lie.gguf"
        for key, values in {
            "llama.block_count": (0, 3, 2**32 - 1),
            "llama.embedding_length": (0, 63, 65, 2**32 - 1),
            "llama.feed_forward_length": (0, 159, 2**32 - 1),
            "llama.attention.head_count": (0, 3, 5, 2**32 - 1),
            "llama.attention.head_count_kv": (0, 3, 8, 2**32 - 1),
            "llama.rope.dimension_count": (0, 15, 2**32 - 1),
            "llama.context_length": (0, 2**32 - 1),
            "tokenizer.ggml.bos_token_id": (320, 2**32 - 2),
            "tokenizer.ggml.eos_token_id": (320, 2**32 - 2),
        }.items():
            name = struct.pack("<Q", len(key)) + key.encode()
            at = data.index(name) + len(name)
            self.assertEqual(data[at : at + 4], struct.pack("<I", 4), f"{key} is no uint32")
            for value in values:
                path.write_bytes(data[: at + 4] + struct.pack("<I", value) + data[at + 8 :])
                with self.subTest(key=key, value=value):
                    self.assert_refused(run_model(path), path.name, f"{key}={value}")

    def test_shard_indexes_that_lie(self):
        folder = self.copy_of("llama-llama3")
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        norm = "model.norm.weight"
        for shard in ("../secret.safetensors", "/etc/passwd", "no-such-file.safetensors", "", 7,
                      "model-00001-of-00003.safetensors"):
            path.write_text(json.dumps({**index, "weight_map": {**index["weight_map"], norm: shard}}))
            self.assert_refused(run_model(folder), (norm, "index.json"), f"shard {shard!r}")
        for text in ("", "{", "[]", '{"weight_map": []}', '{"weight_map": {}}', "{}"):
            path.write_text(text)
            self.assert_refused(run_model(folder), ("index.json", "tensor"), text)

    def test_missing_files(self):
        for name in ("model-00003-of-00003.safetensors", "config.json"):
            folder = self.copy_of("llama-llama3")
            (folder / name).unlink()
            self.assert_refused(run_model(folder), name, f"without {name}")

    # --- paths --------------------------------------------------------------------------------------

    def test_paths_that_are_no_model(self):
        empty = self.folder / "empty"
        empty.mkdir()
        pickle = self.copy_of("llama-tied", into="pickle")
        (pickle / "model.safetensors").rename(pickle / "pytorch_model.bin")
        text = self.folder / "text.gguf"
        text.write_text("This is no GGUF file, but it is longer than a header would be.")
        nothing = self.folder / "nothing.gguf"
        nothing.write_bytes(b"")
        loop = self.folder / "loop.gguf"
        loop.symlink_to(loop)
        fifo = self.folder / "fifo.gguf"
        os.mkfifo(fifo)
        for path, named in ((empty, "empty"), (pickle, "pickle"), (text, "text.gguf"), (nothing, "nothing.gguf"),
                            (loop, "loop.gguf"), (fifo, "fifo.gguf"),
                            (self.folder / "missing", "missing"), (self.folder / "missing.gguf", "missing.gguf")):
            for command in (("info", path), ("chat", path), ("run", path, "hello"),
                            ("tokenize", path, "hello"), ("render", path, "hello")):
                self.assert_refused(run(*command), named, f"{command[0]} {path.name}")
        for command in ("run", "info", "chat", "tokenize"):
            result = run(command, "some-org/some-model", *(["hello"] if command in ("run", "tokenize") else []))
            self.assert_refused(result, "some-org/some-model", command)

    # --- config.json --------------------------------------------------------------------------------

    def test_config_values_that_make_no_sense(self):
        folder = self.copy_of("llama-tied")
        path = folder / "config.json"
        good = json.loads(path.read_text())
        integers = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                    "num_key_value_heads", "head_dim", "max_position_embeddings")
        bad_integers = (-1, 0, 2**31, 2**62, 1.5, "64", [], True)
        cases = [(key, value) for key in integers for value in bad_integers]
        cases += [(key, good[key] + 1) for key in integers if key != "max_position_embeddings"]
        cases += [("rms_norm_eps", value) for value in (-1, "x", float("nan"), float("inf"), [])]
        cases += [("rope_theta", value) for value in (-1, 0, "x", float("nan"), {})]
        cases += [("partial_rotary_factor", value) for value in (0, -1, 2, 1e300, 0.01, "x")]
        cases += [("model_type", value) for value in ("nonsense", 3, "", "../llama")]
        cases += [("hidden_act", value) for value in ("swish9", 1)]
        cases += [("tie_word_embeddings", "yes"), ("attention_bias", 3), ("eos_token_id", "</s>"),
                  ("eos_token_id", -5), ("mlp_bias", True), ("attention_bias", True),
                  ("quantization_config", {"quant_method": "gptq", "bits": 4})]
        scaling = good["rope_scaling"]
        cases += [("rope_scaling", value) for value in
                  ({"rope_type": "nonsense"}, {"rope_type": "linear"}, {**scaling, "factor": -1},
                   {**scaling, "factor": "x"}, {**scaling, "low_freq_factor": 9.0}, {**scaling, "new_key": 1},
                   {"type": 3}, "linear", [], {})]
        # Named by the key, or by what the key means for a tensor.
        for key, value in cases:
            path.write_text(json.dumps({**good, key: value}))
            # The name of the key, of a key in it, or of a tensor that has other sizes; NaN is no JSON.
            names = [f"'{key}'", f"'{key}.", "rope_scaling.new_key", ".bias"]
            names += [".weight"] if key in integers else ["not valid JSON"]
            with self.subTest(key=key, value=value):
                self.assert_refused(run_model(folder), names, f"{key}={value!r}")
        for key in ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
            path.write_text(json.dumps({k: v for k, v in good.items() if k != key}))
            self.assert_refused(run_model(folder), (key, "weight"), f"without {key}")
        whole = json.dumps(good)
        for text in ("", "[]", "null", whole[:-1], whole + "x", "\xff", "[" * 100_000, '{"a":' * 100_000):
            path.write_text(text, encoding="latin-1")
            self.assert_refused(run_model(folder), "config.json", text[:20])

    def test_generation_config_that_makes_no_sense(self):
        folder = self.copy_of("llama-tied")
        path = folder / "generation_config.json"
        for value in ({"temperature": "hot"}, {"temperature": -1}, {"top_p": 7}, {"top_k": -3},
                      {"eos_token_id": "x"}, {"eos_token_id": [1, "x"]}, {"eos_token_id": -1}, {"do_sample": "x"}):
            with self.subTest(value=value):
                path.write_text(json.dumps(value))
                self.assert_refused(run_model(folder), next(iter(value)), value)
        path.write_text("{")
        self.assert_refused(run_model(folder), path.name, "cut short")

    # --- text ---------------------------------------------------------------------------------------

    def with_text(self, template="{{ messages[0].content }}"):
        folder = self.copy_of("llama-tied")
        (folder / "tokenizer.json").write_text(json.dumps(byte_vocabulary()))
        (folder / "tokenizer_config.json").write_text(json.dumps(
            {"bos_token": "<s>", "eos_token": "</s>", "chat_template": template,
             "tokenizer_class": "PreTrainedTokenizerFast"}))
        return folder

    def test_tokenizer_files_cut_short(self):
        folder = self.with_text()
        self.assert_runs("run", folder, "hello", "--max-tokens", "1")
        path = folder / "tokenizer.json"
        data = path.read_bytes()
        for size in spread(len(data), 15, 1):
            path.write_bytes(data[:size])
            self.assert_refused(run("tokenize", folder, "hello"), path.name, f"cut to {size} bytes")
        self.assert_refused(run("run", folder, "hello"), path.name, "the same in run")
        path.write_bytes(b"[" * 200_000)
        self.assert_refused(run("tokenize", folder, "hello"), path.name, "deep JSON")
        path.write_bytes(data)
        path = folder / "tokenizer_config.json"
        data = path.read_bytes()
        for size in spread(len(data), 6, 1):
            path.write_bytes(data[:size])
            self.assert_refused(run("tokenize", folder, "hello"), path.name, f"cut to {size} bytes")

    def test_a_token_without_an_embedding(self):
        folder = self.with_text()
        path = folder / "tokenizer.json"
        vocabulary = byte_vocabulary()
        vocabulary["model"]["vocab"]["h"] = 320
        path.write_text(json.dumps(vocabulary))
        self.assert_refused(run("run", folder, "hello"), ("320", "tokenizer"), "a token id past the vocabulary")

    def test_templates_that_misbehave(self):
        for template, named in (
            ("{% for i in range(1000000000) %}{% endfor %}x", "template"),
            ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "template"),
            ("{% for i in range(100000) %}" + "x" * 1000 + "{% endfor %}", "template"),
            ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "template"),
            ("{{ 'x' * 10000000000 }}", "template"),
            ("{{ raise_exception('only users') }}", "only users"),
            ("{{ messages.__class__.__mro__ }}", "template"),
            ("{% if %}", "template"),
            ("{{ " + "(" * 100_000, "template"),
            ("{% include '/etc/passwd' %}", "template"),
        ):
            with self.subTest(template=template[:60]):
                folder = self.with_text(template)
                for command in (("render", folder, "hello"), ("run", folder, "hello")):
                    result = run(*command)
                    self.assert_refused(result, named, template[:60])
                    self.assertLess(result.seconds, lanner.TIMEOUT / 2)

    def test_prompts_that_are_no_text(self):
        folder = self.with_text()
        self.assert_refused(run("render", folder, "--messages", "-", stdin="[" * 100_000), "standard input", "deep JSON")
        self.assertEqual(run("run", folder, stdin="").status, 2)


if __name__ == "__main__":
    lanner.main()
