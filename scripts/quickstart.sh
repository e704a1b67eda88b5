#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# quickstart.sh ["PROMPT"]: from a bare machine to an answer. Installs what is missing, builds Lanner,
# gets the default model and answers. Does each of it only where it has not been done.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -le 1 ] || fail "one prompt, in quotes: quickstart.sh \"Why is the sky blue?\""
prompt=${1:-Why is the sky blue?}
build=$root/build/release

"$root/scripts/install_dependencies.sh"
use_rust
if [ ! -f "$build/build.ninja" ]; then
  (cd "$root" && stage "configuring $build" cmake --preset release -DLANNER_BUILD_TESTS=OFF \
    -DLANNER_BUILD_BENCHMARKS=OFF >&2)
fi
first=
[ -x "$build/bin/lanner" ] || first=" (takes minutes this first time)"
# ninja itself sees what has changed, also in the CMake files.
stage "building lanner$first" ninja -C "$build" lanner >&2
"$root/scripts/get_default_model.sh"

say "lanner run \"$prompt\""
exec "$build/bin/lanner" run -- "$prompt"
