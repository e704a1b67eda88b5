# SPDX-License-Identifier: Apache-2.0
# rust/: one crate, built by cargo into one static library, the imported target lanner_rust.
set(LANNER_RUST_VERSION 1.85)  # rust-version of rust/Cargo.toml
set(LANNER_RUST_DIR ${PROJECT_SOURCE_DIR}/rust)

find_program(LANNER_CARGO cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin)
if(NOT LANNER_CARGO)
  message(FATAL_ERROR "cargo was not found: install Rust ${LANNER_RUST_VERSION} or newer "
                      "(Debian 12: apt-get install cargo-web rustc-web) or set LANNER_CARGO")
endif()
execute_process(COMMAND ${LANNER_CARGO} --version OUTPUT_VARIABLE cargo_version
                ERROR_VARIABLE cargo_failure RESULT_VARIABLE cargo_status)
if(NOT cargo_status EQUAL 0 OR NOT cargo_version MATCHES "^cargo ([0-9]+\\.[0-9]+\\.[0-9]+)")
  message(FATAL_ERROR "'${LANNER_CARGO} --version' failed: ${cargo_version}${cargo_failure}")
endif()
if(CMAKE_MATCH_1 VERSION_LESS LANNER_RUST_VERSION)
  message(FATAL_ERROR "${LANNER_CARGO} is version ${CMAKE_MATCH_1}, ${LANNER_RUST_VERSION} is needed")
endif()

# Several build trees may share one CARGO_TARGET_DIR: the crate takes minutes to compile.
if(DEFINED ENV{CARGO_TARGET_DIR})
  file(REAL_PATH "$ENV{CARGO_TARGET_DIR}" cargo_target_dir BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
else()
  set(cargo_target_dir ${PROJECT_BINARY_DIR}/cargo)
endif()
set(LANNER_CARGO_TARGET_DIR ${cargo_target_dir} CACHE PATH "Where cargo builds rust/")
set(cargo_environment ${CMAKE_COMMAND} -E env CARGO_TARGET_DIR=${LANNER_CARGO_TARGET_DIR})
set(cargo_arguments --release --locked --manifest-path ${LANNER_RUST_DIR}/Cargo.toml)
set(rust_library ${LANNER_CARGO_TARGET_DIR}/release/liblanner_text.a)

if(LANNER_FUZZ)
  # The fuzzer sees which code an input reaches, and arithmetic that overflows is a defect. A target is named so that build
  # scripts are compiled without all this.
  set(rust_target x86_64-unknown-linux-gnu)
  list(APPEND cargo_environment CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
       "RUSTFLAGS=-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares")
  list(APPEND cargo_arguments --target ${rust_target})
  set(rust_library ${LANNER_CARGO_TARGET_DIR}/${rust_target}/release/liblanner_text.a)
endif()

set(rust_sources
    byte_level.rs
    charsmap.rs
    chat_template.rs
    error.rs
    ffi.rs
    ffi_chat_template.rs
    ffi_grammar.rs
    ffi_tokenizer.rs
    gguf_vocabulary.rs
    grammar.rs
    grammar_limits.rs
    lark_source.rs
    lib.rs
    merges.rs
    python_json.rs
    sentencepiece.rs
    sentencepiece_proto.rs
    split_patterns.rs
    stream_decoder.rs
    tiktoken.rs
    tokenizer.rs
    tokenizer_config.rs
    tokenizer_folder.rs
    vocab_json.rs)
list(TRANSFORM rust_sources PREPEND ${LANNER_RUST_DIR}/src/)
add_custom_command(
  OUTPUT ${rust_library}
  COMMAND ${cargo_environment} ${LANNER_CARGO} build --lib ${cargo_arguments}
  # cargo leaves a library that is already right as it is, whatever its time.
  COMMAND ${CMAKE_COMMAND} -E touch ${rust_library}
  DEPENDS ${rust_sources} ${LANNER_RUST_DIR}/Cargo.toml ${LANNER_RUST_DIR}/Cargo.lock
  COMMENT "Building rust/ with cargo"
  USES_TERMINAL VERBATIM)
add_custom_target(lanner_rust_build DEPENDS ${rust_library})

add_library(lanner_rust STATIC IMPORTED GLOBAL)
set_target_properties(lanner_rust PROPERTIES
  IMPORTED_LOCATION ${rust_library}
  INTERFACE_INCLUDE_DIRECTORIES ${LANNER_RUST_DIR}
  INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m"
  # Most of the library is code that nothing here calls.
  INTERFACE_LINK_OPTIONS "-Wl,--gc-sections")
add_dependencies(lanner_rust lanner_rust_build)

if(LANNER_BUILD_TESTS)
  add_test(NAME rust COMMAND ${cargo_environment} ${LANNER_CARGO} test ${cargo_arguments})
  # The first run compiles the test programs.
  set_tests_properties(rust PROPERTIES LABELS "rust" TIMEOUT 1800 RUN_SERIAL ON)
endif()
