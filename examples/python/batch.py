# SPDX-License-Identifier: Apache-2.0
"""Many prompts: together as a list, and as tasks of asyncio. batch.py [MODEL]."""

import asyncio
import sys

import lanner

PROMPTS = ["The sky is", "Water boils at", "The capital of Italy is", "1, 2, 3,"]
PARAMS = lanner.SamplingParams(max_tokens=12)


async def ask(llm: lanner.LLM, prompt: str) -> str:
    return (await llm.agenerate(prompt, PARAMS)).text


async def ask_all(llm: lanner.LLM) -> list[str]:
    # The engine works on all of them together, as it does for a list.
    return list(await asyncio.gather(*(ask(llm, prompt) for prompt in PROMPTS)))


def main() -> None:
    with lanner.LLM(sys.argv[1] if len(sys.argv) > 1 else None, kv_dtype="int8") as llm:
        for prompt, result in zip(PROMPTS, llm.generate(PROMPTS, PARAMS)):
            print(repr(prompt), "->", repr(result.text))
        print(len(asyncio.run(ask_all(llm))), "answers")
        print(f"{llm.stats()['decode_tokens']:.0f} tokens decoded")


if __name__ == "__main__":
    main()
