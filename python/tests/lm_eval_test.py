# SPDX-License-Identifier: Apache-2.0
"""The adapter for lm-evaluation-harness, on tasks of a few lines each (lm_eval_tasks)."""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import lm_eval
import lm_eval.tasks

import lanner
import lanner.lm_eval  # registers the model
from models import needs_default_model

TASKS = pathlib.Path(__file__).resolve().parent / "lm_eval_tasks"
CAPITALS = [("France", "Paris"), ("Italy", "Rome"), ("Japan", "Tokyo"), ("Germany", "Berlin"), ("Spain", "Madrid")]


def write_tasks(folder):
    """The task files, with their data beside them."""
    lines = [json.dumps({"country": country, "choices": [city for _, city in CAPITALS], "answer": i, "city": city})
             for i, (country, city) in enumerate(CAPITALS)]
    data = folder / "capitals.jsonl"
    data.write_text("\n".join(lines) + "\n")
    for path in TASKS.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text().replace("DATA", str(data)))


@needs_default_model
class LmEvalTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="lanner_lm_eval_")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        write_tasks(cls.folder)
        cls.model = lanner.lm_eval.LannerLM(max_length=512, dtype="fp32", kv_dtype="fp32")
        cls.addClassCleanup(cls.model.llm.close)

    def test_the_harness_runs_tasks_of_each_kind(self):
        names = ["capitals_choice", "capitals_text", "capitals_perplexity"]
        results = lm_eval.simple_evaluate(
            model=self.model, tasks=names, bootstrap_iters=0, cache_requests=False,
            task_manager=lm_eval.tasks.TaskManager(include_path=str(self.folder), include_defaults=False))["results"]
        self.assertGreaterEqual(results["capitals_choice"]["acc,none"], 0.8)
        self.assertGreaterEqual(results["capitals_text"]["exact_match,none"], 0.6)
        perplexity = results["capitals_perplexity"]["word_perplexity,none"]
        self.assertTrue(1 < perplexity < 10000, perplexity)

    def test_likelihoods_are_those_of_the_logits(self):
        llm = self.model.llm
        context, continuation = llm.tokenize("The capital of France is"), llm.tokenize(" Paris")
        [(likelihood, greedy)] = self.model._loglikelihood_tokens([(None, context, continuation)])
        logits = llm.forward(context + continuation).astype(np.float64)
        logprobs = logits - np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)) - logits.max(
            axis=1, keepdims=True)
        rows = range(len(context) - 1, len(context) + len(continuation) - 1)
        self.assertAlmostEqual(likelihood, sum(logprobs[row, token] for row, token in zip(rows, continuation)), places=2)
        self.assertEqual(greedy, all(logits[row].argmax() == token for row, token in zip(rows, continuation)))

    def test_long_texts_are_scored_whole(self):
        text = "one two three four five " * 200
        [total] = self.model.loglikelihood_rolling([Instance(text)])
        self.assertTrue(math.isfinite(total) and total < 0)

    def test_what_it_has_not_got_is_refused(self):
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "num_beams"):
            self.model.generate_until([Instance("a", {"until": ["\n"], "num_beams": 2})])

    def test_the_command_line_knows_the_model(self):
        command = [sys.executable, "-m", "lanner.lm_eval", "--model", "lanner", "--model_args", "max_length=256", "--tasks",
                   "capitals_choice", "--include_path", str(self.folder), "--limit", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.assertIn("capitals_choice", done.stdout)


class Instance:
    """A request of the harness, as far as the adapter looks at it."""

    def __init__(self, *args):
        self.args = args


if __name__ == "__main__":
    unittest.main()
