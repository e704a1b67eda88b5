# SPDX-License-Identifier: Apache-2.0
"""Token ids in and out of a tiny model: logits, batches, streams, errors, threads, Ctrl-C."""

import _thread
import asyncio
import gc
import json
import math
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from dataclasses import fields

import numpy as np

import lanner
from lanner import _lanner, errors
from models import SOURCE, TINY, TINY_CONFIG, tiny, write_adapter

FOREVER = lanner.SamplingParams(max_tokens=400, ignore_eos=True)


def read_golden(folder, key):
    data = (folder / "golden.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    entry = json.loads(data[8 : 8 + length])[key]
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[8 + length :][begin:end], np.float32).reshape(entry["shape"])


def golden_prompts(folder):
    return json.loads((folder / "golden.json").read_text())["prompts"]


class TinyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.llm = tiny()
        cls.addClassCleanup(cls.llm.close)


class ForwardTest(TinyTest):
    def test_the_logits_are_the_references(self):
        checked = 0
        for prompt in golden_prompts(TINY):
            tokens = prompt["ids"]
            if len(tokens) > 500:
                continue
            expected = read_golden(TINY, prompt["logits_key"])
            logits = self.llm.forward(tokens)
            self.assertEqual((logits.dtype, logits.shape), (np.float32, (len(tokens), 320)))
            np.testing.assert_allclose(logits[-len(expected) :], expected, atol=1e-4 * max(1.0, prompt["logits_max_abs"]), rtol=0)
            checked += 1
        self.assertGreater(checked, 0)

    def test_numpy_tokens_are_tokens(self):
        tokens = [1, 5, 9, 200]
        np.testing.assert_array_equal(self.llm.forward(np.array(tokens)), self.llm.forward(tokens))

    def test_bad_tokens_are_refused(self):
        for tokens, words in (([], "token"), ([320], "320"), ([-1], "-1"), ([1] * 600, "600")):
            with self.subTest(tokens=tokens[:3]), self.assertRaisesRegex(lanner.InvalidArgumentError, words):
                self.llm.forward(tokens)
        with self.assertRaises(TypeError):
            self.llm.forward(["a"])

    def test_generation_follows_the_logits(self):
        prompt = [1, 5, 9]
        ids = self.llm.generate(prompt, lanner.SamplingParams(max_tokens=5, ignore_eos=True)).token_ids
        logits = self.llm.forward(prompt + ids)
        self.assertEqual(ids, logits[len(prompt) - 1 : -1].argmax(axis=1).tolist())


