// SPDX-License-Identifier: Apache-2.0
//! What a client's schema or regex may ask for, checked before it is compiled: the library bounds
//! its own work, but only in part by what it has seen coming.

use serde_json::Value;

use crate::error::{TextResult, invalid, unsupported};

const MAX_DEPTH: usize = 64;
/// Values of a schema: every object, list, text and number.
const MAX_VALUES: usize = 50_000;
/// Properties of all objects together: the time to compile those of one object grows with their square.
const MAX_PROPERTIES: usize = 1_500;
/// Entries of one enum or list of alternatives.
const MAX_ALTERNATIVES: usize = 10_000;
/// Of items, properties and characters, and of a repetition in a regex.
const MAX_COUNT: u64 = 10_000;
/// Of all repetitions of a regex that stand in one another, multiplied.
const MAX_REPEATED: u64 = 100_000;

/// Keywords whose value is a number of things that the form has.
const COUNTS: [&str; 6] =
    ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];
const ALTERNATIVES: [&str; 5] = ["enum", "anyOf", "oneOf", "allOf", "prefixItems"];

pub fn parse_json(name: &str, source: &str) -> TextResult<Value> {
    serde_json::from_str(source).map_err(|error| {
        let text = error.to_string();
        if text.contains("recursion limit") {
            return invalid(format!("{name}: nested deeper than {MAX_DEPTH} levels"));
        }
        invalid(format!("{name}: not valid JSON: {text}"))
    })
}

/// What the schemas of one source have added up to.
#[derive(Default)]
pub struct SchemaSize {
    values: usize,
    properties: usize,
}

/// `size` counts on.
pub fn check_schema(name: &str, schema: &Value, size: &mut SchemaSize) -> TextResult<()> {
    check_value(name, schema, 0, size)
}

fn check_value(name: &str, value: &Value, depth: usize, size: &mut SchemaSize) -> TextResult<()> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("{name}: nested deeper than {MAX_DEPTH} levels")));
    }
    size.values += 1;
    if size.values > MAX_VALUES {
        return Err(invalid(format!("{name}: more than {MAX_VALUES} values")));
    }
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        size.properties += properties.len();
        if size.properties > MAX_PROPERTIES {
            return Err(invalid(format!("{name}: more than {MAX_PROPERTIES} properties")));
        }
    }
    match value {
        Value::Array(list) => {
            list.iter().try_for_each(|entry| check_value(name, entry, depth + 1, size))
        }
        Value::Object(object) => object.iter().try_for_each(|(key, entry)| {
            check_keyword(name, key, entry)?;
            check_value(name, entry, depth + 1, size)
        }),
        _ => Ok(()),
    }
}

/// A property may have the name of a keyword; its value is a schema then, which passes here.
fn check_keyword(name: &str, key: &str, value: &Value) -> TextResult<()> {
    if key == "x-guidance" {
        return Err(unsupported(format!("{name}: 'x-guidance' is not a keyword here")));
    }
    if COUNTS.contains(&key) && value.as_f64().is_some_and(|count| count > MAX_COUNT as f64) {
        return Err(invalid(format!("{name}: {key} is {value}, at most {MAX_COUNT} is compiled")));
    }
    if ALTERNATIVES.contains(&key) {
        let length = value.as_array().map_or(0, Vec::len);
        if length > MAX_ALTERNATIVES {
            return Err(invalid(format!(
                "{name}: {key} has {length} entries, at most {MAX_ALTERNATIVES} are compiled"
            )));
        }
    }
    match value.as_str() {
        Some(pattern) if key == "pattern" => check_regex(name, pattern),
        _ => Ok(()),
    }
}

