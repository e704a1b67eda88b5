#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build_docs.sh [LANNER]: builds the documentation into build/docs/site, with every link checked. LANNER (default:
# build/release/bin/lanner) prints the help texts of which the page of commands is made. Needs doxygen, and PyPI once; exits
# with 77, which a test counts as skipped, where it has not got them.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$root"
missing() {
  say "skipped: $*"
  exit 77
}
lanner=${1:-build/release/bin/lanner}
[ -x "$lanner" ] || fail "$lanner is missing: ninja -C build/release lanner"
command -v doxygen >/dev/null || missing "doxygen is missing: scripts/install_dependencies.sh --test installs it"

venv=build/docs/venv
if ! cmp -s docs/requirements.txt "$venv/requirements.txt"; then
  say "Python packages of docs/requirements.txt"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r docs/requirements.txt ||
    missing "the packages of docs/requirements.txt could not be installed: is there a network?"
  cp docs/requirements.txt "$venv/"
fi

pages=build/docs/pages
rm -rf "$pages"
mkdir -p "$pages/docs" "$pages/tests/golden" "$pages/include"
cp ./*.md NOTICE LICENSE "$pages/"
cp -r docs/*.md docs/images "$pages/docs/"
cp tests/golden/README.md "$pages/tests/golden/"
cp -r include/lanner "$pages/include/"
tools/make_commands_doc "$lanner" >"$pages/docs/commands.md"
tools/make_cpp_reference >"$pages/docs/cpp-api.md"
NO_MKDOCS_2_WARNING=1 "$venv/bin/mkdocs" --quiet build --strict
say "build/docs/site/index.html"