class GenerateTest(TinyTest):
    def test_one_prompt_gives_one_result_and_a_list_a_list(self):
        params = lanner.SamplingParams(max_tokens=6, ignore_eos=True)
        one = self.llm.generate([1, 2, 3], params)
        self.assertIsInstance(one, lanner.GenerationResult)
        self.assertEqual((len(one.token_ids), one.finish_reason, one.usage.prompt_tokens), (6, "length", 3))
        many = self.llm.generate([[1, 2, 3], np.array([4, 5]), (6,)], params)
        self.assertEqual([result.usage.prompt_tokens for result in many], [3, 2, 1])
        self.assertEqual(many[0].token_ids, one.token_ids)
        self.assertEqual(self.llm.generate([], params), [])

    def test_each_prompt_may_have_its_own_parameters(self):
        params = [lanner.SamplingParams(max_tokens=count, ignore_eos=True) for count in (1, 5)]
        results = self.llm.generate([[1, 2], [3, 4]], params)
        self.assertEqual([len(result.token_ids) for result in results], [1, 5])
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "2 sampling_params for 1 prompts"):
            self.llm.generate([[1, 2]], params)

    def test_several_answers_come_in_order(self):
        result = self.llm.generate([1, 2, 3], lanner.SamplingParams(n=4, temperature=1, seed=3, max_tokens=5, ignore_eos=True))
        self.assertEqual([answer.index for answer in result.completions], [0, 1, 2, 3])
        self.assertGreater(len({tuple(answer.token_ids) for answer in result.completions}), 1)
        self.assertEqual(result.token_ids, result.completions[0].token_ids)

    def test_beams(self):
        params = lanner.SamplingParams(beam_width=3, n=2, max_tokens=4, ignore_eos=True, early_stopping="never")
        self.assertEqual(len(self.llm.generate([1, 2, 3], params).completions), 2)

    def test_logprobs_are_those_of_the_logits(self):
        prompt = [1, 5, 9]
        result = self.llm.generate(prompt, lanner.SamplingParams(max_tokens=4, ignore_eos=True, logprobs=2, prompt_logprobs=1))
        logits = self.llm.forward(prompt + result.token_ids).astype(np.float64)
        expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        self.assertEqual([place.token.token_id for place in result.logprobs], result.token_ids)
        for place, row in zip(result.logprobs, expected[len(prompt) - 1 :]):
            self.assertAlmostEqual(place.logprob, row[place.token.token_id], places=3)
            self.assertEqual(len(place.top), 2)
            self.assertAlmostEqual(place.top[1].logprob, np.sort(row)[-2], places=3)
        self.assertEqual(len(result.prompt_logprobs), len(prompt))
        self.assertAlmostEqual(result.prompt_logprobs[2].logprob, expected[1][9], places=3)

    def test_the_seed_decides(self):
        params = lanner.SamplingParams(temperature=1.0, seed=7, max_tokens=12, ignore_eos=True)
        self.assertEqual(self.llm.generate([1, 2], params).token_ids, self.llm.generate([1, 2], params).token_ids)

    def test_every_field_reaches_the_engine(self):
        # Each is out of its range, or not possible together, and the engine names it.
        wrong = {"temperature": -1, "top_k": -1, "top_p": 0, "min_p": 2, "typical_p": 0, "repetition_penalty": 0,
                 "frequency_penalty": 3, "presence_penalty": -3, "logit_bias": {5: 1000}, "n": 0, "best_of": 200,
                 "beam_width": 1, "length_penalty": 100, "logprobs": 21, "prompt_logprobs": 21, "max_tokens": -1,
                 "min_tokens": -1, "stop": [""], "stop_token_ids": [999], "bad_word_ids": [[]]}
        for name, value in wrong.items():
            with self.subTest(name), self.assertRaisesRegex(lanner.InvalidArgumentError, name.split("_ids")[0].replace("_", "[_ ]")):
                self.llm.generate([1], lanner.SamplingParams(**{name: value}))
        self.assertIsInstance(lanner.InvalidArgumentError("x"), ValueError)
        for name, value in (("temperature", "hot"), ("top_k", 1.5), ("stop", [1]), ("seed", "x"), ("logit_bias", {"a": 1})):
            with self.subTest(name), self.assertRaisesRegex(TypeError, name):
                self.llm.generate([1], lanner.SamplingParams(**{name: value}))
        with self.assertRaisesRegex(ValueError, "heuristic"):
            self.llm.generate([1], lanner.SamplingParams(early_stopping="sometimes"))
        with self.assertRaisesRegex(TypeError, "no field 'colour'"):
            self.llm.generate([1], colour="red")

    def test_text_needs_a_tokenizer(self):
        for call in (lambda: self.llm.generate("hello"), lambda: self.llm.tokenize("hello"), lambda: self.llm.chat("hello")):
            with self.assertRaises(lanner.Error):
                call()

    def test_requests_from_many_threads(self):
        params = lanner.SamplingParams(max_tokens=20, ignore_eos=True)
        expected = [self.llm.generate([i, i + 1], params).token_ids for i in range(1, 7)]
        found = [None] * 6

        def work(i):
            found[i] = self.llm.generate([i + 1, i + 2], params).token_ids

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, expected)

    def test_the_gil_is_free_while_it_computes(self):
        counted = 0
        done = threading.Event()

        def count():
            nonlocal counted
            while not done.is_set():
                counted += 1
                time.sleep(0.001)

        thread = threading.Thread(target=count)
        thread.start()
        before = counted
        self.llm.generate([1, 2, 3], FOREVER)
        during = counted - before
        done.set()
        thread.join()
        self.assertGreater(during, 0)


