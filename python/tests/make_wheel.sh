#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make_wheel.sh PREFIX FOLDER: makes a wheel with the Lanner that is installed in PREFIX, and installs it into a new
# environment, FOLDER/clean, which gets nothing else but what the wheel asks for. FOLDER/tools has what builds and checks it
# (requirements.txt); it is kept from run to run. Exits with 77, which a test counts as skipped, where PyPI cannot be reached.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(cd "$1" && pwd)
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1

skip() {
  echo "skipped: $*"
  exit 77
}
python3 -c 'import ensurepip, os, sysconfig
assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
  skip "python3 has no venv or no headers (Debian packages python3-venv, python3-dev)"

tools=$folder/tools
if ! cmp -s "$here/requirements.txt" "$tools/requirements.txt"; then
  python3 -m venv --clear "$tools"
  "$tools/bin/pip" install --quiet -r "$here/requirements.txt" ||
    skip "the packages of python/tests/requirements.txt could not be installed: is there a network?"
  cp "$here/requirements.txt" "$tools/"
fi

rm -rf "$folder/dist" "$folder/clean"
# Without isolation: the build's tools are those above, and nothing is downloaded.
PATH=$tools/bin:$PATH "$tools/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder/dist" \
  --config-settings "cmake.define.lanner_ROOT=$prefix" --config-settings "build-dir=$folder/build" "$here/../.."
python3 -m venv "$folder/clean"
"$folder/clean/bin/pip" install --quiet "$folder"/dist/lanner-*.whl ||
  skip "what the wheel depends on could not be installed: is there a network?"
ls -l "$folder"/dist/*.whl
"$folder/clean/bin/pip" list
"$folder/clean/bin/lanner" --version
