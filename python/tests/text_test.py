# SPDX-License-Identifier: Apache-2.0
"""Text with the default model: chats, forms, tools, the server, the program."""

import asyncio
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
import unittest.mock
import urllib.error
import urllib.request

import lanner
from lanner.program import program
from models import SOURCE, needs_default_model

SHORT = lanner.SamplingParams(max_tokens=16)
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"]}
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


@needs_default_model
class TextTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.llm = lanner.LLM(max_context=2048)
        cls.addClassCleanup(cls.llm.close)

    def test_a_chat_answers(self):
        result = self.llm.chat("What is 2 + 3?", lanner.SamplingParams(max_tokens=40))
        self.assertIn("5", result.text)
        self.assertEqual(result.message["role"], "assistant")
        more = self.llm.chat([{"role": "user", "content": "What is 2 + 3?"}, result.message,
                              {"role": "user", "content": [{"type": "text", "text": "And 1 + 1?"}]}], SHORT)
        self.assertGreater(more.usage.prompt_tokens, result.usage.prompt_tokens)
        self.assertGreater(more.usage.cached_tokens, 0)

    def test_several_conversations_at_once(self):
        params = lanner.SamplingParams(max_tokens=8)
        alone = self.llm.chat("Name a colour.", params)
        together = self.llm.chat(["Name a colour.", [{"role": "user", "content": "Name a fruit."}]], params)
        self.assertEqual(len(together), 2)
        self.assertEqual(together[0].token_ids[:2], alone.token_ids[:2])

    def test_text_goes_on_and_stops(self):
        result = self.llm.generate("The capital of France is", lanner.SamplingParams(max_tokens=8))
        self.assertIn("Paris", result.text)
        stopped = self.llm.generate("The capital of France is", lanner.SamplingParams(max_tokens=8, stop="Par"))
        self.assertEqual((stopped.text.strip(), stopped.finish_reason), ("", "stop"))
        kept = self.llm.generate("The capital of France is", lanner.SamplingParams(max_tokens=8, stop=["Par"], include_stop=True))
        self.assertEqual(kept.text.strip(), "Par")

    def test_streams_add_up(self):
        text = self.llm.generate("Once upon a time", SHORT).text
        self.assertEqual("".join(chunk.text for chunk in self.llm.stream("Once upon a time", SHORT)), text)
        content = self.llm.chat("Name a colour.", SHORT).text
        chunks = list(self.llm.stream_chat("Name a colour.", SHORT))
        self.assertEqual("".join(chunk.content for chunk in chunks), content)

        async def stream():
            return "".join([chunk.content async for chunk in self.llm.astream_chat("Name a colour.", SHORT)])

        self.assertEqual(asyncio.run(stream()), content)
        self.assertEqual(asyncio.run(self.llm.achat("Name a colour.", SHORT)).text, content)

    def test_tokens_and_templates(self):
        tokens = self.llm.tokenize("Hello world")
        self.assertEqual(self.llm.detokenize(tokens), "Hello world")
        prompt = self.llm.render([{"role": "user", "content": "Hello"}])
        self.assertTrue(prompt.endswith("<|im_start|>assistant\n"))
        self.assertFalse(self.llm.render("Hello", add_generation_prompt=False).endswith("assistant\n"))
        by_hand = self.llm.generate(prompt, SHORT, prompt_has_special_tokens=True)
        self.assertEqual(by_hand.token_ids, self.llm.chat("Hello", SHORT).token_ids)

    def test_a_long_prompt_is_refused_or_cut(self):
        prompt = "word " * 3000
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "2048"):
            self.llm.generate(prompt, SHORT)
        self.assertGreater(self.llm.generate(prompt, SHORT, truncate_prompt=True).usage.truncated_tokens, 0)

    def test_forms(self):
        ask = "Name a city and its population."
        city = self.llm.chat(ask, lanner.SamplingParams(max_tokens=60, structured=CITY)).parsed
        self.assertEqual((set(city), type(city["people"])), ({"city", "people"}, int))
        form = lanner.StructuredOutput
        cases = [(form.choice(["good", "bad"]), "good|bad"), (form.regex("[0-9]{3}"), "[0-9]{3}"),
                 (form.lark('start: "a" "b"'), "ab"), (form.json_schema(json.dumps({"type": "integer", "maximum": 9})), "-?[0-9]+")]
        for structured, pattern in cases:
            with self.subTest(structured.kind):
                result = self.llm.generate("x", lanner.SamplingParams(max_tokens=20, structured=structured))
                self.assertRegex(result.text, f"^({pattern})$")
                self.assertIsNotNone(result.parsed)
        cut = self.llm.chat(ask, lanner.SamplingParams(max_tokens=2, structured=CITY))
        with self.assertRaises(ValueError):
            _ = cut.parsed
        with self.assertRaisesRegex(ValueError, "structured was not given"):
            _ = self.llm.chat(ask, SHORT).parsed
        with self.assertRaises(lanner.InvalidArgumentError):
            self.llm.generate("x", lanner.SamplingParams(structured={"type": "nonsense"}))
        with self.assertRaisesRegex(lanner.InvalidArgumentError, "Pydantic"):
            self.llm.generate("x", lanner.SamplingParams(structured=3))

    @unittest.skipUnless(importlib.util.find_spec("pydantic"), "pydantic is not installed")
    def test_a_pydantic_model_is_a_form(self):
        import pydantic

        class City(pydantic.BaseModel):
            name: str = pydantic.Field(max_length=20)
            large: bool

        result = self.llm.chat("Name a city.", lanner.SamplingParams(max_tokens=60, structured=City))
        self.assertIsInstance(result.parsed, City)

    def test_tools(self):
        # SmolLM2's template knows no tools: said, not ignored.
        with self.assertRaisesRegex(lanner.UnsupportedError, "tool"):
            self.llm.chat("What is the weather in Paris?", SHORT, tools=[WEATHER])
        for wrong in ({"type": "function"}, {"function": {}}):
            with self.assertRaisesRegex(lanner.InvalidArgumentError, "name"):
                self.llm.chat("x", SHORT, tools=[wrong])

    def test_wrong_messages(self):
        for messages, words in (([{"content": "x"}], "role"), ([{"role": "user", "text": "x"}], "text"),
                                ([{"role": "user", "content": [{"type": "image_url"}]}], "image_url"), ([], "")):
            with self.subTest(messages=messages), self.assertRaisesRegex(lanner.Error, words):
                self.llm.chat(messages, SHORT)