class EmbedTest(TinyTest):
    def test_vectors(self):
        self.assertEqual(self.llm.embedding_size, 64)
        both = self.llm.embed([[1, 5, 9], [7]])
        self.assertEqual((both.shape, both.dtype), ((2, 64), np.float32))
        np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(self.llm.embed([1, 5, 9]), both[0], atol=1e-5)
        np.testing.assert_allclose(asyncio.run(self.llm.aembed(np.array([7]))), both[1], atol=1e-5)
        self.assertEqual(self.llm.embed([]).shape, (0, 64))
        # One token: all poolings are the same; several: none is.
        plain = [self.llm.embed([7], pooling=pooling, normalized=False) for pooling in ("mean", "last", "first")]
        np.testing.assert_allclose(plain[0], plain[1], rtol=1e-5)
        np.testing.assert_allclose(plain[0], plain[2], rtol=1e-5)
        self.assertGreater(np.abs(self.llm.embed([1, 5, 9], pooling="last") - both[0]).max(), 1e-3)
        np.testing.assert_allclose(self.llm.embed([1, 5, 9], pooling="last", normalized=False),
                                   self.llm.embed([[2], [1, 5, 9]], pooling="last", normalized=False)[1], atol=1e-4)

    def test_wrong_ones(self):
        with self.assertRaisesRegex(ValueError, "mean, last, first"):
            self.llm.embed([1], pooling="median")
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "600"):
            self.llm.embed([1] * 600)
        self.assertEqual(self.llm.embed([1] * 600, truncate=True).shape, (64,))


class LoraTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.adapters = {name: write_adapter(cls.folder / name, seed) for seed, name in enumerate("ab")}
        cls.llm = tiny(lora=cls.adapters)
        cls.addClassCleanup(cls.llm.close)

    def test_each_request_has_its_own(self):
        self.assertEqual(self.llm.lora_adapters, ["a", "b"])
        params = lanner.SamplingParams(max_tokens=8, ignore_eos=True)
        names = ["a", "", "b", "a"]
        prompts = [[5, 6, 7 + i] for i in range(4)]
        together = [result.token_ids for result in self.llm.generate(prompts, params, lora=names)]
        for prompt, name, tokens in zip(prompts, names, together):
            self.assertEqual(self.llm.generate(prompt, params, lora=name).token_ids, tokens)
            chunks = self.llm.stream(prompt, params, lora=name)
            self.assertEqual([token for chunk in chunks for token in chunk.token_ids], tokens)
        async def alone():
            return (await self.llm.agenerate(prompts[0], params, lora="a")).token_ids
        self.assertEqual(asyncio.run(alone()), together[0])

    def test_merged_it_is_the_model(self):
        for name, folder in self.adapters.items():
            with self.subTest(name), tiny(lora={name: folder}, lora_merge=True) as merged:
                self.assertEqual(merged.lora_adapters, [])
                expected, logits = merged.forward([1, 5, 9]), self.llm.forward([1, 5, 9], lora=name)
                np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
                self.assertGreater(np.abs(logits - self.llm.forward([1, 5, 9])).max(), 0.01 * np.abs(expected).max())
                np.testing.assert_allclose(self.llm.embed([[1, 5, 9]], lora=name), merged.embed([[1, 5, 9]]), atol=1e-5)
                target = self.folder / ("merged-" + name)
                report = lanner.quantize(TINY, target, dtype="fp32", lora=[folder])
                self.assertGreater(report.quantized_tensors + report.other_tensors, 10)
                with lanner.LLM(target, **TINY_CONFIG) as written:
                    np.testing.assert_array_equal(written.forward([1, 5, 9]), expected)

    def test_wrong_ones(self):
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "'c'.*a, b"):
            self.llm.generate([1], lora="c")
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "1 lora for 2"):
            self.llm.generate([[1], [2]], lora=["a"])
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "'c'"):
            self.llm.forward([1], lora="c")
        with self.assertRaisesRegex(lanner.NotFoundError, "adapter_config.json"):
            tiny(lora={"a": "/nowhere"})
        with self.assertRaisesRegex(TypeError, "lora"):
            _lanner.Model(str(TINY), {"lora": {"a": 1}}, None)


