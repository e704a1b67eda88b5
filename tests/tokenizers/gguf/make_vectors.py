# SPDX-License-Identifier: Apache-2.0
"""Writes the files of this folder: what HF's tokenizers library makes of GGUF vocabularies.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0
    python make_vectors.py                      # <pre>.json and llama.json: tiny vocabularies
    python make_vectors.py --smollm2 FILE.gguf  # smollm2.json: vectors only, for the whole model

<pre>.json: a vocabulary trained here on a few lines of text, with the keys of GgufVocabulary, and
`cases`: `text`, `ids` (nothing added), `decoded` (all tokens shown). The pre-tokenizers are written
down here as the published tokenizer.json files of the families have them.
llama.json: the pieces of ../llama2/tokenizer.model; ../llama2/vectors.json has the results.
"""
import argparse
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TAIL_SLASH = TAIL.replace(r"[\r\n]*", r"[\r\n/]*", 1)
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CASED = lambda end: (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{end}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{end}")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)


def byte_level(use_regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def patterns(*each):
    return pre_tokenizers.Sequence([split(p) for p in each] + [byte_level()])


PRE = {
    "gpt-2": byte_level(True),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
    "llama-bpe": patterns(CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL),
    "qwen2": patterns(CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL),
    "tekken": patterns(CASED("") + r"|\p{N}" + TAIL_SLASH),
    "gpt-4o": patterns(CASED(CONTRACTIONS + "?") + r"|\p{N}{1,3}" + TAIL_SLASH),
    "deepseek-v3": patterns(
        r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
    "falcon": pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation(behavior="contiguous"), byte_level(True),
        pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]),
    "bloom": patterns(r" ?[^(\s|[.,!?…。，、।۔،])]+"),
    "default": patterns(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
}
IGNORE_MERGES = {"llama-bpe", "tekken", "gpt-4o"}
NFC = {"qwen2"}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

TRAINING = """The river was low that summer, and the boats lay tilted on the mud beside the mill.
I'm not sure that he's right, but you've seen the figures: 12, 345, 6789 and 1024 are not random numbers.
def add(a, b):\n    return a + b\n\nfor i in range(100):\n        print("even", i, 2024, 2025)
大语言模型的推理速度受内存带宽的限制，每生成一个词元都要读取全部权重。你好，世界！
Größe, Maß, Öl. L'été dernier. Река в то лето обмелела. ありがとうございます。
"""
TEXTS = [
    "", " ", "   ", "\n", "\n\n", "\t\t", " \n ", "\r\n  x", "a", "Hello, world!", "  Hello,  world!  ",
    "I'm you're he's we'll they'd I've don't", "I'M YOU'RE HE'S", "it’s 'twas", "'s", "1", "12", "123", "1234",
    "123456789", "3.14159", "1,000,000", "x=1", "x  =  1", "0x1F", "１２３", "½ ² ³ ₂", "2024-11-22T10:00:00Z",
    "def f(x):\n    return x\n", "for (int i = 0; i < 10; ++i) {\n\tx[i] += 1;\n}\n", "// x\n", "path/to/file\n/etc",
    '{"a": [1, 2, {"b": null}]}', "<html><body>x</body></html>", "https://example.org/a/b?c=d&e=f#g", "!!!???...",
    "$100 + 50% = £20^2 ~ `x|y`", "camelCaseIdentifier HTTPServer snake_case SCREAMING", "Größe Maß Öl naïve café",
    "Русский текст", "العربية", "हिन्दी", "ไทย", "日本語のテキスト", "한국어", "中文English混合text 123个",
    "你好，世界！", "　全角空格　", "e\u0301\u0302 Å Å ﬁ", "👍 👨‍👩‍👧‍👦 🇨🇳🇩🇪 👍🏽 ☃️", "𝔘𝔫𝔦 𠮷野家", "\x00\x01\x7f\x85\ufeff",
    "\u00a0nbsp\u200b\u2028", "Ġ Ċ ▁ <0x0A>", "a<|endoftext|>b", "<|im_start|>user\nhi<|im_end|>\n", "<|im_start",
    " <|im_end|> ", "aaaaaaaaaaaaaaaaaaaaaaaa", "trailing   ", "    indented\n\n\n        deep", "line\r\n\r\nline",
    "The river was low that summer.", "大语言模型的推理速度",
]


def texts(count, seed):
    r = random.Random(seed)
    pools = ["abc XYZ 012 .,!?'\n\t", "中文字符你好世界，。", "éüßñøЖщ日本語한국", "😀🎉🚀👩‍💻☕", " \n\t\r  ",
             "<>|_#{}[]()=+-*/\\\"`~^&@$%", "0123456789"]
    return TEXTS + ["".join(r.choice(r.choice(pools)) for _ in range(r.randint(3, 40))) for _ in range(count)]


def cases(tokenizer, some):
    out = []
    for text in some:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        out.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    return out


def write(name, head, some):
    with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as f:
        f.write("{\n")
        for key, value in head.items():
            f.write(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=True)},\n")
        f.write(' "cases": [\n  ' + ",\n  ".join(json.dumps(c) for c in some) + "\n ]\n}\n")


def bpe(vocab, merges, pre, special):
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=pre in IGNORE_MERGES))
    if pre in NFC:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = PRE[pre]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    return tokenizer


def tiny(pre):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = PRE[pre]
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=SPECIAL, show_progress=False, min_frequency=1,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator([TRAINING], trainer)
    model = json.loads(trained.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    tokens = sorted(vocab, key=vocab.get)
    tokenizer = bpe(vocab, merges, pre, SPECIAL)
    head = {"model": "gpt2", "pre": pre, "tokens": tokens,
            "token_types": [3 if t in SPECIAL else 1 for t in tokens], "merges": [" ".join(m) for m in merges]}
    write(pre, head, cases(tokenizer, texts(10, 5)))


def llama():
    from sentencepiece import sentencepiece_model_pb2 as pb
    proto = pb.ModelProto()
    with open(os.path.join(HERE, "../llama2/tokenizer.model"), "rb") as f:
        proto.ParseFromString(f.read())
    write("llama", {"model": "llama", "pre": "default", "tokens": [p.piece for p in proto.pieces],
                    "scores": [p.score for p in proto.pieces], "token_types": [p.type for p in proto.pieces],
                    "merges": []}, [])


def smollm2(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    special = [t for t, kind in zip(tokens, types) if kind == 3]
    tokenizer = bpe({t: i for i, t in enumerate(tokens)}, merges, "smollm", special)
    write("smollm2", {"file": os.path.basename(path)}, cases(tokenizer, texts(60, 11)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", metavar="FILE.gguf")
    arguments = parser.parse_args()
    for name in PRE:
        tiny(name)
    llama()
    if arguments.smollm2:
        smollm2(arguments.smollm2)
