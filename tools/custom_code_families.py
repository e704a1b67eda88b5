# SPDX-License-Identifier: Apache-2.0
"""The families that publish their own modelling code, in float64 and in numpy alone.

Qwen 1, ChatGLM-6B, ChatGLM2/3 and GLM-4 (in the format of ChatGLM), Baichuan 1 and 2, InternLM2:
transformers has no code for them, so this is what tools/make_family_settings.py computes their
other settings with. It is written from what the families are, not from the engine's code, and is
held against the logits and greedy tokens of the published code in tests/golden:

    pip install numpy
    tools/custom_code_families.py
"""
import json
import math
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests/golden"
FOLDERS = ("baichuan-13b", "baichuan-7b", "baichuan2-13b", "baichuan2-7b", "chatglm", "chatglm-glm4",
           "chatglm2", "chatglm2-fp16", "chatglm3", "chatglm3-32k", "internlm2", "qwen", "qwen-long")
TOLERANCE = 1e-4  # of the largest logit
CLEAR_MARGIN = 1e-3  # from here on the reference's own best token is beyond doubt


# --- Parts ---
def linear(w, name, x):
    y = x @ w[name + ".weight"].T
    return y + w[name + ".bias"] if name + ".bias" in w else y


def rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def layer_norm(x, weight, bias, epsilon):
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + epsilon) * weight + bias


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {"silu": silu, "gelu": gelu, "gelu_new": gelu_tanh, "relu": lambda x: np.maximum(x, 0)}


def frequencies(base, width):
    return base ** (-np.arange(0, width, 2) / width)