class ToolsTest(unittest.TestCase):
    def test_quantize(self):
        with tempfile.TemporaryDirectory() as folder:
            seen = []
            target = pathlib.Path(folder) / "model.gguf"
            report = lanner.quantize(TINY, target, dtype="q8_0", threads=1, progress=lambda *news: seen.append(news))
            self.assertLess(report.bytes, report.source_bytes)
            self.assertGreater(report.quantized_tensors, 0)
            self.assertTrue(all(isinstance(note, str) for note in report.notes))
            for stage, done, total in seen:
                self.assertEqual((type(stage), done <= total), (str, True))
            with self.assertRaises(lanner.InvalidArgumentError):
                lanner.quantize(TINY, target, dtype="q8_0")
            lanner.quantize(TINY, target, dtype="q4_0", overwrite=True)
            with lanner.LLM(target, **TINY_CONFIG) as llm:
                self.assertEqual(llm.forward([1, 2]).shape, (2, 320))

    def test_pull(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(lanner.InvalidArgumentError, "OWNER/NAME"):
                lanner.pull("no name")
            with self.assertRaises(lanner.NotFoundError):
                lanner.pull("nobody/nothing", cache_dir=folder, offline=True)
            with self.assertRaises(lanner.IoError):
                lanner.pull("nobody/nothing", cache_dir=folder, url="http://127.0.0.1:9")

    def test_plan(self):
        report = lanner.plan_distributed(TINY, ranks=[1, 2], latency_us=10, bandwidth_gbps=1, dtype="int8", threads=1,
                                         max_context=256)
        self.assertEqual([row["ranks"] for row in report["ranks"]], [1, 2])
        with self.assertRaises(lanner.InvalidArgumentError):
            lanner.plan_distributed(TINY, ranks=[0], latency_us=10, bandwidth_gbps=1)


class StreamTest(TinyTest):
    def test_chunks_add_up(self):
        params = lanner.SamplingParams(max_tokens=40, ignore_eos=True)
        expected = self.llm.generate([1, 2, 3], params).token_ids
        chunks = list(self.llm.stream([1, 2, 3], params))
        self.assertEqual([token for chunk in chunks for token in chunk.token_ids], expected)
        self.assertEqual([chunk.finish_reason for chunk in chunks][-1], "length")
        self.assertTrue(all(not chunk.finish_reason for chunk in chunks[:-1]))

    def test_a_slow_reader_gets_merged_chunks(self):
        stream = self.llm.stream([1, 2, 3], lanner.SamplingParams(max_tokens=30, ignore_eos=True))
        first = next(stream)
        self.wait_until(lambda: stream._requests.ended)
        rest = list(stream)
        self.assertLessEqual(len(rest), 1)  # none, if all had come with the first
        self.assertEqual(sum(len(chunk.token_ids) for chunk in [first, *rest]), 30)
        self.assertEqual(list(stream), [])

    def wait_until(self, condition):
        end = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not happen")
            time.sleep(0.01)

    def test_a_stream_that_is_left_ends(self):
        # Once in a with, once dropped.
        with self.llm.stream([1, 2], FOREVER) as stream:
            next(stream)
        self.wait_until(lambda: self.llm.stats()["running_sequences"] == 0)
        stream = self.llm.stream([1, 2], FOREVER)
        next(stream)
        del stream
        gc.collect()
        self.wait_until(lambda: self.llm.stats()["running_sequences"] == 0)

    def test_one_stream_one_prompt(self):
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "one prompt"):
            self.llm.stream([[1, 2], [3]])