/// Bounds the repetitions {m,n} of a regex, alone and in one another.
pub fn check_regex(name: &str, source: &str) -> TextResult<()> {
    let bytes = source.as_bytes();
    // Of every open group: the largest product of repetitions in it so far.
    let mut groups: Vec<u64> = vec![1];
    // The product in the atom that a repetition would follow.
    let mut atom = 1;
    let mut in_class = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                at += 1;
                atom = 1;
            }
            b'[' if !in_class => in_class = true,
            b']' if in_class => {
                in_class = false;
                atom = 1;
            }
            _ if in_class => {}
            b'(' => {
                if groups.len() > MAX_DEPTH {
                    return Err(invalid(format!("{name}: groups deeper than {MAX_DEPTH} levels")));
                }
                groups.push(1);
            }
            b')' => {
                atom = if groups.len() > 1 { groups.pop().unwrap_or(1) } else { 1 };
                let around = groups.last_mut().expect("the first one stays");
                *around = (*around).max(atom);
            }
            b'{' => {
                if let Some((count, end)) = repetition(&bytes[at..]) {
                    if count > MAX_COUNT {
                        return Err(invalid(format!(
                            "{name}: a repetition of {count}, at most {MAX_COUNT} is compiled"
                        )));
                    }
                    atom = atom.saturating_mul(count.max(1));
                    if atom > MAX_REPEATED {
                        return Err(invalid(format!(
                            "{name}: repetitions in one another of {atom}, at most {MAX_REPEATED} are compiled"
                        )));
                    }
                    let around = groups.last_mut().expect("the first one stays");
                    *around = (*around).max(atom);
                    at += end;
                }
            }
            b'*' | b'+' | b'?' => {}
            _ => atom = 1,
        }
        at += 1;
    }
    Ok(())
}

/// The largest number of "{2}", "{2,}" or "{2,5}" and the place of its brace.
fn repetition(bytes: &[u8]) -> Option<(u64, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'}')?;
    let inside = std::str::from_utf8(&bytes[1..end]).ok()?;
    let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
    let number = |digits: &str| {
        let digits = digits.trim();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(digits.parse().unwrap_or(u64::MAX))
    };
    let least = number(least)?;
    Some((number(most).unwrap_or(least).max(least), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: TextResult<()>, part: &str) {
        let message = result.expect_err(part).message;
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn repetitions_are_bounded_alone_and_in_one_another() {
        for good in
            ["a{3}", "[{]{3,}", r"\{0,1000000}", "a{x}", "(a{100}b{100}){3}", "((a{9}){9}){9}", "{"]
        {
            check_regex("x", good).expect(good);
        }
        refused(check_regex("x", "a{0,1000000}"), "repetition of 1000000");
        refused(check_regex("x", "a{99999999999999999999999}"), "repetition of");
        refused(check_regex("x", "((a{1000}){1000})"), "in one another of 1000000");
        refused(check_regex("x", "(x(a{1000}|b)c){1000}"), "in one another");
        refused(check_regex("x", &"(".repeat(1000)), "groups deeper");
    }

    #[test]
    fn schemas_are_bounded_in_depth_number_and_counts() {
        let check =
            |text: &str| check_schema("x", &parse_json("x", text)?, &mut SchemaSize::default());
        check(r#"{"properties": {"maxLength": {"type": "string", "maxLength": 10000}}}"#)
            .expect("fits");
        refused(check(r#"{"maxItems": 1e9}"#), "maxItems is 1000000000.0");
        refused(
            check(&format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100))),
            "deeper than 64",
        );
        refused(check(&r#"{"a":"#.repeat(100_000)), "deeper than 64");
        refused(check(&format!("[{}1]", "1,".repeat(60_000))), "more than 50000 values");
        refused(
            check(&format!(r#"{{"enum": [{}1]}}"#, "1,".repeat(10_000))),
            "enum has 10001 entries",
        );
        refused(check(r#"{"items": {"pattern": "a{20000}"}}"#), "repetition of 20000");
        refused(check(r#"{"x-guidance": {}}"#), "x-guidance");
        refused(check("{"), "not valid JSON");
    }
}
