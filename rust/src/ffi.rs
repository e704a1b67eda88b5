// SPDX-License-Identifier: Apache-2.0
//! The C border: nothing panics across it, and what it hands out belongs to the caller.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

use crate::error::{ErrorKind, TextResult, internal, invalid, panic_text};

/// How a call ended. Anything but OK comes with a message.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LannerTextStatus {
    Ok = 0,
    InvalidArgument = 1,
    NotFound = 2,
    Unsupported = 3,
    CorruptFile = 4,
    Io = 5,
    Internal = 6,
}

/// Bytes, usually UTF-8 text, without a NUL at the end. Belongs to the caller: free it with
/// lanner_text_buffer_free(). Empty: data is null.
#[repr(C)]
pub struct LannerTextBuffer {
    pub data: *mut u8,
    pub size: usize,
}

/// Token ids. Belongs to the caller: free it with lanner_text_ids_free(). Empty: data is null.
#[repr(C)]
pub struct LannerTextIds {
    pub data: *mut u32,
    pub size: usize,
}

/// Bytes lent for the time of a call; data may be null if size is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LannerTextView {
    pub data: *const u8,
    pub size: usize,
}

fn into_raw<T>(values: Vec<T>) -> (*mut T, usize) {
    if values.is_empty() {
        return (std::ptr::null_mut(), 0);
    }
    let size = values.len();
    (Box::into_raw(values.into_boxed_slice()).cast(), size)
}

/// # Safety
/// `data` and `size` come from into_raw() and are not used again.
unsafe fn free_raw<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        // SAFETY: the promise of the caller.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)) });
    }
}

impl From<Vec<u8>> for LannerTextBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        let (data, size) = into_raw(bytes);
        LannerTextBuffer { data, size }
    }
}

impl From<String> for LannerTextBuffer {
    fn from(text: String) -> Self {
        let (data, size) = into_raw(text.into_bytes());
        LannerTextBuffer { data, size }
    }
}

impl From<Vec<u32>> for LannerTextIds {
    fn from(ids: Vec<u32>) -> Self {
        let (data, size) = into_raw(ids);
        LannerTextIds { data, size }
    }
}

impl LannerTextView {
    /// # Safety
    /// `data` points to `size` bytes that outlive the result.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the promise of the caller.
        unsafe { slice(self.data, self.size) }
    }

    /// # Safety
    /// As bytes().
    pub unsafe fn text<'a>(self, what: &str) -> TextResult<&'a str> {
        // SAFETY: the promise of the caller.
        std::str::from_utf8(unsafe { self.bytes() }).map_err(|error| {
            invalid(format!("{what} is not valid UTF-8 at byte {}", error.valid_up_to()))
        })
    }
}

/// A slice from C: null stands for an empty one.
///
/// # Safety
/// `data` points to `size` values that outlive the result, or is null.
pub unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if data.is_null() || size == 0 {
        return &[];
    }
    // SAFETY: the promise of the caller.
    unsafe { std::slice::from_raw_parts(data, size) }
}

/// # Safety
/// `pointer` is null or points to a live value that nothing changes during 'a.
pub unsafe fn borrow<'a, T>(pointer: *const T, what: &str) -> TextResult<&'a T> {
    // SAFETY: the promise of the caller.
    unsafe { pointer.as_ref() }.ok_or_else(|| internal(format!("{what} is null")))
}

/// Runs the body of an entry point: its value goes to `result`, its error or panic to `message`.
///
/// # Safety
/// `result` and `message` are null or may be written to.
pub unsafe fn guard<T>(
    result: *mut T,
    message: *mut LannerTextBuffer,
    body: impl FnOnce() -> TextResult<T>,
) -> LannerTextStatus {
    // The standard hook writes every panic to stderr; here each one becomes a message instead.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| set_hook(Box::new(|_| {})));
    let outcome = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|panic| Err(internal(format!("panic: {}", panic_text(&*panic)))));
    match outcome {
        Ok(value) => {
            if !result.is_null() {
                // SAFETY: the promise of the caller.
                unsafe { result.write(value) };
            }
            LannerTextStatus::Ok
        }
        Err(error) => {
            if !message.is_null() {
                // SAFETY: the promise of the caller.
                unsafe { message.write(error.message.into()) };
            }
            match error.kind {
                ErrorKind::InvalidArgument => LannerTextStatus::InvalidArgument,
                ErrorKind::NotFound => LannerTextStatus::NotFound,
                ErrorKind::Unsupported => LannerTextStatus::Unsupported,
                ErrorKind::CorruptFile => LannerTextStatus::CorruptFile,
                ErrorKind::Io => LannerTextStatus::Io,
                ErrorKind::Internal => LannerTextStatus::Internal,
            }
        }
    }
}

/// Frees a buffer; one that is empty or null is left alone.
///
/// # Safety
/// The buffer comes from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_buffer_free(buffer: LannerTextBuffer) {
    // SAFETY: the promise of the caller.
    unsafe { free_raw(buffer.data, buffer.size) };
}

/// Frees token ids; those that are empty or null are left alone.
///
/// # Safety
/// The ids come from this library and are not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_ids_free(ids: LannerTextIds) {
    // SAFETY: the promise of the caller.
    unsafe { free_raw(ids.data, ids.size) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(body: impl FnOnce() -> TextResult<u32>) -> (LannerTextStatus, u32, String) {
        let mut value = 7;
        let mut buffer = LannerTextBuffer { data: std::ptr::null_mut(), size: 0 };
        // SAFETY: both pointers are to locals; the buffer is freed once.
        unsafe {
            let status = guard(&mut value, &mut buffer, body);
            let text = String::from_utf8_lossy(slice(buffer.data, buffer.size)).into_owned();
            lanner_text_buffer_free(buffer);
            (status, value, text)
        }
    }

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let (status, value, message) = message_of(|| panic!("index {} out of range", 3));
        assert_eq!((status, value), (LannerTextStatus::Internal, 7));
        assert_eq!(message, "panic: index 3 out of range");
    }

    #[test]
    fn errors_keep_their_kind_and_values_arrive() {
        let (status, value, message) = message_of(|| Err(invalid("no")));
        assert_eq!((status, value, message.as_str()), (LannerTextStatus::InvalidArgument, 7, "no"));
        assert_eq!(message_of(|| Ok(9)), (LannerTextStatus::Ok, 9, String::new()));
    }
}
