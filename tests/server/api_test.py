# SPDX-License-Identifier: Apache-2.0
"""api_test.py PROGRAM: every endpoint as a client uses it, and every parameter honoured or refused."""

import base64
import json
import re
import struct
import unittest

from harness import Server, backwards, chat, program

PROGRAM = program()


class ApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(PROGRAM, "--model", "second=sequences=2")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def refused(self, path, body, param, status=400):
        answer = self.server.post(path, body)
        self.assertEqual(answer.status, status, (body, answer.text))
        error = answer.json["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual(error["param"], param, error)
        if param:
            self.assertIn(param, error["message"])
        return error

    def test_chat(self):
        answer = self.server.post("/v1/chat/completions", chat("hello", max_tokens=5))
        self.assertEqual(answer.status, 200, answer.text)
        body = answer.json
        self.assertEqual(body["object"], "chat.completion")
        self.assertEqual(body["model"], "tiny")
        [choice] = body["choices"]
        self.assertEqual(choice["message"]["content"], "olleh")
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(body["usage"]["completion_tokens"], 5)
        self.assertEqual(body["usage"]["total_tokens"], body["usage"]["prompt_tokens"] + 5)

    def test_chat_stream(self):
        answer = self.server.post("/v1/chat/completions",
                                  chat("héllo wörld", max_tokens=30, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(answer.headers["content-type"], "text/event-stream; charset=utf-8")
        self.assertTrue(answer.text.endswith("data: [DONE]\n\n"))
        events = answer.events
        self.assertEqual(events[0]["choices"][0]["delta"]["role"], "assistant")
        text = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])
        self.assertEqual(text, backwards("héllo wörld", 30))
        self.assertEqual([e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1], "length")
        self.assertEqual(events[-1]["usage"]["completion_tokens"], 30)
        self.assertTrue(all(e["object"] == "chat.completion.chunk" for e in events))

    def test_stream_without_usage_has_none(self):
        events = self.server.post("/v1/chat/completions", chat("x", max_tokens=3, stream=True)).events
        self.assertTrue(all("usage" not in e and e["choices"] for e in events))

    def test_n_answers(self):
        body = self.server.post("/v1/chat/completions", chat("ab", max_tokens=4, n=3)).json
        self.assertEqual([c["index"] for c in body["choices"]], [0, 1, 2])
        self.assertEqual({c["message"]["content"] for c in body["choices"]}, {"ba b"})
        self.assertEqual(body["usage"]["completion_tokens"], 12)
        events = self.server.post("/v1/completions", {"prompt": ["ab", "cd"], "max_tokens": 2, "n": 2, "stream": True}).events
        texts = {}
        for event in events:
            for choice in event["choices"]:
                texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        self.assertEqual(texts, {0: "ba", 1: "ba", 2: "dc", 3: "dc"})

    def test_logprobs(self):
        body = self.server.post("/v1/chat/completions", chat("ab", max_tokens=2, logprobs=True, top_logprobs=2)).json
        content = body["choices"][0]["logprobs"]["content"]
        self.assertEqual([t["token"] for t in content], ["b", "a"])
        self.assertEqual(content[0]["logprob"], -0.25)
        self.assertEqual(content[0]["bytes"], [98])
        self.assertEqual(len(content[0]["top_logprobs"]), 2)
        body = self.server.post("/v1/completions", {"prompt": "ab", "max_tokens": 2, "logprobs": 1}).json
        logprobs = body["choices"][0]["logprobs"]
        self.assertEqual(logprobs["tokens"], ["b", "a"])
        self.assertEqual(logprobs["text_offset"], [0, 1])
        self.assertEqual(logprobs["top_logprobs"], [{"b": -0.25}, {"a": -0.25}])
        self.refused("/v1/chat/completions", chat("x", top_logprobs=2), "top_logprobs")

    def test_completions(self):
        ids = self.server.post("/tokenize", {"text": "abc", "add_special_tokens": False}).json["tokens"]
        for prompt in ("abc", ids):
            body = self.server.post("/v1/completions", {"prompt": prompt, "max_tokens": 3}).json
            self.assertEqual(body["choices"][0]["text"], "cba")
        body = self.server.post("/v1/completions", {"prompt": ["abc", "xyz"], "max_tokens": 3, "echo": True}).json
        self.assertEqual([c["text"] for c in body["choices"]], ["abccba", "xyzzyx"])

    def test_responses(self):
        answer = self.server.post("/v1/responses", {"input": "hello", "instructions": "Be brief.", "max_output_tokens": 5})
        body = answer.json
        self.assertEqual(body["status"], "incomplete")
        self.assertEqual(body["output"][0]["content"][0]["text"], "olleh")
        self.assertEqual(body["usage"]["output_tokens"], 5)
        answer = self.server.post("/v1/responses", {"input": [{"role": "user", "content": "ab"}], "stream": True, "max_output_tokens": 2})
        names = re.findall(r"^event: (.*)$", answer.text, re.M)
        self.assertEqual(names[0], "response.created")
        self.assertEqual(names[-1], "response.incomplete")
        self.assertIn("response.output_text.done", names)
        numbers = [e["sequence_number"] for e in [json.loads(l[6:]) for l in answer.text.splitlines() if l.startswith("data: ")]]
        self.assertEqual(numbers, list(range(len(numbers))))
        self.refused("/v1/responses", {"input": "x", "store": True}, "store")
        self.refused("/v1/responses", {"input": "x", "tool_choice": {"type": "function", "name": "f"}}, "tool_choice")
        body = {"input": "x", "max_output_tokens": 1, "parallel_tool_calls": None, "tools": None, "tool_choice": None, "text": None}
        self.assertEqual(self.server.post("/v1/responses", body).status, 200)
        self.refused("/v1/responses", {"input": "x", "previous_response_id": "r"}, "previous_response_id")

    def test_models(self):
        body = self.server.get("/v1/models").json
        self.assertEqual([m["id"] for m in body["data"]], ["tiny", "second"])
        self.assertEqual([m["parent"] for m in body["data"]], [None, None])
        self.assertEqual(self.server.get("/v1/models/second").json["id"], "second")
        self.assertEqual(self.server.get("/v1/models/none").status, 404)
        body = self.server.post("/v1/chat/completions", chat("ab", model="second", max_tokens=2)).json
        self.assertEqual(body["model"], "second")
        self.refused("/v1/chat/completions", chat("x", model="gpt-4"), "model", 404)

    def test_text_endpoints(self):
        ids = self.server.post("/tokenize", {"text": "hé"}).json
        self.assertEqual(ids["count"], 4)
        self.assertEqual(self.server.post("/detokenize", {"tokens": ids["tokens"]}).json["text"], "hé")
        body = self.server.post("/apply-template", chat("hi")).json
        self.assertEqual(body["prompt"], "<user>hi\n<assistant>")
        self.refused("/tokenize", {}, "text")
        self.refused("/detokenize", {"tokens": [1, -1]}, "tokens")
        self.assertEqual(self.server.post("/detokenize", {"tokens": [99999]}).status, 400)

    def test_status_endpoints(self):
        self.assertEqual(self.server.get("/health").json, {"status": "ready"})
        self.assertEqual(self.server.get("/version").json["name"], "lanner")
        self.assertEqual(self.server.request("HEAD", "/health").status, 200)
        text = self.server.get("/metrics").text
        for name in re.findall(r"^# TYPE (\w+)", text, re.M):
            self.assertTrue(name.startswith("lanner_"))
        for name in ("lanner_kv_blocks_used", "lanner_prefix_cache_hits_total", "lanner_preemptions_total"):
            self.assertIn(name + '{model="tiny"}', text)
        for line in text.splitlines():
            self.assertRegex(line, r'^(#.*|\w+(\{(\w+="[^"]*",?)*\})? [-+0-9.e]+)$')

    def test_metrics_count(self):
        before = self.server.metric("lanner_generated_tokens_total")
        self.server.post("/v1/chat/completions", chat("count", max_tokens=7))
        self.assertEqual(self.server.metric("lanner_generated_tokens_total"), before + 7)
        self.assertGreaterEqual(self.server.metric("lanner_time_to_first_token_seconds_count"), 1)
        self.assertGreaterEqual(self.server.metric("lanner_http_requests_total", '{route="/health",status="200"}'), 0)

    def test_unknown_parameters_are_named(self):
        for path, body in (("/v1/chat/completions", chat("x")), ("/v1/completions", {"prompt": "x"}), ("/v1/responses", {"input": "x"})):
            self.refused(path, body | {"frobnicate": 1}, "frobnicate")
        self.refused("/v1/chat/completions", chat("x", messages=[{"role": "user", "content": "x", "colour": 1}]), "messages")

    def test_null_is_absent(self):
        body = chat("ab", max_tokens=2, temperature=None, top_p=None, stop=None, stream=None, n=None, tools=None, seed=None)
        self.assertEqual(self.server.post("/v1/chat/completions", body).status, 200)

    def test_ranges(self):
        paths = self.server.get("/openapi.json").json["paths"]
        tried = 0
        for path, body in (("/v1/chat/completions", chat("x")), ("/v1/completions", {"prompt": "x"}), ("/v1/responses", {"input": "x"})):
            members = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
            for name, member in members.items():
                if "maximum" not in member:
                    continue
                low = member.get("minimum", member.get("exclusiveMinimum"))
                bad = [low - 1, member["maximum"] * 1.5 + 1, -(2**31), 2**64 - 1, 1e308, "1", "", [], {}, True]
                if "exclusiveMinimum" in member:
                    bad.append(low)
                if "integer" in member["type"]:
                    bad.append(low + 0.5)
                for value in bad:
                    self.refused(path, body | {name: value}, name)
                    tried += 1
        self.assertGreater(tried, 300)
        for text in (b'{"prompt": "x", "temperature": NaN}', b'{"prompt": "x", "temperature": 1e999}', b'{"prompt": "x", "seed": 1e400}'):
            self.assertEqual(self.server.post("/v1/completions", text).status, 400)

    def test_prompts_out_of_range(self):
        for prompt in ("", [], [[]], [""], [-1], [1.5], ["a", 1], None, 5, {}, [2**31], [2**63]):
            self.refused("/v1/completions", {"prompt": prompt}, "prompt")
        answer = self.server.post("/v1/completions", {"prompt": "x" * 5000})
        self.assertEqual(answer.status, 400)
        self.assertIn("5000", answer.text)
        self.assertIn("4096", answer.text)

    def test_limits_name_themselves(self):
        for body, code in ((chat("x", stop=["a"] * 17), "limit_stop_strings"),
                           (chat("x", messages=[{"role": "user", "content": "x"}] * 2049), "limit_messages"),
                           (chat("x", logit_bias={str(i): 1 for i in range(1025)}), "limit_logit_bias"),
                           (chat("x", guided_regex="a" * 300000), "limit_schema_bytes")):
            answer = self.server.post("/v1/chat/completions", body)
            self.assertEqual((answer.status, answer.json["error"]["code"]), (400, code))
        answer = self.server.post("/v1/completions", {"prompt": ["x"] * 65})
        self.assertEqual(answer.json["error"]["code"], "limit_prompts")

    def test_messages(self):
        for messages in ([], None, "x", [{}], [{"role": "user"}], [{"role": "king", "content": "x"}],
                         [{"role": "user", "content": 5}], [{"role": "user", "content": []}],
                         [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
                         [{"role": "tool", "content": None}]):
            self.refused("/v1/chat/completions", {"messages": messages}, "messages")
        self.assertEqual(self.server.post("/v1/chat/completions", chat("x", max_tokens=1) | {"messages": [
            {"role": "developer", "content": "d"}, {"role": "user", "content": [{"type": "text", "text": "ab"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "4"}]}).status, 200)

    def test_tools_are_checked(self):
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        self.assertEqual(self.server.post("/v1/chat/completions", chat("x", tools=[tool], max_tokens=1)).status, 200)
        self.refused("/v1/chat/completions", chat("x", tools=[{"type": "retrieval"}]), "tools")
        self.refused("/v1/chat/completions", chat("x", tool_choice="required"), "tool_choice")
        self.refused("/v1/chat/completions", chat("x", tools=[tool], tool_choice={"type": "function", "function": {"name": "g"}}), "tool_choice")

    def test_an_engine_that_is_quicker_than_its_client(self):
        with Server(PROGRAM, model="step_us=0") as server:
            for _ in range(300):
                self.assertEqual(server.post("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 1}).status, 200)

    def test_errors_of_the_model(self):
        self.assertEqual(self.server.post("/v1/chat/completions", chat("FAIL")).status, 500)
        answer = self.server.post("/v1/chat/completions", chat("FAIL", stream=True))
        self.assertEqual(answer.status, 200)  # two tokens came first
        self.assertEqual(answer.events[-1]["error"]["message"], "the model said so")
        answer = self.server.post("/v1/chat/completions", chat("THROW", stream=True))
        self.assertEqual(answer.status, 500)
        self.assertNotIn("asked to throw", answer.text)

    def test_openapi(self):
        document = self.server.get("/openapi.json").json
        self.assertEqual(document["openapi"], "3.1.0")
        members = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        self.assertIn("temperature", members["properties"])
        self.assertFalse(members["additionalProperties"])
        self.assertEqual(document["paths"]["/health"]["get"]["security"], [])

    def test_page(self):
        for path, kind in (("/", "text/html"), ("/chat.js", "text/javascript"), ("/chat.css", "text/css")):
            answer = self.server.get(path)
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.headers["content-type"].startswith(kind))
            self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
            self.assertNotRegex(answer.text.replace("http://www.w3.org/2000/svg", ""), r"(src|href)=.?https?://")

    def test_access_log_has_no_prompts(self):
        self.server.post("/v1/chat/completions", chat("a very secret thing", max_tokens=3, user="u1"), headers={"X-Request-Id": "my-id"})
        self.server.wait_until(lambda: any(l["id"] == "my-id" for l in self.server.access_lines()), "a log line")
        [line] = [l for l in self.server.access_lines() if l["id"] == "my-id"]
        self.assertEqual((line["status"], line["model"], line["output_tokens"], line["user"]), (200, "tiny", 3, "u1"))
        self.assertNotIn("secret", json.dumps(self.server.access_lines()))

    def test_embeddings(self):
        # The scripted model: the "hidden state" of token i has an i in place i % 8 and 0 elsewhere.
        def pooled(ids, pooling, normalize=True):
            chosen = {"mean": ids, "last": ids[-1:], "first": ids[:1]}[pooling]
            values = [sum(i for i in chosen if i % 8 == place) / len(chosen) for place in range(8)]
            length = sum(v * v for v in values) ** 0.5 if normalize else 1
            return [v / length for v in values]

        def vectors(**body):
            answer = self.server.post("/v1/embeddings", body)
            self.assertEqual(answer.status, 200, answer.text)
            self.assertEqual([e["index"] for e in answer.json["data"]], list(range(len(answer.json["data"]))))
            return [e["embedding"] for e in answer.json["data"]]

        def near(actual, expected):
            self.assertEqual(len(actual), len(expected))
            for a, b in zip(actual, expected):
                self.assertAlmostEqual(a, b, places=5)

        ids = [c + 3 for c in b"hello"]
        for pooling in ("mean", "last", "first"):
            for normalize in (True, False):
                near(vectors(input="hello", pooling=pooling, normalize=normalize)[0], pooled(ids, pooling, normalize))
        for given in (ids, [ids], ["hello"]):
            near(vectors(input=given)[0], pooled(ids, "mean"))
        body = self.server.post("/v1/embeddings", {"input": ["hello", "a", "bc"], "model": "tiny"}).json
        self.assertEqual(body["object"], "list")
        self.assertEqual(body["model"], "tiny")
        self.assertEqual({e["object"] for e in body["data"]}, {"embedding"})
        self.assertEqual(body["usage"], {"prompt_tokens": 8, "total_tokens": 8})
        near(body["data"][2]["embedding"], pooled([c + 3 for c in b"bc"], "mean"))
        # More texts than the server runs sequences.
        texts = ["text %d" % i for i in range(150)]
        for text, vector in zip(texts, vectors(input=texts)):
            near(vector, pooled([c + 3 for c in text.encode()], "mean"))
        for text, vector in zip(texts, vectors(input=texts, model="second")):
            near(vector, pooled([c + 3 for c in text.encode()], "mean"))

    def test_embeddings_in_base64_and_shortened(self):
        numbers = self.server.post("/v1/embeddings", {"input": "hello world"}).json["data"][0]["embedding"]
        coded = self.server.post("/v1/embeddings", {"input": "hello world", "encoding_format": "base64"}).json["data"][0]["embedding"]
        self.assertEqual(list(struct.unpack("<8f", base64.b64decode(coded))), [struct.unpack("f", struct.pack("f", v))[0] for v in numbers])
        short = self.server.post("/v1/embeddings", {"input": "hello world", "dimensions": 5}).json["data"][0]["embedding"]
        length = sum(v * v for v in numbers[:5]) ** 0.5
        for a, b in zip(short, numbers[:5], strict=True):
            self.assertAlmostEqual(a, b / length, places=5)
        raw = self.server.post("/v1/embeddings", {"input": "hello world", "normalize": False}).json["data"][0]["embedding"]
        short = self.server.post("/v1/embeddings", {"input": "hello world", "dimensions": 3, "normalize": False}).json["data"][0]["embedding"]
        self.assertEqual(short, raw[:3])
        # What is left of this vector is zero, and has no length to be divided by.
        zero = self.server.post("/v1/embeddings", {"input": [1], "dimensions": 1}).json["data"][0]["embedding"]
        self.assertEqual(zero, [0])

    def test_embeddings_refused(self):
        path = "/v1/embeddings"
        self.refused(path, {}, "input")
        for wrong in ("", [], [""], [[]], None, 5, {}, [1.5], [-1], [1, "a"], ["a", 1], [[1], ["a"]], [True], [2 ** 31]):
            self.refused(path, {"input": wrong}, "input")
        self.refused(path, {"input": "a", "encoding_format": "hex"}, "encoding_format")
        for wrong in (0, -1, 9, 2 ** 31, "8", 1.5):
            self.refused(path, {"input": "a", "dimensions": wrong}, "dimensions")
        self.refused(path, {"input": "a", "pooling": "max"}, "pooling")
        self.refused(path, {"input": "a", "normalize": 1}, "normalize")
        self.refused(path, {"input": "a", "truncate": "yes"}, "truncate")
        self.refused(path, {"input": "a", "temperature": 1}, "temperature")
        self.refused(path, {"input": "a", "model": "none"}, "model", 404)
        error = self.refused(path, {"input": ["a"] * 2049}, "input")
        self.assertEqual(error["code"], "limit_inputs")
        error = self.refused(path, {"input": "x" * 5000}, None)
        self.assertIn("5000", error["message"])
        self.assertIn("4096", error["message"])
        error = self.refused(path, {"input": ["a", [300]]}, "input")
        error = self.refused(path, {"input": [300]}, None)
        self.assertIn("300", error["message"])
        self.assertEqual(self.server.post(path, {"input": ["fine", "FAIL"]}).status, 500)
        entry = self.server.post(path, {"input": ["x" * 5000, "y"], "truncate": True}).json["data"]
        self.assertEqual(entry[0]["truncated_tokens"], 5000 - 4096)
        self.assertNotIn("truncated_tokens", entry[1])


class AdapterTest(unittest.TestCase):
    """Adapters are asked for like models; the scripted one says which it was given."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(PROGRAM, "--lora", "sql=/adapters/sql", "--lora", "poet=/adapters/poet")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_each_endpoint_takes_their_names(self):
        for name, says in (("tiny", "ba"), ("sql", "[sql] ba"), ("poet", "[poet] ba")):
            with self.subTest(name):
                limit = {"model": name, "max_tokens": len(says)}
                body = self.server.post("/v1/chat/completions", chat("ab", **limit)).json
                self.assertEqual((body["model"], body["choices"][0]["message"]["content"]), (name, says))
                body = self.server.post("/v1/completions", {"prompt": "ab", **limit}).json
                self.assertEqual((body["model"], body["choices"][0]["text"]), (name, says))
                body = self.server.post("/v1/responses", {"input": "ab", "model": name, "max_output_tokens": len(says)}).json
                self.assertEqual((body["model"], body["output"][0]["content"][0]["text"]), (name, says))
                for path, request in (("/v1/embeddings", {"input": "ab"}), ("/tokenize", {"text": "ab"})):
                    self.assertEqual(self.server.post(path, {**request, "model": name}).json["model"], name)
        self.assertEqual(self.server.post("/v1/chat/completions", chat("ab")).json["model"], "tiny")
        answer = self.server.post("/v1/chat/completions", chat("ab", model="prose"))
        self.assertEqual(answer.status, 404)
        for name in ("tiny", "sql", "poet"):
            self.assertIn(name, answer.json["error"]["message"])

    def test_they_are_listed_with_their_parent(self):
        listed = {entry["id"]: entry["parent"] for entry in self.server.get("/v1/models").json["data"]}
        self.assertEqual(listed, {"tiny": None, "sql": "tiny", "poet": "tiny"})
        self.assertEqual(self.server.get("/v1/models/sql").json["parent"], "tiny")
        self.assertIn('"sql"', self.server.get("/openapi.json").text)

    def test_names_that_mean_two_things_are_refused(self):
        for arguments in (["--lora", "tiny=/x"], ["--lora", "a=/x", "--lora", "a=/y"],
                          ["--lora", "a=/x", "--model", "second=sequences=2"]):
            with self.subTest(arguments), self.assertRaises(AssertionError) as raised:
                Server(PROGRAM, *arguments).__exit__()
            self.assertIn("adapter", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