class AsyncTest(TinyTest):
    def test_generate_and_stream(self):
        params = lanner.SamplingParams(max_tokens=10, ignore_eos=True)
        expected = self.llm.generate([1, 2, 3], params).token_ids

        async def work():
            together = await asyncio.gather(*(self.llm.agenerate([1, 2, 3], params) for _ in range(4)))
            streamed = [token async for chunk in self.llm.astream([1, 2, 3], params) for token in chunk.token_ids]
            batch = await self.llm.agenerate([[1, 2, 3], [4]], params)
            return [result.token_ids for result in together], streamed, [result.token_ids for result in batch][0]

        together, streamed, batch = asyncio.run(work())
        self.assertEqual(together, [expected] * 4)
        self.assertEqual(streamed, expected)
        self.assertEqual(batch, expected)

    def test_the_loop_runs_on(self):
        async def work():
            ticks = 0

            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0.001)

            ticker = asyncio.create_task(tick())
            await self.llm.agenerate([1, 2, 3], FOREVER)
            ticker.cancel()
            return ticks

        self.assertGreater(asyncio.run(work()), 0)

    def test_cancelling_ends_the_request(self):
        async def work():
            task = asyncio.create_task(self.llm.agenerate([1, 2, 3], FOREVER))
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(work())
        end = time.monotonic() + 30
        while self.llm.stats()["running_sequences"]:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


class InterruptTest(unittest.TestCase):
    """A tiny model is soon done: each call is made again until it is interrupted."""

    @classmethod
    def setUpClass(cls):
        cls.llm = tiny(max_context=2048, max_tokens_per_step=8, ngram_speculation=False)
        cls.addClassCleanup(cls.llm.close)
        cls.params = lanner.SamplingParams(max_tokens=2000, ignore_eos=True)

    def interrupted(self, work):
        """Runs it, interrupts it as Ctrl-C does, and says whether KeyboardInterrupt came out of it."""
        timer = threading.Timer(0.1, _thread.interrupt_main)
        timer.start()
        end = time.monotonic() + 60
        try:
            while time.monotonic() < end:
                work()
        except KeyboardInterrupt:
            return True
        finally:
            try:
                timer.join()
                time.sleep(0.2)  # for an interrupt that comes too late
            except KeyboardInterrupt:
                timer.join()
        return False

    def test_ctrl_c(self):
        work = {
            "generate": lambda: self.llm.generate([[i, i + 1] for i in range(1, 9)], self.params),
            "stream": lambda: list(self.llm.stream([1, 2], self.params)),
            "forward": lambda: self.llm.forward([1] * 2000),
        }
        for name, call in work.items():
            with self.subTest(name):
                self.assertTrue(self.interrupted(call))
                end = time.monotonic() + 30
                while self.llm.stats()["running_sequences"]:
                    self.assertLess(time.monotonic(), end, "the requests run on")
                    time.sleep(0.01)
        self.assertEqual(len(self.llm.generate([1, 2], lanner.SamplingParams(max_tokens=3, ignore_eos=True)).token_ids), 3)


