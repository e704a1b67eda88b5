# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the scripts beside it: messages, stages, root rights, the Rust toolchain.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '==> %s\n' "$*" >&2; }
fail() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# stage NAME COMMAND...: runs it and says how long it took, or that it failed.
stage() {
  local name=$1 start=$SECONDS
  shift
  say "$name"
  "$@" || fail "$name failed (exit status $?)"
  say "$name: $((SECONDS - start)) s"
}

# Runs a command with root rights.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "root rights are needed for: $* (no sudo here; run it as root)"
  fi
}

# version_at_least HAVE WANT
version_at_least() {
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# The oldest Rust that builds rust/, as its Cargo.toml says.
minimum_rust() {
  sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/rust/Cargo.toml" | head -n 1
}

# The version of rustc in PATH, if cargo is there as well.
rust_version() {
  cargo --version >/dev/null 2>&1 && rustc --version 2>/dev/null | awk '{print $2; exit}'
}

# Makes cargo and rustc in PATH new enough, if the machine has such ones anywhere. Sets rust_in_use.
# shellcheck disable=SC2034
use_rust() {
  local wanted directory
  wanted=$(minimum_rust)
  # What rustup and Ubuntu's versioned packages install is not in PATH by itself.
  for directory in "" "${HOME-}/.cargo/bin" $(printf '%s\n' /usr/lib/rust-*/bin | sort -rV); do
    [ -z "$directory" ] || [ -x "$directory/cargo" ] || continue
    if version_at_least "$(PATH=${directory:+$directory:}$PATH rust_version)" "$wanted"; then
      PATH=${directory:+$directory:}$PATH
      export PATH
      rust_in_use=$(rust_version)
      return 0
    fi
  done
  [ -x "${HOME-}/.cargo/bin/rustup" ] && PATH=$HOME/.cargo/bin:$PATH
  # A rustup whose default toolchain is old may have a newer one.
  if version_at_least "$(RUSTUP_TOOLCHAIN=stable rust_version)" "$wanted"; then
    export PATH RUSTUP_TOOLCHAIN=stable
    rust_in_use=$(rust_version)
    return 0
  fi
  return 1
}
