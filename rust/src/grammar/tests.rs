// SPDX-License-Identifier: Apache-2.0
use std::path::Path;
use std::sync::LazyLock;

use super::*;
use crate::error::ErrorKind;

const VOCAB_SIZE: u32 = 4096;

struct Fixture {
    tokenizer: Arc<TextTokenizer>,
    compiler: GrammarCompiler,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tokenizers/qwen2");
    let tokenizer = Arc::new(crate::tokenizer_folder::load(&folder).expect("loads"));
    let eos = ["<|im_end|>", "<|endoftext|>"].map(|t| tokenizer.token_id(t).expect("is there"));
    assert!(tokenizer.vocab_size() < VOCAB_SIZE);
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer), VOCAB_SIZE, &eos).expect("builds");
    Fixture { tokenizer, compiler }
});

fn compile(kind: GrammarKind, source: &str) -> TextResult<GrammarMatcher> {
    FIXTURE.compiler.compile(kind, source)
}

fn ids(text: &str) -> Vec<TokenId> {
    FIXTURE.tokenizer.encode(text, false, crate::tokenizer::SpecialInText::Ignore).expect("encodes")
}

/// Whether the text is a whole derivation: every token allowed by the mask before it, and an end
/// token after it.
fn accepts(kind: GrammarKind, source: &str, text: &str) -> bool {
    let mut matcher = compile(kind, source).expect(source);
    let mut mask = vec![0; VOCAB_SIZE as usize / 32];
    for id in ids(text) {
        if matcher.is_complete() {
            return false;
        }
        matcher.mask(&mut mask).expect("a mask");
        if !bit(&mask, id) {
            return false;
        }
        matcher.consume(&[id]).expect("allowed");
    }
    matcher.mask(&mut mask).expect("a mask");
    let ends: Vec<bool> = FIXTURE.compiler.eos.iter().map(|id| bit(&mask, *id)).collect();
    assert_eq!(ends[0], ends[1]);
    ends[0]
}

