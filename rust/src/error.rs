// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, in the words of include/lanner/error.h.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    InvalidArgument,
    NotFound,
    Unsupported,
    CorruptFile,
    Io,
    Internal,
}

/// A sentence that names the file, token or value.
#[derive(Debug)]
pub struct TextError {
    pub kind: ErrorKind,
    pub message: String,
}

pub type TextResult<T> = Result<T, TextError>;

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TextError {}

pub fn invalid(message: impl Into<String>) -> TextError {
    TextError { kind: ErrorKind::InvalidArgument, message: message.into() }
}

pub fn unsupported(message: impl Into<String>) -> TextError {
    TextError { kind: ErrorKind::Unsupported, message: message.into() }
}

pub fn corrupt(message: impl Into<String>) -> TextError {
    TextError { kind: ErrorKind::CorruptFile, message: message.into() }
}

pub fn internal(message: impl Into<String>) -> TextError {
    TextError { kind: ErrorKind::Internal, message: message.into() }
}

/// The text of a panic, where it has one.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no reason given".to_string()
    }
}

/// Runs library code on a file's content: an error or a panic there means that the file is bad.
pub fn reading<T, E: fmt::Display>(
    name: &str,
    read: impl FnOnce() -> Result<T, E>,
) -> TextResult<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(corrupt(format!("{name}: {error}"))),
        Err(panic) => {
            Err(corrupt(format!("{name}: not a valid tokenizer: {}", panic_text(&*panic))))
        }
    }
}
