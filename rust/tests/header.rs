// SPDX-License-Identifier: Apache-2.0
//! lanner_text.h is what cbindgen makes of the sources today.

use std::path::Path;

#[test]
fn the_committed_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in ["ffi.rs", "ffi_tokenizer.rs", "ffi_chat_template.rs", "ffi_grammar.rs"] {
        builder = builder.with_src(root.join("src").join(source));
    }
    let mut header = Vec::new();
    builder.generate().expect("cbindgen reads the sources").write(&mut header);
    let header = String::from_utf8(header).expect("UTF-8");
    let path = root.join("lanner_text.h");
    if std::env::var_os("LANNER_UPDATE_HEADER").is_some() {
        std::fs::write(&path, &header).expect("lanner_text.h can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header,
        "rust/lanner_text.h is out of date: run LANNER_UPDATE_HEADER=1 cargo test --release --test header"
    );
}
