#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh [SECONDS [NAME...]]: builds the fuzzers (clang's libFuzzer, AddressSanitizer, UBSan; Rust with coverage) and
# runs each, or the named ones, for SECONDS (60). What they find stays in build/fuzz/found for the next time; an input
# that breaks something in build/fuzz/broken. Not stopped by the first that fails; ends with 1 then.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || fail "'$seconds' is no number of seconds; usage: fuzz.sh [SECONDS [NAME...]]"
shift || true
cd "$root"
# clang builds the rest as well, but only these packages have the fuzzer.
packages=()
for package in clang-19 libclang-rt-19-dev llvm-19; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || packages+=("$package")
done
[ ${#packages[@]} -eq 0 ] || fail "missing: apt-get install ${packages[*]}"
use_rust

stage "configuring build/fuzz" cmake --preset fuzz >&2
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for corpus in tests/fuzz/corpus/*/; do names+=("$(basename "$corpus")"); done
fi
stage "building the fuzzers" ninja -C build/fuzz "${names[@]/%/_fuzz}" >&2

# Files of other tests that are inputs as well: as tests/fuzz/CMakeLists.txt has them.
mkdir -p build/fuzz/found/{config,chat_template}
for config in tests/golden/*/config.json; do
  cp "$config" "build/fuzz/found/config/$(basename "$(dirname "$config")")"
done
cp tests/tokenizers/chat_templates/*.jinja build/fuzz/found/chat_template

status=0
for name in "${names[@]}"; do
  say "$name: $seconds s"
  mkdir -p build/fuzz/broken "build/fuzz/found/$name"
  options=(-max_total_time="$seconds" -timeout=120 -rss_limit_mb=2560 -malloc_limit_mb=512 -max_len=16384
    -print_final_stats=1 -artifact_prefix="build/fuzz/broken/$name-")
  [ ! -f "tests/fuzz/$name.dict" ] || options+=("-dict=tests/fuzz/$name.dict")
  if "build/fuzz/bin/${name}_fuzz" "${options[@]}" "build/fuzz/found/$name" "tests/fuzz/corpus/$name" \
    >"build/fuzz/$name.log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$name.log")
    coverage=$(grep -oE 'cov: [0-9]+' "build/fuzz/$name.log" | tail -n 1)
    memory=$(sed -n 's/^stat::peak_rss_mb: *//p' "build/fuzz/$name.log")
    printf '%-18s passed  %9s inputs  %s edges  %s MiB at most\n' "$name" "$runs" "${coverage#cov: }" "$memory"
  else
    tail -n 30 "build/fuzz/$name.log" >&2
    printf '%-18s FAILED  build/fuzz/%s.log, inputs in build/fuzz/broken\n' "$name" "$name"
    status=1
  fi
done
exit $status
