// SPDX-License-Identifier: Apache-2.0
//! Lark grammars that hold JSON schemas (`%json {…}`): the schemas are held within the same limits as
//! one that comes alone, and their texts have the same blanks.

use serde_json::Value;

use crate::error::{TextResult, invalid, unsupported};
use crate::grammar_limits::{SchemaSize, check_schema};

const MARK: &str = "%json";

/// The source with `options` in each of its schemas.
pub fn with_options(name: &str, source: &str, options: &Value) -> TextResult<String> {
    let mut result = String::with_capacity(source.len());
    let mut size = SchemaSize::default();
    let mut rest = source;
    while let Some(start) = next_schema(rest) {
        let (before, schema_text) = rest.split_at(start);
        result.push_str(before);
        let mut values = serde_json::Deserializer::from_str(schema_text).into_iter::<Value>();
        let mut schema = match values.next() {
            Some(Ok(schema)) => schema,
            Some(Err(error)) => {
                return Err(invalid(format!("{name}: {MARK}: not valid JSON: {error}")));
            }
            None => return Err(invalid(format!("{name}: {MARK} without a schema"))),
        };
        check_schema(name, &schema, &mut size)?;
        let Some(object) = schema.as_object_mut() else {
            return Err(unsupported(format!("{name}: {MARK} with a schema that is no object")));
        };
        object.insert("x-guidance".to_string(), options.clone());
        result.push_str(&schema.to_string());
        rest = &schema_text[values.byte_offset()..];
    }
    result.push_str(rest);
    Ok(result)
}

/// The place after the next mark that is not in a text, a regex or a comment.
fn next_schema(source: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_literal(bytes, at, b'"'),
            b'#' => at = end_of_line(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => at = end_of_line(bytes, at),
            b'/' => at = end_of_literal(bytes, at, b'/'),
            b'%' if source[at..].starts_with(MARK) => return Some(at + MARK.len()),
            _ => at += 1,
        }
    }
    None
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

/// After the literal that starts at `at`.
fn end_of_literal(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut at = at + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rewrite(source: &str) -> TextResult<String> {
        with_options("x", source, &json!(1))
    }

    #[test]
    fn schemas_get_the_options_and_nothing_else_changes() {
        let plain = "start: \"%json {\" /%json \\/ {/ // %json {\n# %json {\n";
        assert_eq!(rewrite(plain).expect("plain"), plain);
        assert_eq!(
            rewrite("start: a %json {\"b\": [2]} \"é\" %json{}").expect("two"),
            "start: a %json{\"b\":[2],\"x-guidance\":1} \"é\" %json{\"x-guidance\":1}"
        );
        assert_eq!(rewrite("\"").expect("open"), "\"");
        assert_eq!(rewrite("/\\").expect("open"), "/\\");
    }

    #[test]
    fn schemas_are_held_within_the_limits() {
        for bad in [
            "%json",
            "%json {",
            "%json 3",
            "%json {\"x-guidance\": {}}",
            "%json {\"maxItems\": 1000000}",
        ] {
            assert!(rewrite(bad).is_err(), "{bad}");
        }
        assert!(rewrite(&format!("%json {}", r#"{"a":"#.repeat(100_000))).is_err());
        let many: Vec<String> = (0..1_000).map(|i| format!("\"p{i}\":{{}}")).collect();
        let schema = format!("%json {{\"properties\":{{{}}}}}", many.join(","));
        assert!(rewrite(&schema).is_ok());
        assert!(rewrite(&format!("{schema} {schema}")).is_err());
    }
}
