#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test.sh [--asan|--tsan] [CTEST-ARGUMENT...]: installs what is missing, builds everything with
# warnings as errors and runs the whole test suite, e.g. `scripts/test.sh -R tokenizer`.
# --asan, --tsan: under a sanitizer, by default the unit tests only, each at this CPU's own ISA.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

preset=release
case ${1-} in
  --asan | --tsan)
    preset=${1#--}
    shift
    [ $# -gt 0 ] || set -- -L unit -E '\.(scalar|avx2|avx_vnni|avx512|avx512_vnni|avx512_bf16|amx)$'
    ;;
esac
benchmarks=ON
[ "$preset" = release ] || benchmarks=OFF

cd "$root"
stage "dependencies" scripts/install_dependencies.sh --test
use_rust
scripts/install_oneccl.sh || say "without oneCCL: its tests will be skipped"
stage "configuring build/$preset" cmake --preset "$preset" -DLANNER_BUILD_TESTS=ON \
  -DLANNER_BUILD_BENCHMARKS="$benchmarks" -DLANNER_WARNINGS_AS_ERRORS=ON
stage "building build/$preset" ninja -C "build/$preset"
stage "default model" scripts/get_default_model.sh
say "ctest --preset $preset -j $(nproc) $*"
exec ctest --preset "$preset" -j "$(nproc)" "$@"