@needs_default_model
class ToolTest(unittest.TestCase):
    """The default model with a template that knows tools (as Hermes has them): its answers are held to the form of a call."""

    TEMPLATE = textwrap.dedent("""\
        {%- if tools %}<|im_start|>system
        <tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>
        Call a function: <tool_call>
        {"name": ..., "arguments": ...}
        </tool_call><|im_end|>
        {% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
        {{ message.content }}{% for call in message.tool_calls or [] %}<tool_call>
        {{ call.function | tojson }}
        </tool_call>{% endfor %}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}""")

    def test_a_demanded_call(self):
        from lanner.default_model import default_model

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tools.gguf")
            if not replace_template(default_model(), path, self.TEMPLATE):
                self.skipTest("the package gguf is not installed")
            with lanner.LLM(path, max_context=1024) as llm:
                params = lanner.SamplingParams(max_tokens=60)
                result = llm.chat("What is the weather in Paris?", params, tools=[WEATHER], tool_choice="get_weather")
                self.assertEqual(result.finish_reason, "tool_calls")
                [call] = result.tool_calls
                self.assertEqual((call.name, set(call.parse())), ("get_weather", {"city"}))
                deltas = [delta for chunk in llm.stream_chat("What is the weather in Paris?", params, tools=[WEATHER], tool_choice="required",
                                                             parallel_tool_calls=False) for delta in chunk.tool_calls]
                self.assertEqual("".join(delta.name for delta in deltas), "get_weather")
                self.assertEqual(set(json.loads("".join(delta.arguments for delta in deltas))), {"city"})
                more = llm.chat([{"role": "user", "content": "What is the weather in Paris?"}, result.message,
                                 {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}], SHORT, tools=[WEATHER])
                self.assertGreater(more.usage.prompt_tokens, result.usage.prompt_tokens)


def replace_template(source, target, template):
    """Writes the GGUF file with another chat template; False without the package gguf."""
    if not importlib.util.find_spec("gguf"):
        return False
    from gguf.scripts import gguf_new_metadata

    argv = sys.argv
    sys.argv = ["gguf-new-metadata", "--chat-template", template, "--force", source, target]
    try:
        gguf_new_metadata.main()
    finally:
        sys.argv = argv
    return True


@needs_default_model
class ServerTest(unittest.TestCase):
    def post(self, server, key=None):
        body = json.dumps({"model": "SmolLM2-135M-Instruct.Q4_1", "messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 30}).encode()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request = urllib.request.Request(server.base_url + "/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]

    def test_it_answers_until_it_is_stopped(self):
        with lanner.openai_server(max_context=1024, api_key="a-secret-key", max_sequences=2, prefix_cache=False,
                                  ngram_speculation=False) as server:
            self.assertIn("5", self.post(server, "a-secret-key"))
            with self.assertRaisesRegex(urllib.error.HTTPError, "401"):
                self.post(server, "another-key")
        with self.assertRaises(urllib.error.URLError):
            self.post(server, "a-secret-key")
        self.assertIn("listening on", server.log)

    def test_what_cannot_be_loaded_raises_as_llm_does(self):
        with self.assertRaisesRegex(lanner.NotFoundError, "/nowhere"):
            lanner.openai_server("/nowhere")
        with self.assertRaisesRegex(lanner.Error, "nonsense"):
            lanner.openai_server(dtype="nonsense")

    def test_it_ends_with_its_process(self):
        code = "import lanner; print(lanner.openai_server(max_context=512)._process.pid)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
        with self.assertRaises(ProcessLookupError):
            os.kill(int(done.stdout), 0)


class ProgramTest(unittest.TestCase):
    def test_the_package_is_the_program(self):
        version = f"lanner {lanner.__version__}"
        for command in ([program()], [sys.executable, "-m", "lanner"]):
            done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout.strip(), version)
        done = subprocess.run([sys.executable, "-m", "lanner", "run", "/nowhere/x.gguf", "hello"], capture_output=True, check=False)
        self.assertEqual(done.returncode, 4)

    def test_they_mean_the_same_default_model(self):
        from lanner.default_model import FILE, default_model

        self.assertIn(f'"{FILE}"', (SOURCE / "src" / "cli" / "model_choice.h").read_text())
        for environment in ({"LANNER_CACHE": "/nowhere/a"}, {"LANNER_CACHE": "", "XDG_CACHE_HOME": "/nowhere/b"},
                            {"LANNER_CACHE": "", "XDG_CACHE_HOME": "c", "HOME": "/nowhere/d"}):
            with self.subTest(environment), unittest.mock.patch.dict(os.environ, environment):
                done = subprocess.run([program(), "run", "x"], capture_output=True, text=True, check=False)
                with self.assertRaises(lanner.NotFoundError) as raised:
                    default_model()
                path = str(raised.exception).split(": ")[1].split(";")[0]
                self.assertIn(f" {path}:", done.stderr)


if __name__ == "__main__":
    unittest.main()
