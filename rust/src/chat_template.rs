// SPDX-License-Identifier: Apache-2.0
//! Chat templates: Jinja with the environment that HF's transformers gives it.

use std::fmt;
use std::io;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde_json::Map;

use crate::error::{TextError, TextResult, corrupt, internal, invalid, unsupported};
use crate::python_json::{Style, dumps};
use crate::tokenizer_config::{TokenizerConfig, read_file};

/// Work of one rendering: an instruction costs one, and so do 64 bytes of data. Bounds the time (about
/// a second) and the memory; a conversation of a megabyte takes a hundredth of it.
const FUEL: u64 = 2_000_000;
const MAX_OUTPUT_BYTES: usize = 16 << 20;
const MAX_RECURSION: usize = 100;
/// Rendering runs on a stack of its own, twice as large as it takes to free, level by level, the most
/// deeply nested value that the fuel can make.
const STACK_BYTES: usize = 256 << 20;

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// Immutable; shared by threads.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Map<String, serde_json::Value>,
}

/// What raise_exception() was given.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

impl ChatTemplate {
    /// `special_tokens` become variables: bos_token and the like.
    pub fn from_source(
        source: &str,
        special_tokens: Map<String, serde_json::Value>,
    ) -> TextResult<ChatTemplate> {
        let mut template = ChatTemplate { environment: environment()?, special_tokens };
        template.add("the chat template", DEFAULT, source)?;
        Ok(template)
    }

    /// Of a model folder: chat_template.jinja, else the template or the named templates of
    /// tokenizer_config.json. None if the model has none.
    pub fn from_folder(folder: &Path) -> TextResult<Option<ChatTemplate>> {
        let config = TokenizerConfig::read(folder)?;
        let mut special_tokens = Map::new();
        let mut additional: Vec<serde_json::Value> = Vec::new();
        for (key, token) in config.special_tokens()? {
            if key == "additional_special_tokens" {
                additional.push(token.into());
            } else {
                special_tokens.insert(key.to_string(), token.into());
            }
        }
        special_tokens.insert("additional_special_tokens".to_string(), additional.into());
        let mut template = ChatTemplate { environment: environment()?, special_tokens };

        let path = folder.join("chat_template.jinja");
        if let Some(bytes) = read_file(&path)? {
            let name = path.display().to_string();
            let source = String::from_utf8(bytes)
                .map_err(|_| corrupt(format!("{name}: not valid UTF-8")))?;
            template.add(&name, DEFAULT, &source)?;
            return Ok(Some(template));
        }
        let bad = |what: &str| corrupt(format!("{}: chat_template: {what}", config.name()));
        match config.get("chat_template") {
            None => return Ok(None),
            Some(serde_json::Value::String(source)) => {
                template.add(&format!("{}: chat_template", config.name()), DEFAULT, source)?;
            }
            Some(serde_json::Value::Array(list)) => {
                let mut has_default = false;
                for entry in list {
                    let text = |key: &str| entry.get(key).and_then(serde_json::Value::as_str);
                    let (Some(name), Some(source)) = (text("name"), text("template")) else {
                        return Err(bad("an entry of the list has no name or no template"));
                    };
                    has_default |= name == DEFAULT;
                    if name == DEFAULT || name == TOOL_USE {
                        let origin = format!("{}: chat_template '{name}'", config.name());
                        template.add(&origin, name, source)?;
                    }
                }
                if !has_default {
                    return Err(bad("no template of the list is named 'default'"));
                }
            }
            Some(_) => return Err(bad("neither a string nor a list")),
        }
        Ok(Some(template))
    }

    fn add(&mut self, origin: &str, name: &str, source: &str) -> TextResult<()> {
        let source = without_generation_tags(source);
        self.environment.add_template_owned(name.to_string(), source).map_err(|error| {
            unsupported(format!("{origin}: cannot be parsed: {}", describe(&error)))
        })
    }