#[test]
fn texts_of_the_form_pass_and_others_do_not() {
    use GrammarKind::{Choice, JsonObject, JsonSchema, Lark, Regex};
    let schema = r#"{"type":"object","properties":{"z":{"type":"integer"},"a":{"enum":["x","é"]}},
                     "required":["z","a"],"additionalProperties":false}"#;
    let cases: [(GrammarKind, &str, &[&str], &[&str]); 6] = [
        (
            JsonSchema,
            schema,
            &[r#"{"z": -3, "a": "é"}"#],
            &[r#"{"z": 1}"#, r#"{"a": "x", "z": 1}"#, r#"{"z":  1, "a": "x"}"#],
        ),
        (
            JsonSchema,
            r##"{"$ref":"#/$defs/n","$defs":{"n":{"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#/$defs/n"}}]}}}"##,
            &["null", "[[], [null, [null]]]"],
            &["[1]", "[[]"],
        ),
        (JsonObject, "", &["{}", r#"{"a": [1, {"b": null}]}"#], &["[]", "1", "{", ""]),
        (Regex, r"[a-c]{2,3}\d+", &["ab1", "abc99"], &["a1", "abcd1", "ab"]),
        (
            Choice,
            r#"["yes", "no", "a \"b\"\n", "yes sir"]"#,
            &["yes", "no", "a \"b\"\n", "yes sir"],
            &["ye", "maybe", "no "],
        ),
        (Lark, "start: \"a\" start \"b\" | \"x\"", &["x", "aaxbb"], &["axbb", "ab"]),
    ];
    for (kind, source, good, bad) in cases {
        for text in good {
            assert!(accepts(kind, source, text), "{source}: {text}");
        }
        for text in bad {
            assert!(!accepts(kind, source, text), "{source}: {text}");
        }
    }
}

#[test]
fn a_complete_form_says_so_and_special_tokens_are_never_text() {
    let mut matcher = compile(GrammarKind::Regex, "ab").expect("compiles");
    let mut mask = vec![0; VOCAB_SIZE as usize / 32];
    assert!(matcher.mask(&mut mask).expect("a mask") >= 1);
    let (last, first) = ids("ab").split_last().map(|(l, f)| (*l, f.to_vec())).expect("some");
    assert!(!matcher.consume(&first).expect("allowed"));
    assert!(matcher.consume(&[last]).expect("allowed"));
    assert_eq!(matcher.mask(&mut mask).expect("a mask"), 2);
    assert!(matcher.consume(&[last]).is_err());

    let mut any = compile(GrammarKind::Regex, "(?s:.*)").expect("compiles");
    any.mask(&mut mask).expect("a mask");
    for id in 0..VOCAB_SIZE {
        if FIXTURE.tokenizer.is_special(id) && !FIXTURE.compiler.eos.contains(&id) {
            assert!(!bit(&mask, id), "{id}");
        }
    }
}

#[test]
fn forks_go_their_own_way() {
    let mut one = compile(GrammarKind::Choice, r#"["aab", "aac"]"#).expect("compiles");
    one.consume(&ids("aa")).expect("allowed");
    let mut two = one.fork();
    assert!(one.consume(&ids("b")).expect("allowed"));
    assert!(two.consume(&ids("c")).expect("allowed"));
}

#[test]
fn forced_tokens_spell_what_must_come() {
    let schema = r#"{"type":"object","properties":{"temperature":{"type":"boolean"}},
                     "required":["temperature"],"additionalProperties":false}"#;
    let mut matcher = compile(GrammarKind::JsonSchema, schema).expect("compiles");
    let mut text = Vec::new();
    for value in ["true", ""] {
        for _ in 0..100 {
            let forced = matcher.forced();
            if forced.is_empty() || forced == [FIXTURE.compiler.eos[0]] {
                break;
            }
            matcher.consume(&forced).expect("allowed");
            text.extend(forced);
        }
        if !value.is_empty() {
            // The rest of what must come waits for a token that it may be the beginning of.
            let so_far = FIXTURE.tokenizer.decode(&text, false).expect("decodes");
            let whole = r#"{"temperature": true}"#;
            assert!(whole.starts_with(&so_far), "{so_far}");
            assert!(so_far.len() > 10, "{so_far}");
            let rest = ids(&whole[so_far.len()..]);
            for id in rest {
                if !matcher.is_complete() {
                    matcher.consume(&[id]).expect("allowed");
                    text.push(id);
                }
            }
        }
    }
    assert_eq!(
        FIXTURE.tokenizer.decode(&text, false).expect("decodes"),
        r#"{"temperature": true}"#
    );
    assert!(matcher.is_complete());
    assert_eq!(matcher.forced(), [FIXTURE.compiler.eos[0]]);
    assert!(matcher.consume(&[FIXTURE.compiler.eos[1]]).expect("an end"));
    assert!(compile(GrammarKind::Regex, "[ab]").expect("compiles").forced().is_empty());
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    open.repeat(depth) + "1" + &close.repeat(depth)
}

#[test]
fn hostile_sources_are_refused_or_harmless() {
    use GrammarKind::{Choice, JsonSchema, Lark, Regex};
    let list = |count: usize| {
        let entries: Vec<String> = (0..count).map(|i| format!("\"v{i}\"")).collect();
        format!("[{}]", entries.join(","))
    };
    let properties: Vec<String> =
        (0..1_500).map(|i| format!(r#""p{i}":{{"type":"string"}}"#)).collect();
    let product = |count: usize| {
        let each = format!(
            r#"{{"anyOf":[{}{{"type":"null"}}]}}"#,
            r#"{"type":"object","properties":{"a":{"type":"string"}}},"#.repeat(count)
        );
        format!(r#"{{"allOf":[{}{{}}]}}"#, (each + ",").repeat(count))
    };
    let refused: Vec<(GrammarKind, String, &str)> = vec![
        (JsonSchema, nested(r#"{"items":"#, "}", 100_000), "bytes"),
        (JsonSchema, nested(r#"{"not":"#, "}", 10_000), "nested deeper"),
        (JsonSchema, nested("[", "]", 100_000), "nested deeper"),
        (JsonSchema, format!(r#"{{"enum":{}}}"#, list(1_000_000)), "bytes"),
        (JsonSchema, format!(r#"{{"enum":{}}}"#, list(20_000)), "20000 entries"),
        (JsonSchema, format!(r#"{{"title":"{}"}}"#, "x".repeat(1 << 20)), "bytes"),
        (JsonSchema, r#"{"type":"string","pattern":"^a{0,1000000}$"}"#.into(), "repetition"),
        (JsonSchema, r#"{"type":"string","maxLength":1000000}"#.into(), "maxLength"),
        (JsonSchema, r#"{"type":"array","minItems":1000000}"#.into(), "minItems"),
        (JsonSchema, r##"{"$ref":"#"}"##.into(), "JSON schema: no text has this form"),
        (JsonSchema, r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##.into(), ""),
        (JsonSchema, r##"{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"type":"object"}]}},"$ref":"#/$defs/a"}"##.into(), ""),
        (JsonSchema, r#"{"$ref":"https://example.com/schema.json"}"#.into(), ""),
        (JsonSchema, r##"{"$ref":"#/$defs/missing"}"##.into(), ""),
        (JsonSchema, r#"{"type":"strange"}"#.into(), "strange"),
        (JsonSchema, r#"{"type":"object","dependentSchemas":{}}"#.into(), "dependentSchemas"),
        (JsonSchema, r#"{"type":"string","format":"strange"}"#.into(), "strange"),
        (JsonSchema, r#"{"type":"integer","minimum":5,"maximum":4}"#.into(), ""),
        (JsonSchema, "false".into(), ""),
        (JsonSchema, "3".into(), ""),
        (JsonSchema, "".into(), "not valid JSON"),
        (Regex, "a{0,1000000}".into(), "repetition"),
        (Regex, "((a{0,1000}){0,1000}){0,1000}".into(), "in one another"),
        (Regex, "(".repeat(10_000), "groups deeper"),
        (Regex, "a(".into(), ""),
        (Regex, r"(a)\1".into(), ""),
        (Regex, "(?=a)b".into(), "look-around"),
        (Choice, "[]".into(), "empty"),
        (Choice, list(20_000), "20000 choices"),
        (Choice, "[1]".into(), "not a list of texts"),
        (Lark, "".into(), ""),
        (Lark, "start: missing".into(), ""),
        (Lark, format!("start: {}\"a\"{}", "(".repeat(50_000), ")".repeat(50_000)), ""),
        (Lark, "start: start".into(), ""),
        (Lark, "start: %json {".into(), ""),
        (Lark, format!("start: %json {}", nested(r#"{"not":"#, "}", 10_000)), ""),
    ];
    let mut compiled = Vec::new();
    for (kind, source, part) in refused {
        let start = std::time::Instant::now();
        let outcome = compile(kind, &source);
        let shown: String = source.chars().take(60).collect();
        eprintln!("{:?} {shown}: {:?}", start.elapsed(), outcome.as_ref().err());
        let Some(error) = outcome.err() else {
            compiled.push(shown);
            continue;
        };
        assert!(error.message.contains(part), "{shown}: {}", error.message);
        assert!(error.message.starts_with("[structured]"), "{}", error.message);
        assert!(error.message.len() < 2_000, "{}", error.message.len());
        assert!(matches!(error.kind, ErrorKind::InvalidArgument | ErrorKind::Unsupported));
    }
    assert!(compiled.is_empty(), "{compiled:?}");
    // Large, but within the limits, or stopped by the library's own.
    let large: Vec<(GrammarKind, String)> = vec![
        (JsonSchema, format!(r#"{{"enum":{}}}"#, list(10_000))),
        (JsonSchema, format!(r#"{{"type":"object","properties":{{{}}}}}"#, properties.join(","))),
        (
            Lark,
            format!(
                r#"start: %json {{"type":"object","properties":{{{}}}}}"#,
                properties.join(",")
            ),
        ),
        (JsonSchema, r#"{"type":"array","maxItems":10000}"#.into()),
        (JsonSchema, r#"{"type":"string","maxLength":10000}"#.into()),
        (JsonSchema, product(8)),
        (JsonSchema, product(60)),
        (Regex, "a{0,10000}".into()),
        (Regex, "(a|b)*a(a|b){20}".into()),
        (Regex, "(a{100}){1000}".into()),
        (Regex, r"(\p{L}{0,100}\d{0,100}){0,10}".into()),
        (Choice, list(10_000)),
        (Lark, "start: \"a\"{0,1000000}".into()),
        (Lark, "start: /(a{0,10000}b){0,10000}/".into()),
        (Lark, "start: a a a a a a a a\na: b b b b b b b b\nb: c c c c c c c c\nc: \"x\"*".into()),
    ];
    for (kind, source) in large {
        let start = std::time::Instant::now();
        let shown: String = source.chars().take(60).collect();
        let outcome = compile(kind, &source);
        let compiled = start.elapsed();
        let mut mask = vec![0; VOCAB_SIZE as usize / 32];
        let masked = outcome.map(|mut matcher| {
            let one = matcher.mask(&mut mask).map_err(|error| error.message);
            let one = one.map(|count| {
                (count, matcher.consume(&ids("a")).is_ok(), matcher.mask(&mut mask).is_ok())
            });
            one
        });
        eprintln!("{compiled:?} {:?} {shown}: {masked:?}", start.elapsed());
    }
}