class LoadTest(unittest.TestCase):
    def test_ctrl_c_while_loading(self):
        code = ("import sys, time, lanner\n"
                "def progress(stage, done, total):\n"
                "    print(stage, flush=True)\n"
                "try:\n"
                "    lanner.LLM('llama-1b', random_weights=True, dtype='bf16', threads=1, max_context=256, max_sequences=1,\n"
                "               progress=progress)\n"
                "except KeyboardInterrupt:\n"
                "    print('interrupted', flush=True)\n")
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            try:
                self.assertEqual(process.stdout.readline(), "weights\n")  # it is at work
                process.send_signal(signal.SIGINT)
                output = process.stdout.read()
                self.assertTrue(output.endswith("interrupted\n"), output)
                # Not by loading the rest first: a model of a thousand million parameters has a hundred stops on the way.
                self.assertLess(output.count("weights"), 30, output)
                self.assertEqual(process.wait(60), 0)
            finally:
                process.kill()

    def test_errors_are_mapped(self):
        self.assertEqual(sorted(errors.ERRORS), sorted(_lanner.error_codes()))
        with self.assertRaisesRegex(lanner.NotFoundError, "/nowhere"):
            lanner.LLM("/nowhere")
        self.assertTrue(issubclass(lanner.NotFoundError, FileNotFoundError))
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "int7"):
            lanner.LLM(TINY, dtype="int7")
        with self.assertRaisesRegex(TypeError, "threads"):
            lanner.LLM(TINY, threads="many")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.gguf"
            path.write_bytes(b"GGUF" + b"\xff" * 40)
            with self.assertRaises(lanner.Error):
                lanner.LLM(path)

    def test_all_options_at_once(self):
        seen = []
        with lanner.LLM(TINY, dtype="int8", kv_dtype="int8", attention="slim", threads=1, max_context=256, kv_cache_bytes=1 << 20,
                        max_tokens_per_step=32, max_sequences=4, prefix_cache=False, ngram_speculation=False,
                        random_weights=False, progress=lambda *news: seen.append(news)) as llm:
            model = llm.report()["model"]
            self.assertEqual((model["dtype"], model["kv_dtype"], model["attention"]), ("int8", "int8", "slim"))
            self.assertEqual((llm.max_context, llm.vocab_size, llm.has_chat_template), (256, 320, False))
            self.assertLessEqual(llm.stats()["kv_cache_bytes"], 1 << 20)
        for stage, done, total in seen:
            self.assertIsInstance(stage, str)
            self.assertLessEqual(done, total)

    def test_a_closed_model_says_so(self):
        llm = tiny()
        llm.close()
        llm.close()
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "closed"):
            llm.generate([1])

    def test_two_models_at_once(self):
        with tiny() as one, tiny(dtype="int8") as other:
            params = lanner.SamplingParams(max_tokens=3, ignore_eos=True)
            self.assertEqual(len(one.generate([1], params).token_ids), len(other.generate([1], params).token_ids))

    def test_a_model_in_a_global_variable_does_not_hinder_the_end(self):
        code = (f"import lanner; llm = lanner.LLM({str(TINY)!r}, threads=1, max_context=512); "
                "s = llm.stream([1], lanner.SamplingParams(max_tokens=500, ignore_eos=True)); next(s)")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_reports(self):
        self.assertIn("isa", json.dumps(lanner.machine_report(threads=1)))
        self.assertEqual(lanner.model_report(TINY)["model"]["vocab_size"], 320)
        self.assertIn("llama", json.dumps(lanner.families_report()))
        self.assertRegex(lanner.__version__, r"^\d+\.\d+\.\d+$")


class FieldsTest(unittest.TestCase):
    """What C++ has, Python has."""

    def header_fields(self, header, struct):
        text = re.sub(r"//[^\n]*", "", (SOURCE / "include" / "lanner" / header).read_text())
        body = re.search(rf"struct {struct} {{(.*?)\n}};", text, re.S)[1]
        return set(re.findall(r"^  [\w:<>*, ]+ (\w+)(?: = [^;]*)?;", body, re.M))

    def test_the_tables_are_complete(self):
        headers = {"LlmConfig": "config.h", "SamplingParams": "sampling_params.h", "StructuredOutput": "structured_output.h",
                   "Request": "request.h", "ChatRequest": "chat.h", "ChatMessage": "chat.h", "Tool": "chat.h",
                   "ToolChoice": "chat.h", "EmbeddingRequest": "embedding.h", "QuantizeOptions": "quantize.h", "HubOptions": "hub.h",
                   "DistributedPlan": "distributed.h"}
        for struct, names in _lanner.field_names().items():
            with self.subTest(struct):
                self.assertEqual(set(names), self.header_fields(headers[struct], struct))

    def test_the_dataclass_has_the_fields_and_the_defaults(self):
        self.assertEqual({entry.name for entry in fields(lanner.SamplingParams)}, set(_lanner.field_names()["SamplingParams"]))
        with tiny() as llm:
            self.assertEqual(llm.default_sampling_params(), lanner.SamplingParams())


if __name__ == "__main__":
    unittest.main()