    fn name(&self, with_tools: bool) -> &'static str {
        if with_tools && self.environment.get_template(TOOL_USE).is_ok() {
            TOOL_USE
        } else {
            DEFAULT
        }
    }

    /// The source of the template that a conversation with or without tools is rendered with.
    pub fn source(&self, with_tools: bool) -> TextResult<String> {
        let template = self.environment.get_template(self.name(with_tools));
        Ok(template.map_err(|error| of_rendering(&error))?.source().to_string())
    }

    /// `tools` is null or a list; `extra` are further variables, stronger than all others.
    pub fn render(
        &self,
        messages: serde_json::Value,
        tools: serde_json::Value,
        add_generation_prompt: bool,
        extra: Map<String, serde_json::Value>,
    ) -> TextResult<String> {
        if !messages.is_array() {
            return Err(invalid("the messages of a chat must be a list"));
        }
        let name = self.name(!tools.is_null());
        let mut variables = self.special_tokens.clone();
        variables.insert("messages".to_string(), messages);
        variables.insert("tools".to_string(), tools);
        variables.insert("documents".to_string(), serde_json::Value::Null);
        variables.insert("add_generation_prompt".to_string(), add_generation_prompt.into());
        variables.extend(extra);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            let rendering = thread
                .spawn_scoped(scope, || self.render_template(name, variables))
                .map_err(|error| internal(format!("no thread for the chat template: {error}")))?;
            rendering.join().unwrap_or_else(|panic| {
                Err(internal(format!("chat template: {}", crate::error::panic_text(&*panic))))
            })
        })
    }

    fn render_template(
        &self,
        name: &str,
        variables: Map<String, serde_json::Value>,
    ) -> TextResult<String> {
        let template = self.environment.get_template(name).map_err(|error| of_rendering(&error))?;
        let mut output = CappedOutput(Vec::new());
        template
            .render_captured_to(Value::from(Serde(variables)), &mut output)
            .map_err(|error| of_rendering(&error))?;
        String::from_utf8(output.0).map_err(|_| internal("the chat template's output is not UTF-8"))
    }
}

struct CappedOutput(Vec<u8>);

impl io::Write for CappedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("too much output"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn describe(error: &Error) -> String {
    let text = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    match error.line() {
        Some(line) => format!("{text} (line {line})"),
        None => text,
    }
}

fn of_rendering(error: &Error) -> TextError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(source) = cause {
        if let Some(Raised(message)) = source.downcast_ref::<Raised>() {
            return invalid(format!("chat template: {message}"));
        }
        if let Some(error) = source.downcast_ref::<Error>() {
            match error.kind() {
                ErrorKind::OutOfFuel => {
                    return invalid(format!(
                        "chat template: it does not come to an end (stopped after {FUEL} units of work)"
                    ));
                }
                ErrorKind::WriteFailure => {
                    return invalid(format!(
                        "chat template: its output is longer than {MAX_OUTPUT_BYTES} bytes"
                    ));
                }
                _ => {}
            }
        }
        cause = source.source();
    }
    invalid(format!("chat template: {}", describe(error)))
}

/// As transformers.utils.chat_template_utils sets up Jinja.
fn environment() -> TextResult<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| internal(describe(&error)))?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    Ok(environment)
}

fn raise_exception(message: Value) -> Result<String, Error> {
    let message = message.to_string();
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)
fn tojson(value: Value, positional: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let mut positional = positional.0.into_iter();
    let mut option = |name: &str| -> Result<Option<Value>, Error> {
        let value = match positional.next() {
            Some(value) => Some(value),
            None => options.get::<Option<Value>>(name)?,
        };
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ensure_ascii = option("ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = match option("indent")? {
        None => None,
        Some(value) if value.kind() == ValueKind::String => Some(value.to_string()),
        Some(value) => Some(" ".repeat(u8::try_from(value)?.into())),
    };
    let separators = match option("separators")? {
        None => None,
        Some(value) => {
            let texts: Vec<String> = value.try_iter()?.map(|text| text.to_string()).collect();
            let pair: Result<[String; 2], _> = texts.try_into();
            Some(pair.map_err(|_| {
                Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two texts")
            })?)
        }
    };
    let sort_keys = option("sort_keys")?.is_some_and(|value| value.is_true());
    options.assert_all_used()?;
    let item = if indent.is_some() { "," } else { ", " };
    let [item_separator, key_separator] =
        separators.unwrap_or_else(|| [item.to_string(), ": ".to_string()]);
    let style = Style { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    Ok(Value::from(dumps(&value, &style)?))
}

/// The local time, in the words of C's strftime, which is what Python calls.
fn strftime_now(format: String) -> Result<String, Error> {
    let failed = || Error::new(ErrorKind::InvalidOperation, "strftime_now: bad format");
    // A leading character, so that an empty result differs from a buffer that is too small.
    let format = std::ffi::CString::new(format!(" {format}")).map_err(|_| failed())?;
    let mut buffer = [0u8; 1024];
    // SAFETY: `time` may be null; localtime_r and strftime write to the locals given, whose sizes
    // they know; the format ends in NUL.
    let written = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut local).is_null() {
            return Err(failed());
        }
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &local)
    };
    let text = buffer.get(1..written).ok_or_else(failed)?;
    String::from_utf8(text.to_vec()).map_err(|_| failed())
}

