#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_oneccl.sh: gets oneCCL (Intel's oneAPI Collective Communications Library, for ranks on several
# hosts) out of its PyPI packages into the user's cache folder, and libfabric from the distribution.
# It is Intel's binary under the Intel Simplified Software License, which lies beside it afterwards; Lanner
# itself runs without. A build configured after this has the plugin liblanner_ccl.so.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The newest version whose CPU library is whole; later ones need parts of the GPU package.
version=2021.16.2
tag=py2.py3-none-manylinux_2_28_x86_64
runtime=oneccl_cpu-$version-$tag.whl
headers=oneccl_cpu_devel-$version-$tag.whl
sums="2badb37759341ea2152156958c162b0f1ce9c42f54702d36835e7655b4fb88ee  $runtime
a0c6ea0a7059470609ee5d5fd29cc75c7c5f6022cb8a8a99b773460a9f4390f0  $headers"

[ $# -eq 0 ] || fail "unknown argument '$1'; usage: install_oneccl.sh"
[ "$(uname -m)" = x86_64 ] || fail "oneCCL's packages are for x86-64, this machine is $(uname -m)"

# As src/base/env.cpp has it.
if [ -n "${LANNER_CACHE-}" ]; then
  cache=$LANNER_CACHE
elif [ -n "${XDG_CACHE_HOME-}" ]; then
  cache=$XDG_CACHE_HOME/lanner
else
  cache=${HOME:?HOME is not set}/.cache/lanner
fi
target=$cache/oneccl

if [[ $(ldconfig -p) != *"libfabric.so.1 "* ]]; then
  say "apt-get install libfabric1"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 libfabric1 >&2 ||
    fail "libfabric1 could not be installed; oneCCL needs libfabric.so.1"
fi
if [ -f "$target/VERSION" ] && [ "$(cat "$target/VERSION")" = "$version" ]; then
  say "oneCCL $version: $target is there"
  exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed (package python3-pip)"
mkdir -p "$cache" || fail "$cache cannot be created"
work=$(mktemp -d "$cache/.oneccl.XXXXXX") || fail "$cache cannot be written"
trap 'rm -rf "$work"' EXIT

say "oneCCL $version: downloading from PyPI (63 MB)"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
  "oneccl-cpu==$version" "oneccl-cpu-devel==$version" >&2 || fail "pip could not download oneCCL $version"
(cd "$work" && sha256sum --quiet -c <<<"$sums") >&2 || fail "the downloaded packages are not the expected ones"
python3 - "$work" "$work/$runtime" "$work/$headers" <<'PYTHON' || fail "the downloaded packages cannot be unpacked"
import os, sys, zipfile

root, runtime, headers = sys.argv[1:]
wanted = {
    runtime: {"/data/lib/libccl.so.1.0": "lib/libccl.so.1.0", "/licensing/license.txt": "license.txt",
              "/licensing/third-party-programs.txt": "third-party-programs.txt"},
    headers: {},
}
for wheel, files in wanted.items():
    archive = zipfile.ZipFile(wheel)
    for name in archive.namelist():
        place = next((p for end, p in files.items() if name.endswith(end)), None)
        if "/data/include/" in name and not name.endswith("/"):
            place = "include/" + name.split("/data/include/", 1)[1]
        if place is None:
            continue
        path = os.path.join(root, "oneccl", place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(archive.read(name))
PYTHON
ln -s libccl.so.1.0 "$work/oneccl/lib/libccl.so.1"
ln -s libccl.so.1 "$work/oneccl/lib/libccl.so"
echo "$version" >"$work/oneccl/VERSION"
rm -rf "$target"
mv "$work/oneccl" "$target"
say "oneCCL $version: $target (its licence: $target/license.txt)"
