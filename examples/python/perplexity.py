# SPDX-License-Identifier: Apache-2.0
"""How well a model predicts a text, from its logits. perplexity.py TEXT_FILE [MODEL]."""

import sys
from pathlib import Path

import numpy as np

import lanner


def perplexity(llm: lanner.LLM, text: str, window: int = 256) -> float:
    tokens = np.array(llm.tokenize(text)[:window])
    logits = llm.forward(tokens).astype(np.float64)
    highest = logits.max(axis=1, keepdims=True)
    logprobs = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
    return float(np.exp(-logprobs[np.arange(len(tokens) - 1), tokens[1:]].mean()))


def main() -> None:
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    with lanner.LLM(sys.argv[2] if len(sys.argv) > 2 else None) as llm:
        print(f"perplexity {perplexity(llm, text):.2f}")


if __name__ == "__main__":
    main()
