#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_dependencies.sh [--test]: installs what is missing to build Lanner (with --test: and to run
# its tests) on Debian 12, Ubuntu 24.04 or newer. Does nothing when nothing is missing.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build_packages=(
  g++ cmake ninja-build ccache git ca-certificates python3
  libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev libedit-dev libxxhash-dev
  libssl-dev
)
test_packages=(
  libgtest-dev libgmock-dev libbenchmark-dev
  python3-dev python3-venv
  binutils clang-format-19 qemu-user shellcheck doxygen openssl
)

# Boost 1.81 or newer: Debian 12 has it beside its default 1.74.
boost_package() {
  if dpkg-query -W -f '${db:Status-Status}' libboost1.81-dev 2>/dev/null | grep -qx installed ||
    [ -n "$(apt_version libboost1.81-dev)" ]; then
    echo libboost1.81-dev
  else
    echo libboost-dev
  fi
}

packages=("${build_packages[@]}")
case ${1-} in
  "") ;;
  --test) packages+=("${test_packages[@]}") ;;
  *) fail "unknown argument '$1'; usage: install_dependencies.sh [--test]" ;;
esac

updated=
apt_update() {
  [ -z "$updated" ] || return 0
  say "apt-get update"
  as_root apt-get -qq update || fail "apt-get update failed: is there a network?"
  updated=yes
}
apt_install() {
  say "apt-get install $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@" >&2 || fail "apt-get could not install: $*"
}

# The newest version apt could install, without epoch and Debian's part; empty if none.
apt_version() {
  apt-cache policy "$1" 2>/dev/null |
    sed -nE 's/^ *Candidate: *([0-9]+:)?([0-9][0-9.]*).*/\2/p'
}

install_rust() {
  local wanted name suffix
  wanted=$(minimum_rust)
  if command -v rustup >/dev/null || [ -x "${HOME-}/.cargo/bin/rustup" ]; then
    say "rustup: installing the stable toolchain beside yours (Rust $wanted or newer is needed)"
    PATH=$PATH:${HOME-}/.cargo/bin rustup toolchain install stable --profile minimal >&2 ||
      fail "rustup could not install the stable toolchain"
    return
  fi
  apt_update
  # Debian keeps a current compiler for its browsers (rustc-web), Ubuntu several (rustc-1.85, ...).
  for name in rustc rustc-web \
    $(apt-cache search --names-only '^rustc-1\.[0-9]+$' | awk '{print $1}' | sort -rV); do
    if version_at_least "$(apt_version "$name")" "$wanted"; then
      suffix=${name#rustc}
      apt_install "$name" "cargo$suffix"
      return
    fi
  done
  say "no package has Rust $wanted or newer: using the installer of https://rustup.rs"
  command -v curl >/dev/null || apt_install curl
  local installer
  installer=$(mktemp)
  curl --proto '=https' --tlsv1.2 -fsSL https://sh.rustup.rs -o "$installer" ||
    fail "https://sh.rustup.rs cannot be reached; install Rust $wanted or newer by other means"
  sh "$installer" -y --profile minimal --no-modify-path >&2 || fail "rustup's installer failed"
  rm -f "$installer"
}

command -v dpkg-query >/dev/null ||
  fail "this script knows Debian and Ubuntu; install by other means: ${packages[*]} and Rust $(minimum_rust)"

packages+=("$(boost_package)")
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package installed" <<<"$installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt_update
  apt_install "${missing[@]}"
fi

rust_missing=
if ! use_rust; then
  rust_missing=yes
  install_rust
  use_rust || fail "Rust $(minimum_rust) or newer is still not there after installing it"
fi

if [ ${#missing[@]} -eq 0 ] && [ -z "$rust_missing" ]; then
  say "dependencies: nothing is missing (Rust $rust_in_use)"
else
  say "dependencies: complete (Rust $rust_in_use)"
fi