/// HF's {% generation %} marks the assistant's tokens for training and prints nothing. A condition
/// that always holds in its place keeps what the tag does to the blanks around it.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        result.push_str(before);
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let marks: &[char] = &['-', '+'];
        let inside = &tag[..end];
        let word = inside.strip_prefix(marks).unwrap_or(inside);
        let word = word.strip_suffix(marks).unwrap_or(word).trim();
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        result.push_str(&inside.replace(word, replacement));
        rest = &tag[end..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error;

    fn render(source: &str) -> TextResult<String> {
        let template = ChatTemplate::from_source(source, Map::new())?;
        template.render(serde_json::json!([]), serde_json::Value::Null, true, Map::new())
    }

    #[test]
    fn generation_tags_vanish_with_their_whitespace_control() {
        assert_eq!(
            without_generation_tags("a{%- generation -%} b {%endgeneration%}{% if x %}"),
            "a{%- if true -%} b {%endif%}{% if x %}"
        );
        assert_eq!(
            render("a\n  {% generation %}\nb\n{% endgeneration %}\nc").expect("renders"),
            "a\nb\nc"
        );
        assert_eq!(without_generation_tags("{% generation"), "{% generation");
    }

    #[test]
    fn tojson_takes_the_arguments_of_transformers() {
        assert_eq!(
            render("{{ {'b': [1, '<é>'], 'a': none} | tojson }}").expect("renders"),
            r#"{"b": [1, "<é>"], "a": null}"#
        );
        assert_eq!(
            render("{{ {'b': 1} | tojson(indent=2) }}").expect("renders"),
            "{\n  \"b\": 1\n}"
        );
        assert_eq!(
            render("{{ [1, 2] | tojson(separators=(',', ':')) }}").expect("renders"),
            "[1,2]"
        );
        assert_eq!(
            render("{{ 'é' | tojson(ensure_ascii=true) }}").expect("renders"),
            r#""\u00e9""#
        );
        assert_eq!(
            render("{{ nothing | tojson }}").expect_err("undefined").kind,
            error::ErrorKind::InvalidArgument
        );
    }

    #[test]
    fn what_templates_expect_of_python_is_there() {
        let cases = [
            ("{{ 'abc'[::-1] }} {{ [1, 2, 3][::-1] }}", "cba [3, 2, 1]"),
            (
                "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "013",
            ),
            ("{{ ' x '.strip() }}{{ 'a,b'.split(',')[-1] }}{{ 'ab'.startswith('a') }}", "xbTrue"),
            ("{{ {'a': 1}.items() | list }}{{ {'a': 1}.get('b', 2) }}", "[('a', 1)]2"),
            (
                "{{ none }} {{ true }} {{ 1.0 }} {{ [none, 'x', true] }}",
                "None True 1.0 [None, 'x', True]",
            ),
            (
                "{{ strftime_now('%%') }}{{ strftime_now('%Y') | length }}{{ strftime_now('') }}",
                "%4",
            ),
            (
                "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') }}{{ add_generation_prompt }}",
                "<a>True",
            ),
            ("{{ '%s-%d' | format('a', 3) }}{{ undefined_thing }}|", "a-3|"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source).expect(source), expected, "{source}");
        }
    }

    #[test]
    fn a_template_that_raises_says_its_message() {
        let error = render("{{ raise_exception('no system role') }}").expect_err("raises");
        assert_eq!(error.kind, error::ErrorKind::InvalidArgument);
        assert_eq!(error.message, "chat template: no system role");
    }

    #[test]
    fn hostile_templates_end_with_an_error() {
        let cases = [
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}",
            "{% for i in range(20000) %}{{ 'x' * 1000 }}{% endfor %}",
            "{{ 'x' * 100000000000 }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% for i in range(99999) %}{% set x %}{% for j in range(9999) %}yyyyyyyyyyyyyyyyy{% endfor %}{% endset %}{% endfor %}",
            "{{ range(100000) | map('string') | join('y' * 100000) }}",
            "{{ 'x' | center(100000000000) }}",
        ];
        for source in cases {
            let started = std::time::Instant::now();
            let error = render(source).expect_err(source);
            assert_eq!(
                error.kind,
                error::ErrorKind::InvalidArgument,
                "{source}: {}",
                error.message
            );
            assert!(started.elapsed().as_secs() < 20, "{source}");
        }
    }

    #[test]
    fn deeply_nested_values_are_freed_without_harm() {
        for (open, close) in [("[", "]"), ("{'a': ", "}"), ("[0, ", "]"), ("(", ",)")] {
            let nested = format!("{}ns.s{}", open.repeat(20), close.repeat(20));
            let source = format!(
                "{{% set ns = namespace(s=[]) %}}{{% for k in range(10) %}}{{% for i in range(50000) %}}{{% set ns.s = {nested} %}}{{% endfor %}}{{% endfor %}}"
            );
            assert!(render(&source).is_err());
        }
        let nested = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(render(&format!("{{{{ {nested} }}}}")).is_err());
    }
}
