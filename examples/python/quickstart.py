# SPDX-License-Identifier: Apache-2.0
"""A question, a streamed answer, and an answer that is data. quickstart.py [MODEL]; without one the default model."""

import sys

import lanner


def main() -> None:
    with lanner.LLM(sys.argv[1] if len(sys.argv) > 1 else None) as llm:
        answer = llm.chat("What is 2 + 3?", lanner.SamplingParams(max_tokens=40))
        print(answer.text, f"({answer.finish_reason})")

        for chunk in llm.stream("Once upon a time", lanner.SamplingParams(max_tokens=24)):
            print(chunk.text, end="", flush=True)
        print()

        schema = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
                  "required": ["city", "people"]}
        params = lanner.SamplingParams(max_tokens=60, structured=schema)
        print(llm.chat("Name a city and its population.", params).parsed)


if __name__ == "__main__":
    main()
