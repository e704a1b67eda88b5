#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lanner bench` on a tiny model: every figure is there and makes sense; none is held against a time.

Usage: bench_test.py PROGRAM
"""
import json

import lanner
from lanner import GGUF, TestCase


class BenchTest(TestCase):
    def test_a_model_and_its_machine(self):
        result = self.assert_runs(
            "bench", "model", GGUF, "--json", "--prompt", "40", "--generate", "8", "--depth", "0,50",
            "--batch", "1,3", "--repeat", "2")
        report = json.loads(result.out)

        machine = report["machine"]
        self.assertEqual(len(machine["read_gbps_by_threads"]), machine["threads"])
        for rate in (machine["read_gbps"], machine["peak_gops"]["fp32"], machine["empty_region_us"]):
            self.assertGreater(rate, 0)
        self.assertEqual(machine["peak_gops"]["int8"] is None, not any("vnni" in isa for isa in machine["isa"]))

        self.assertGreater(report["model"]["parameters"], 0)
        self.assertEqual([row["tokens"] for row in report["prefill"]], [40])
        self.assertEqual([(row["depth"], row["batch"]) for row in report["decode"]],
                         [(0, 1), (0, 3), (50, 1), (50, 3)])
        for row in report["prefill"]:
            self.assertGreater(row["tokens_per_s"], 0)
            self.assert_percentiles(row["ttft_ms"])
        for row in report["decode"]:
            self.assertGreater(row["tokens_per_s"], 0)
            self.assertGreater(row["share_of_bandwidth"], 0)
            self.assert_percentiles(row["tpot_ms"])
        self.assertGreater(report["load_s"], 0)
        # The buffers of the machine's own benchmark are no memory of the model's.
        self.assertLess(report["peak_rss_bytes"], 500 << 20)

    def test_speculation_in_pairs_of_runs(self):
        result = self.assert_runs(
            "bench", "speculate", GGUF, "--json", "--text", "random", "--batch", "1,2", "--generate", "12", "--repeat", "2")
        rows = json.loads(result.out)["speculation"]["random"]
        self.assertEqual([row["batch"] for row in rows], [1, 2])
        for row in rows:
            self.assertGreater(row["speedup"], 0)
            self.assertLessEqual(row["speedup_p25"], row["speedup_p75"])
            self.assertTrue(row["same_tokens"])
            self.assertLessEqual(row["accepted"], row["drafts"])
            self.assertGreater(min(row["steps"], row["steps_without"]), 0)
        self.assert_refused(
            lanner.run("bench", "speculate", "--random-weights", "llama-1b"), "--text random", "a copy of random weights")

    def test_requests_of_fixed_lengths(self):
        result = self.assert_runs(
            "bench", "serve-offline", GGUF, "--json", "--concurrency", "1,3", "--requests", "3", "--prompt", "10",
            "--generate", "5")
        report = json.loads(result.out)
        self.assertEqual(report["lengths"], "fixed")
        for row in report["serve_offline"]:
            self.assertEqual((row["requests"], row["prompt_tokens"], row["output_tokens"]), (3, 30, 15))
            self.assertLess(row["overhead_share"], 1)
        self.assert_refused(
            lanner.run("bench", "serve-offline", GGUF, "--prompt", "1000000", "--generate", "5"), "1000005", "a long prompt")

    def assert_percentiles(self, row):
        self.assertGreater(row["p50"], 0)
        self.assertLessEqual(row["p50"], row["p90"])
        self.assertLessEqual(row["p90"], row["p99"])

    def test_more_tokens_than_the_model_takes(self):
        self.assert_refused(lanner.run("bench", "model", GGUF, "--prompt", "1000000"), ["1000001"], "a long prompt")


if __name__ == "__main__":
    lanner.main()
