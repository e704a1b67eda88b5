# SPDX-License-Identifier: Apache-2.0
"""openai_test.py PROGRAM MODEL: the official Python client, unchanged, against a real server and model."""

import json
import os
import sys
import unittest

try:
    import openai
except ImportError:
    print("skipped: the openai package is not here; tests/server/make_venv.sh installs it")
    sys.exit(77)

from harness import Server, program

PROGRAM = program()
MODEL = sys.argv.pop(1)
if not os.path.exists(MODEL):
    print(f"skipped: {MODEL} is not there; scripts/get_default_model.sh fetches it")
    sys.exit(77)

KEY = "a-key-for-this-test"
USER = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


class OpenAiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(PROGRAM, "--max-context", "2048", model=MODEL, environment={"LANNER_API_KEYS": KEY})
        cls.client = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.server.port}/v1", api_key=KEY, max_retries=0, timeout=600)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], ["tiny"])
        self.assertEqual(self.client.models.retrieve("tiny").id, "tiny")

    def test_chat(self):
        answer = self.client.chat.completions.create(model="tiny", messages=USER, max_tokens=24, temperature=0)
        self.assertIn("Paris", answer.choices[0].message.content)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_stream_equals_whole(self):
        whole = self.client.chat.completions.create(model="tiny", messages=USER, max_tokens=24, temperature=0)
        stream = self.client.chat.completions.create(model="tiny", messages=USER, max_tokens=24, temperature=0, stream=True,
                                                     stream_options={"include_usage": True})
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)

    def test_embeddings(self):
        texts = ["A cat sleeps.", "A kitten naps.", "A cat sleeps."]
        answer = self.client.embeddings.create(model="tiny", input=texts)  # the client asks for base64 and decodes it
        self.assertEqual([e.index for e in answer.data], [0, 1, 2])
        numbers = self.client.embeddings.create(model="tiny", input=texts[0], encoding_format="float").data[0].embedding
        for embedding in (answer.data[0].embedding, answer.data[2].embedding):
            self.assertEqual(len(embedding), len(numbers))
            self.assertLess(max(abs(a - b) for a, b in zip(embedding, numbers)), 1e-2)
        self.assertAlmostEqual(sum(x * x for x in numbers), 1, places=3)
        self.assertNotEqual(answer.data[0].embedding, answer.data[1].embedding)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens)

    def test_completions_with_stop_and_seed(self):
        texts = {self.client.completions.create(model="tiny", prompt="Once upon a time", max_tokens=16, temperature=0.8, seed=3).choices[0].text
                 for _ in range(2)}
        self.assertEqual(len(texts), 1)
        answer = self.client.completions.create(model="tiny", prompt="1, 2, 3, 4,", max_tokens=24, temperature=0, stop=[" 7"])
        self.assertNotIn(" 7", answer.choices[0].text)
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_logprobs(self):
        answer = self.client.chat.completions.create(model="tiny", messages=USER, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 4)
        self.assertTrue(all(t.logprob <= 0 and len(t.top_logprobs) == 3 for t in content))
        self.assertEqual(content[0].top_logprobs[0].token, content[0].token)

    def test_embeddings(self):
        texts = ["The cat sleeps on the sofa.", "A kitten is lying on the couch.", "The stock market fell sharply today."]
        answer = self.client.embeddings.create(model="tiny", input=texts)  # the client asks for base64
        vectors = [e.embedding for e in answer.data]

        def product(a, b):
            return sum(x * y for x, y in zip(a, b, strict=True))

        for vector in vectors:
            self.assertEqual(len(vector), 576)
            self.assertAlmostEqual(product(vector, vector), 1, places=4)
        self.assertGreater(product(vectors[0], vectors[1]), product(vectors[0], vectors[2]))
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens)
        numbers = self.client.embeddings.create(model="tiny", input=texts[1], encoding_format="float").data[0].embedding
        self.assertGreater(product(numbers, vectors[1]), 0.9999)
        # Of a single token each pooling has the same hidden states.
        one = [self.client.embeddings.create(model="tiny", input=[504], extra_body={"pooling": pooling}).data[0].embedding
               for pooling in ("mean", "last", "first")]
        self.assertGreater(product(one[0], one[1]), 0.99999)
        self.assertGreater(product(one[0], one[2]), 0.99999)
        with self.assertRaises(openai.BadRequestError) as refused:
            self.client.embeddings.create(model="tiny", input="word " * 3000)
        self.assertIn("2048", str(refused.exception))

    def test_json_schema(self):
        schema = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
                  "required": ["city", "people"], "additionalProperties": False}
        answer = self.client.chat.completions.create(
            model="tiny", messages=USER, max_tokens=80, temperature=0,
            response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}})
        value = json.loads(answer.choices[0].message.content)
        self.assertEqual(set(value), {"city", "people"})
        self.assertIsInstance(value["people"], int)

    def test_json_object(self):
        answer = self.client.chat.completions.create(model="tiny", messages=USER, max_tokens=200, temperature=0,
                                                     response_format={"type": "json_object"})
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)

    def test_tools(self):
        ask = dict(model="tiny", messages=USER, tools=[TOOL], max_tokens=100, temperature=0,
                   tool_choice={"type": "function", "function": {"name": "get_weather"}})
        try:
            answer = self.client.chat.completions.create(**ask)
        except openai.BadRequestError as error:
            # SmolLM2's template has no tools: that is said, instead of a call the model has never learnt.
            self.assertIn("does not render tools", str(error))
            return
        [call] = answer.choices[0].message.tool_calls
        self.assertEqual(call.function.name, "get_weather")
        self.assertIn("city", json.loads(call.function.arguments))
        self.assertEqual(answer.choices[0].finish_reason, "tool_calls")

    def test_responses(self):
        answer = self.client.responses.create(model="tiny", input=USER[0]["content"], max_output_tokens=24, temperature=0)
        self.assertIn("Paris", answer.output_text)
        types = [e.type for e in self.client.responses.create(model="tiny", input="Hi", max_output_tokens=4, stream=True)]
        self.assertEqual(types[0], "response.created")

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.create(model="gpt-4", messages=USER)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model="tiny", messages=USER, temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="wrong-key-here").models.list()
        with self.assertRaises(openai.BadRequestError):
            self.client.completions.create(model="tiny", prompt="word " * 5000)

    def test_leaving_a_stream_ends_it(self):
        stream = self.client.chat.completions.create(model="tiny", messages=USER, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        metrics = {"Authorization": "Bearer " + KEY}

        def idle():
            return 'lanner_requests_running{model="tiny"} 0' in self.server.get("/metrics", metrics).text
        self.server.wait_until(idle, "an idle model")


class ToolsTest(unittest.TestCase):
    """A model with tools, scripted: it calls the first tool that is required."""

    def test_tools(self):
        scripted = os.environ.get("LANNER_SCRIPTED_SERVER")
        if not scripted:
            self.skipTest("LANNER_SCRIPTED_SERVER names no scripted_server")
        with Server(scripted) as server:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="any", max_retries=0)
            ask = dict(model="tiny", messages=USER, tools=[TOOL], tool_choice="required")
            answer = client.chat.completions.create(**ask).choices[0]
            self.assertEqual(answer.finish_reason, "tool_calls")
            [call] = answer.message.tool_calls
            self.assertEqual((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"x": 1}))
            with client.chat.completions.stream(**ask) as stream:
                final = stream.get_final_completion().choices[0]
            self.assertEqual(final.message.tool_calls[0].function.arguments, call.function.arguments)
            messages = [*USER, answer.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
            self.assertTrue(client.chat.completions.create(model="tiny", messages=messages, max_tokens=3).choices[0].message.content)
            tool = {"type": "function", "name": "get_weather", "parameters": TOOL["function"]["parameters"]}
            output = client.responses.create(model="tiny", input="?", tools=[tool], tool_choice="required").output
            self.assertEqual([(item.type, item.name) for item in output], [("function_call", "get_weather")])


if __name__ == "__main__":
    unittest.main()
