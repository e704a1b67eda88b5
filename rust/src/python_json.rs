// SPDX-License-Identifier: Apache-2.0
//! json.dumps of Python, which HF's `tojson` filter is: prompts with tools depend on every blank.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

const MAX_BYTES: usize = 16 << 20;
const MAX_DEPTH: usize = 128;

/// The keyword arguments of json.dumps that templates use.
pub struct Style {
    pub ensure_ascii: bool,
    /// One level of indentation; None writes everything on one line.
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
}

pub fn dumps(value: &Value, style: &Style) -> Result<String, Error> {
    let mut writer = Writer { style, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    style: &'a Style,
    out: String,
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadSerialization, message.into())
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH || self.out.len() > MAX_BYTES {
            return Err(failed(format!(
                "tojson: more than {MAX_DEPTH} levels or {MAX_BYTES} bytes"
            )));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items('[', ']', items.len(), depth, |writer, index| {
                    writer.value(&items[index], depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.style.sort_keys {
                    keys.sort();
                }
                self.items('{', '}', keys.len(), depth, |writer, index| {
                    writer.key(&keys[index])?;
                    writer.out.push_str(&writer.style.key_separator);
                    writer.value(&value.get_item(&keys[index])?, depth + 1)
                })?;
            }
            kind => return Err(failed(format!("tojson: a value of type {kind} is not JSON"))),
        }
        Ok(())
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        count: usize,
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for index in 0..count {
            if index > 0 {
                self.out.push_str(&self.style.item_separator);
            }
            self.new_line(depth + 1);
            item(self, index)?;
        }
        if count > 0 {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                self.out.push('"');
                self.value(key, 0)?;
                self.out.push('"');
            }
            kind => return Err(failed(format!("tojson: a key of type {kind} is not JSON"))),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.style.ensure_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
}

/// repr() of a Python float: the shortest digits that come back, an exponent from 1e16 and below 1e-4.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::value::Serde;

    fn style() -> Style {
        Style {
            ensure_ascii: false,
            indent: None,
            item_separator: ", ".to_string(),
            key_separator: ": ".to_string(),
            sort_keys: false,
        }
    }

    fn value(json: &str) -> Value {
        Value::from(Serde(serde_json::from_str::<serde_json::Value>(json).expect("JSON")))
    }

    #[test]
    fn the_text_is_that_of_json_dumps() {
        let json = r#"{"b":[1,2.5,true,null],"a":{},"e":[],"s":"<é&'\"\\\n\u0001>"}"#;
        let expected = r#"{"b": [1, 2.5, true, null], "a": {}, "e": [], "s": "<é&'\"\\\n\u0001>"}"#;
        assert_eq!(dumps(&value(json), &style()).expect("dumps"), expected);
        let ascii = Style { ensure_ascii: true, ..style() };
        assert_eq!(dumps(&value(r#""é👍""#), &ascii).expect("dumps"), r#""\u00e9\ud83d\udc4d""#);
    }

    #[test]
    fn indentation_and_sorting_work_as_in_python() {
        let pretty = Style {
            indent: Some("  ".to_string()),
            item_separator: ",".to_string(),
            sort_keys: true,
            ..style()
        };
        let expected = "{\n  \"a\": {},\n  \"b\": [\n    1,\n    2\n  ]\n}";
        assert_eq!(dumps(&value(r#"{"b":[1,2],"a":{}}"#), &pretty).expect("dumps"), expected);
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
            (1e300, "1e+300"),
            (123456.789, "123456.789"),
        ];
        for (number, expected) in cases {
            assert_eq!(float(number), expected);
        }
    }
}
