# SPDX-License-Identifier: Apache-2.0
"""tool_call_test.py PROGRAM MODEL: tool calls with the default model, given a chat template that renders tools."""

import json
import os
import struct
import sys
import tempfile
import unittest

from harness import Server, program

PROGRAM = program()
MODEL = sys.argv.pop(1)
if not os.path.exists(MODEL):
    print(f"skipped: {MODEL} is not there; scripts/get_default_model.sh fetches it")
    sys.exit(77)

# Calls and results in the marks that Hermes and Qwen use.
TEMPLATE = r"""{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}
{%- if loop.first and tools %}{{ 'You can call these functions:\n' }}{% for t in tools %}{{ t | tojson }}{{ '\n' }}{% endfor %}
{{- 'Answer with <tool_call>\n{"name": name, "arguments": object}\n</tool_call>.\n' }}{% endif %}
{%- if m.role == 'tool' %}<tool_response>{{ m.content }}</tool_response>{% else %}{{ m.content }}{% endif %}
{%- for c in m.tool_calls or [] %}{{ '<tool_call>\n{"name": "' + c.function.name + '", "arguments": ' }}{{ c.function.arguments | tojson }}
{{- '}\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "enum": ["Paris", "London"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"], "additionalProperties": False}}},
    {"type": "function", "function": {"name": "get_time", "description": "The time of day"}},
]


def skip_value(data, at, kind):
    """The place after a value of a GGUF file's metadata."""
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    if kind in sizes:
        return at + sizes[kind]
    if kind == 8:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    of, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if of in sizes:
        return at + count * sizes[of]
    for _ in range(count):
        at = skip_value(data, at, of)
    return at


def with_template(path, out, template):
    """A copy of a GGUF file with another chat template."""
    with open(path, "rb") as file:
        data = file.read()
    tensors, pairs = struct.unpack_from("<QQ", data, 8)
    at, alignment, place = 24, 32, None
    for _ in range(pairs):
        length = struct.unpack_from("<Q", data, at)[0]
        key = data[at + 8:at + 8 + length].decode()
        at += 8 + length
        kind = struct.unpack_from("<I", data, at)[0]
        end = skip_value(data, at + 4, kind)
        if key == "tokenizer.chat_template":
            place = (at + 4, end)
        if key == "general.alignment":
            alignment = struct.unpack_from("<I", data, at + 4)[0]
        at = end
    for _ in range(tensors):
        at += 8 + struct.unpack_from("<Q", data, at)[0]
        dimensions = struct.unpack_from("<I", data, at)[0]
        at += 4 + 8 * dimensions + 4 + 8
    blobs = data[(at + alignment - 1) // alignment * alignment:]
    text = template.encode()
    head = data[:place[0]] + struct.pack("<Q", len(text)) + text + data[place[1]:at]
    head += b"\0" * (-len(head) % alignment)
    with open(out, "wb") as file:
        file.write(head + blobs)


class ToolCallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        model = os.path.join(cls.temporary.name, "tools.gguf")
        with_template(MODEL, model, TEMPLATE)
        cls.server = Server(PROGRAM, "--max-context", "2048", model=model)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.temporary.cleanup()

    def ask(self, choice, **more):
        body = {"messages": [{"role": "user", "content": "How will the weather be in Paris this week?"}], "tools": TOOLS,
                "tool_choice": choice, "max_tokens": 200, "temperature": 0, **more}
        return self.server.post("/v1/chat/completions", body)

    def check_call(self, call):
        self.assertTrue(call["id"])
        arguments = json.loads(call["function"]["arguments"])
        if call["function"]["name"] == "get_time":
            self.assertEqual(arguments, {})
            return
        self.assertEqual(call["function"]["name"], "get_weather")
        self.assertEqual(set(arguments), {"city", "days"})
        self.assertIn(arguments["city"], ("Paris", "London"))
        self.assertIn(arguments["days"], range(1, 10))

    def test_a_named_call_and_its_result(self):
        for name in ("get_weather", "get_time"):
            answer = self.ask({"type": "function", "function": {"name": name}})
            self.assertEqual(answer.status, 200, answer.text)
            [choice] = answer.json["choices"]
            self.assertEqual(choice["finish_reason"], "tool_calls")
            [call] = choice["message"]["tool_calls"]
            self.assertEqual(call["function"]["name"], name)
            self.check_call(call)
            messages = [{"role": "user", "content": "How will the weather be in Paris this week?"}, choice["message"],
                        {"role": "tool", "tool_call_id": call["id"], "content": "sunny, 24 degrees"}]
            prompt = self.server.post("/apply-template", {"messages": messages, "tools": TOOLS}).json["prompt"]
            self.assertIn('<tool_call>\n{"name": "%s"' % name, prompt)
            self.assertIn("<tool_response>sunny, 24 degrees</tool_response>", prompt)
            answer = self.ask("none", messages=messages)
            self.assertEqual(answer.status, 200, answer.text)
            self.assertNotIn("tool_calls", answer.json["choices"][0]["message"])

    def test_required_calls(self):
        for seed in range(3):
            answer = self.ask("required", temperature=1.0, seed=seed)
            self.assertEqual(answer.status, 200, answer.text)
            [choice] = answer.json["choices"]
            calls = choice["message"]["tool_calls"]
            self.assertGreaterEqual(len(calls), 1)
            for call in calls:
                self.check_call(call)
            self.assertEqual(choice["finish_reason"], "tool_calls")
            answer = self.ask("required", temperature=1.0, seed=seed, parallel_tool_calls=False)
            self.assertEqual(len(answer.json["choices"][0]["message"]["tool_calls"]), 1)

    def test_a_stream_adds_up_to_the_same_call(self):
        choice = {"type": "function", "function": {"name": "get_weather"}}
        [whole] = self.ask(choice).json["choices"][0]["message"]["tool_calls"]
        name, arguments, finish = "", "", None
        for event in self.ask(choice, stream=True).events:
            for part in event["choices"]:
                for delta in part["delta"].get("tool_calls") or []:
                    name += delta["function"].get("name") or ""
                    arguments += delta["function"].get("arguments") or ""
                finish = part["finish_reason"] or finish
        self.assertEqual((name, arguments, finish), ("get_weather", whole["function"]["arguments"], "tool_calls"))


if __name__ == "__main__":
    unittest.main()
