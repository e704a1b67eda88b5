// SPDX-License-Identifier: Apache-2.0
//! Entry points for chat templates.

use std::path::Path;

use serde_json::{Map, Value};

use crate::chat_template::ChatTemplate;
use crate::error::{TextResult, invalid};
use crate::ffi::{LannerTextBuffer, LannerTextStatus, LannerTextView, borrow, guard};

/// A chat template: immutable, may be used by several threads at once.
pub struct LannerTextChatTemplate(ChatTemplate);

/// An empty text stands for null.
unsafe fn json(view: LannerTextView, what: &str) -> TextResult<Value> {
    // SAFETY: the promise of the caller of the entry point.
    let text = unsafe { view.text(what) }?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| invalid(format!("{what}: not valid JSON: {error}")))
}

/// An empty text stands for an empty object.
unsafe fn object(view: LannerTextView, what: &str) -> TextResult<Map<String, Value>> {
    // SAFETY: the promise of the caller of the entry point.
    match unsafe { json(view, what) }? {
        Value::Null => Ok(Map::new()),
        Value::Object(object) => Ok(object),
        _ => Err(invalid(format!("{what}: not a JSON object"))),
    }
}

/// Parses a template. special_tokens: a JSON object with bos_token and the like, or empty.
///
/// # Safety
/// The views are valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_chat_template_from_source(
    source: LannerTextView,
    special_tokens: LannerTextView,
    result: *mut *mut LannerTextChatTemplate,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let special_tokens = object(special_tokens, "the special tokens")?;
            let source = source.text("the chat template")?;
            let template = ChatTemplate::from_source(source, special_tokens)?;
            Ok(Box::into_raw(Box::new(LannerTextChatTemplate(template))))
        })
    }
}

/// Loads the template of a model folder; the result is null if it has none.
///
/// # Safety
/// The view is valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_chat_template_from_folder(
    folder: LannerTextView,
    result: *mut *mut LannerTextChatTemplate,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let folder = folder.text("the folder's name")?;
            let template = ChatTemplate::from_folder(Path::new(folder))?;
            Ok(template.map_or(std::ptr::null_mut(), |template| {
                Box::into_raw(Box::new(LannerTextChatTemplate(template)))
            }))
        })
    }
}

/// # Safety
/// The template is null or comes from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_chat_template_free(template: *mut LannerTextChatTemplate) {
    if !template.is_null() {
        // SAFETY: the promise of the caller.
        drop(unsafe { Box::from_raw(template) });
    }
}

/// Renders a conversation. messages: a JSON list; tools: a JSON list, null or empty; extra: a JSON
/// object of further variables, or empty.
///
/// # Safety
/// The template and the views are valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_chat_template_render(
    template: *const LannerTextChatTemplate,
    messages: LannerTextView,
    tools: LannerTextView,
    add_generation_prompt: bool,
    extra: LannerTextView,
    result: *mut LannerTextBuffer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let template = borrow(template, "the chat template")?;
            let messages = json(messages, "the messages")?;
            let tools = json(tools, "the tools")?;
            let extra = object(extra, "the extra variables")?;
            Ok(template.0.render(messages, tools, add_generation_prompt, extra)?.into())
        })
    }
}

/// The template's source: of the template for tools if with_tools and there is one.
///
/// # Safety
/// The template is valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_chat_template_source(
    template: *const LannerTextChatTemplate,
    with_tools: bool,
    result: *mut LannerTextBuffer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let template = borrow(template, "the chat template")?;
            Ok(template.0.source(with_tools)?.into())
        })
    }
}