def turn(a, b, angles):
    """The points (a, b) turned by the angles; a, b [tokens, heads, n], angles [tokens, n]."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    return a * cos - b * sin, b * cos + a * sin


def rotate_halves(x, angles):
    """RoPE of the first 2n elements of each head: element i turns with element i + n."""
    n = angles.shape[-1]
    a, b = turn(x[..., :n], x[..., n:2 * n], angles)
    return np.concatenate([a, b, x[..., 2 * n:]], axis=-1)


def rotate_pairs(x, angles):
    """The same where element 2i turns with element 2i + 1."""
    n = angles.shape[-1]
    a, b = turn(x[..., 0:2 * n:2], x[..., 1:2 * n:2], angles)
    turned = np.stack([a, b], axis=-1).reshape(*x.shape[:-1], 2 * n)
    return np.concatenate([turned, x[..., 2 * n:]], axis=-1)


def causal(n):
    """The mask [query, key] that is added to the scores."""
    return np.where(np.arange(n)[None, :] > np.arange(n)[:, None], -np.inf, 0.0)


def attention(q, k, v, scale, mask):
    """q [tokens, heads, d], k and v [tokens, kv heads, d], mask [(heads,) query, key]."""
    share = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, share, axis=1), np.repeat(v, share, axis=1)
    scores = np.einsum("qhd,khd->hqk", q, k) * scale + mask
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", scores, v).reshape(len(q), -1)


def heads(x, count):
    return x.reshape(len(x), count, -1)


def alibi_slopes(n):
    if n & (n - 1) == 0:
        return [2.0 ** (-8 * (i + 1) / n) for i in range(n)]
    lower = 1 << (n.bit_length() - 1)
    return alibi_slopes(lower) + alibi_slopes(2 * lower)[0::2][:n - lower]


# --- Families ---
# Each is a function of config, weights, ids [tokens] and prompt: how many of the tokens are the
# prompt. The others have been decoded one by one, over keys in a cache that keep the rotation they
# were stored with. It gives the logits [tokens, vocabulary]. The tensors are beside it.
def qwen(c, w, ids, prompt):
    eps, trained, d = c["layer_norm_epsilon"], c["seq_length"], c["kv_channels"]
    n, width = len(ids), int(c["kv_channels"] * c.get("rotary_pct", 1.0))
    base = c.get("rotary_emb_base", 10000.0)
    if c.get("use_dynamic_ntk", False):
        alpha = max(1, 2 ** math.ceil(math.log2(prompt / trained) + 1) - 1)
        base *= alpha ** (width / (width - 2))
    angles = np.outer(np.arange(n), frequencies(base, width))
    growth = np.ones((n, 1, 1))
    if c.get("use_logn_attn", False):
        for position in range(trained, n):
            growth[position] = math.log(position + 1) / math.log(trained)
    scale = 1 / math.sqrt(d) if c.get("scale_attn_weights", True) else 1.0
    h = w["transformer.wte.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        layer = f"transformer.h.{i}."
        x = rms_norm(h, w[layer + "ln_1.weight"], eps)
        q, k, v = (heads(part, c["num_attention_heads"])
                   for part in np.split(linear(w, layer + "attn.c_attn", x), 3, axis=-1))
        q, k = rotate_halves(q, angles) * growth, rotate_halves(k, angles)
        h = h + linear(w, layer + "attn.c_proj", attention(q, k, v, scale, causal(n)))
        x = rms_norm(h, w[layer + "ln_2.weight"], eps)
        x = linear(w, layer + "mlp.w1", x) * silu(linear(w, layer + "mlp.w2", x))
        h = h + linear(w, layer + "mlp.c_proj", x)
    h = rms_norm(h, w["transformer.ln_f.weight"], eps)
    return h @ w["transformer.wte.weight" if c["tie_word_embeddings"] else "lm_head.weight"].T


def qwen_tensors(c):
    hidden, wide, mlp = c["hidden_size"], c["kv_channels"] * c["num_attention_heads"], c["intermediate_size"] // 2
    t = {"transformer.wte.weight": [c["vocab_size"], hidden], "transformer.ln_f.weight": [hidden]}
    for i in range(c["num_hidden_layers"]):
        layer = f"transformer.h.{i}."
        t |= {layer + "ln_1.weight": [hidden], layer + "ln_2.weight": [hidden],
              layer + "attn.c_attn.weight": [3 * wide, hidden], layer + "attn.c_attn.bias": [3 * wide]}
        for name, shape in (("attn.c_proj", [hidden, wide]), ("mlp.w1", [mlp, hidden]),
                            ("mlp.w2", [mlp, hidden]), ("mlp.c_proj", [hidden, mlp])):
            t[f"{layer}{name}.weight"] = shape
            if not c["no_bias"]:
                t[f"{layer}{name}.bias"] = shape[:1]
    if not c["tie_word_embeddings"]:
        t["lm_head.weight"] = [c["vocab_size"], hidden]
    return t


def chatglm1(c, w, ids, prompt):
    eps, count, n = c["layernorm_epsilon"], c["num_attention_heads"], len(ids)
    d = c["hidden_size"] // count
    given = list(ids[:prompt])
    context = given.index(c["bos_token_id"])
    mask_token = c["gmask_token_id"] if c["gmask_token_id"] in given else c["mask_token_id"]
    index = np.arange(n)
    first = np.where(index < context, index, given.index(mask_token))
    second = np.where(index < context, 0, index - context + 1)
    turns = frequencies(np.float32(10000), d // 2).astype(np.float16).astype(np.float64)
    mask = causal(n)
    mask[:, :context] = 0  # the context is seen by all

    def rotate(x):
        return np.concatenate([rotate_halves(x[..., :d // 2], np.outer(first, turns)),
                               rotate_halves(x[..., d // 2:], np.outer(second, turns))], axis=-1)

    a = math.sqrt(2 * c["num_layers"])
    h = w["transformer.word_embeddings.weight"][ids]
    for i in range(c["num_layers"]):
        layer = f"transformer.layers.{i}."
        x = layer_norm(h, w[layer + "input_layernorm.weight"], w[layer + "input_layernorm.bias"], eps)
        qkv = heads(linear(w, layer + "attention.query_key_value", x), count)  # each [q, k, v]
        q, k, v = np.split(qkv, 3, axis=-1)
        y = attention(rotate(q), rotate(k), v, 1 / math.sqrt(d), mask)
        h = a * x + linear(w, layer + "attention.dense", y)
        x = layer_norm(h, w[layer + "post_attention_layernorm.weight"],
                       w[layer + "post_attention_layernorm.bias"], eps)
        h = a * x + linear(w, layer + "mlp.dense_4h_to_h", gelu_tanh(linear(w, layer + "mlp.dense_h_to_4h", x)))
    name = "transformer.final_layernorm."
    return layer_norm(h, w[name + "weight"], w[name + "bias"], eps) @ w["lm_head.weight"].T


def chatglm1_tensors(c):
    hidden = c["hidden_size"]
    inner = c.get("inner_hidden_size", 4 * hidden)
    t = {name: [c["vocab_size"], hidden] for name in ("transformer.word_embeddings.weight", "lm_head.weight")}
    parts = {"transformer.final_layernorm": [hidden]}
    for i in range(c["num_layers"]):
        layer = f"transformer.layers.{i}."
        parts |= {layer + "input_layernorm": [hidden], layer + "post_attention_layernorm": [hidden],
                  layer + "attention.query_key_value": [3 * hidden, hidden],
                  layer + "attention.dense": [hidden, hidden],
                  layer + "mlp.dense_h_to_4h": [inner, hidden], layer + "mlp.dense_4h_to_h": [hidden, inner]}
    for name, shape in parts.items():
        t |= {name + ".weight": shape, name + ".bias": shape[:1]}
    return t


def chatglm_kv_heads(c):
    return c["multi_query_group_num"] if c["multi_query_attention"] else c["num_attention_heads"]


def chatglm2(c, w, ids, prompt):
    eps, n, d = c["layernorm_epsilon"], len(ids), c["kv_channels"]
    count, kv_count = c["num_attention_heads"], chatglm_kv_heads(c)
    angles = np.outer(np.arange(n), frequencies(10000 * c.get("rope_ratio", 1), d // 2))

    def norm(name, x):
        weight = w[name + ".weight"]
        return rms_norm(x, weight, eps) if c["rmsnorm"] else layer_norm(x, weight, w[name + ".bias"], eps)

    normed_residual = c["apply_residual_connection_post_layernorm"]
    h = w["transformer.embedding.word_embeddings.weight"][ids]
    for i in range(c["num_layers"]):
        layer = f"transformer.encoder.layers.{i}."
        x = norm(layer + "input_layernorm", h)
        qkv = linear(w, layer + "self_attention.query_key_value", x)
        q, k, v = np.split(qkv, [count * d, (count + kv_count) * d], axis=-1)
        y = attention(rotate_pairs(heads(q, count), angles), rotate_pairs(heads(k, kv_count), angles),
                      heads(v, kv_count), 1 / math.sqrt(d), causal(n))
        h = (x if normed_residual else h) + linear(w, layer + "self_attention.dense", y)
        x = norm(layer + "post_attention_layernorm", h)
        gate, up = np.split(linear(w, layer + "mlp.dense_h_to_4h", x), 2, axis=-1)
        h = (x if normed_residual else h) + linear(w, layer + "mlp.dense_4h_to_h", silu(gate) * up)
    if c["post_layer_norm"]:
        h = norm("transformer.encoder.final_layernorm", h)
    return h @ w["transformer.output_layer.weight"].T


def chatglm2_tensors(c):
    hidden, d, inner = c["hidden_size"], c["kv_channels"], c["ffn_hidden_size"]
    wide = c["num_attention_heads"] * d
    norms = ["transformer.encoder.final_layernorm"] if c["post_layer_norm"] else []
    t = {name: [c["padded_vocab_size"], hidden]
         for name in ("transformer.embedding.word_embeddings.weight", "transformer.output_layer.weight")}
    for i in range(c["num_layers"]):
        layer = f"transformer.encoder.layers.{i}."
        norms += [layer + "input_layernorm", layer + "post_attention_layernorm"]
        for name, shape in (("self_attention.query_key_value", [wide + 2 * chatglm_kv_heads(c) * d, hidden]),
                            ("self_attention.dense", [hidden, wide]),
                            ("mlp.dense_h_to_4h", [2 * inner, hidden]), ("mlp.dense_4h_to_h", [hidden, inner])):
            t[f"{layer}{name}.weight"] = shape
            if c["add_bias_linear"] or (c["add_qkv_bias"] and name.endswith("query_key_value")):
                t[f"{layer}{name}.bias"] = shape[:1]
    for name in norms:
        t[name + ".weight"] = [hidden]
        if not c["rmsnorm"]:
            t[name + ".bias"] = [hidden]
    return t


def baichuan_rotates(c):
    return c["architectures"][0] == "BaiChuanForCausalLM" or "max_position_embeddings" in c


def baichuan(c, w, ids, prompt):
    eps, n, count = c["rms_norm_eps"], len(ids), c["num_attention_heads"]
    d, activation = c["hidden_size"] // count, ACTIVATIONS[c["hidden_act"]]
    angles, mask = np.zeros((n, 0)), causal(n)
    if baichuan_rotates(c):
        angles = np.outer(np.arange(n), frequencies(10000, d))
    else:
        distance = np.arange(n)[None, :] - np.arange(n)[:, None]
        mask = mask + np.array(alibi_slopes(count))[:, None, None] * distance
    h = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        x = rms_norm(h, w[layer + "input_layernorm.weight"], eps)
        q, k, v = (heads(part, count) for part in np.split(linear(w, layer + "self_attn.W_pack", x), 3, axis=-1))
        y = attention(rotate_halves(q, angles), rotate_halves(k, angles), v, 1 / math.sqrt(d), mask)
        h = h + linear(w, layer + "self_attn.o_proj", y)
        x = rms_norm(h, w[layer + "post_attention_layernorm.weight"], eps)
        x = activation(linear(w, layer + "mlp.gate_proj", x)) * linear(w, layer + "mlp.up_proj", x)
        h = h + linear(w, layer + "mlp.down_proj", x)
    output = w["model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"]
    if c.get("norm_head", c["vocab_size"] == 125696):
        output = output / np.linalg.norm(output, axis=-1, keepdims=True)
    return rms_norm(h, w["model.norm.weight"], eps) @ output.T


def baichuan_tensors(c):
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    t = {"model.embed_tokens.weight": [c["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for i in range(c["num_hidden_layers"]):
        for name, shape in (("input_layernorm", [hidden]), ("post_attention_layernorm", [hidden]),
                            ("self_attn.W_pack", [3 * hidden, hidden]), ("self_attn.o_proj", [hidden, hidden]),
                            ("mlp.gate_proj", [inner, hidden]), ("mlp.up_proj", [inner, hidden]),
                            ("mlp.down_proj", [hidden, inner])):
            t[f"model.layers.{i}.{name}.weight"] = shape
    if not c["tie_word_embeddings"]:
        t["lm_head.weight"] = [c["vocab_size"], hidden]
    return t


def internlm2_angles(c, n, prompt):
    """Of each token, by the length of the sequence in the step that it came in."""
    d = c["hidden_size"] // c["num_attention_heads"]
    base, limit = c["rope_theta"], c["max_position_embeddings"]
    scaling = c.get("rope_scaling") or {"type": "none"}
    angles = []
    for position in range(n):
        length, own, place = max(prompt, position + 1), base, float(position)
        if scaling["type"] == "linear":
            place /= scaling["factor"]
        elif scaling["type"] == "dynamic" and length > limit:
            own *= (scaling["factor"] * length / limit - (scaling["factor"] - 1)) ** (d / (d - 2))
        angles.append(place * frequencies(own, d))
    return np.array(angles)


def internlm2(c, w, ids, prompt):
    eps, n, activation = c["rms_norm_eps"], len(ids), ACTIVATIONS[c["hidden_act"]]
    count, kv_count = c["num_attention_heads"], c.get("num_key_value_heads", c["num_attention_heads"])
    d, angles = c["hidden_size"] // count, internlm2_angles(c, n, prompt)
    h = w["model.tok_embeddings.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        x = rms_norm(h, w[layer + "attention_norm.weight"], eps)
        qkv = linear(w, layer + "attention.wqkv", x).reshape(n, kv_count, -1, d)  # each [q…, k, v]
        q, k, v = qkv[:, :, :-2].reshape(n, count, d), qkv[:, :, -2], qkv[:, :, -1]
        y = attention(rotate_halves(q, angles), rotate_halves(k, angles), v, 1 / math.sqrt(d), causal(n))
        h = h + linear(w, layer + "attention.wo", y)
        x = rms_norm(h, w[layer + "ffn_norm.weight"], eps)
        x = activation(linear(w, layer + "feed_forward.w1", x)) * linear(w, layer + "feed_forward.w3", x)
        h = h + linear(w, layer + "feed_forward.w2", x)
    output = w["model.tok_embeddings.weight" if c["tie_word_embeddings"] else "output.weight"]
    return rms_norm(h, w["model.norm.weight"], eps) @ output.T


def internlm2_tensors(c):
    hidden, inner, count = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    wide = hidden + 2 * c.get("num_key_value_heads", count) * (hidden // count)
    t = {"model.tok_embeddings.weight": [c["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        t |= {layer + "attention_norm.weight": [hidden], layer + "ffn_norm.weight": [hidden],
              layer + "attention.wqkv.weight": [wide, hidden], layer + "attention.wo.weight": [hidden, hidden],
              layer + "feed_forward.w1.weight": [inner, hidden],
              layer + "feed_forward.w3.weight": [inner, hidden], layer + "feed_forward.w2.weight": [hidden, inner]}
        if c["bias"]:
            t |= {layer + "attention.wqkv.bias": [wide], layer + "attention.wo.bias": [hidden]}
    if not c["tie_word_embeddings"]:
        t["output.weight"] = [c["vocab_size"], hidden]
    return t


def family(c):
    """(logits, tensors) of a config.json."""
    if c["model_type"] == "chatglm":
        return (chatglm1, chatglm1_tensors) if "position_encoding_2d" in c else (chatglm2, chatglm2_tensors)
    return {"qwen": (qwen, qwen_tensors), "baichuan": (baichuan, baichuan_tensors),
            "internlm2": (internlm2, internlm2_tensors)}[c["model_type"]]


def tensors(c):
    """{name: shape} of the checkpoint."""
    return family(c)[1](c)


def logits(c, w, ids, prompt=None):
    return family(c)[0](c, w, np.array(ids), prompt or len(ids))


def greedy(c, w, ids, steps):
    """The tokens that follow, and how far each is ahead of the second best."""
    ids, prompt, margins = list(ids), len(ids), []
    for _ in range(steps):
        last = logits(c, w, ids, prompt)[-1]
        second, best = np.argsort(last)[-2:]
        ids.append(int(best))
        margins.append(float(last[best] - last[second]))
    return ids[prompt:], margins


# --- Against the published code ---
def read_safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    arrays = {}
    for name, info in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        raw = data[8 + size + begin:8 + size + end]
        if info["dtype"] == "BF16":
            array = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[info["dtype"]])
        arrays[name] = array.reshape(info["shape"]).astype(np.float64)
    return arrays


def check(folder):
    """Raises AssertionError unless a golden folder's logits and greedy tokens come out."""
    path = GOLDEN / folder
    c = json.loads((path / "config.json").read_text())
    weights = {}
    for file in path.glob("model*.safetensors"):
        weights |= read_safetensors(file)
    for name, shape in tensors(c).items():
        assert list(weights[name].shape) == shape, f"{folder}: {name}"
    expected = read_safetensors(path / "golden.safetensors")
    worst = 0.0
    for prompt in json.loads((path / "golden.json").read_text())["prompts"]:
        rows = expected[prompt["logits_key"]]
        actual = logits(c, weights, prompt["ids"])[-len(rows):]
        error = np.abs(actual - rows).max() / max(1.0, prompt["logits_max_abs"])
        assert error <= TOLERANCE, f"{folder}, {prompt['name']}: logits differ by {error:.2g} of the largest"
        worst = max(worst, error)
        tokens, margins = greedy(c, weights, prompt["ids"], len(prompt["greedy"]))
        for i, margin in enumerate(prompt["greedy_margins"]):
            if margin < CLEAR_MARGIN:
                break
            assert tokens[i] == prompt["greedy"][i], f"{folder}, {prompt['name']}: greedy token {i}"
    return worst


def main():
    for folder in FOLDERS:
        print(f"{folder:15} logits within {check(folder):.1e} of the largest, greedy tokens equal", flush=True)


if __name__ == "__main__":
    main()
