#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make_venv.sh [FOLDER]: a Python environment with the packages that tests/server use, by default in build/venv.
# Does nothing when it is there and has what requirements.txt says.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../build/venv}
if ! cmp -s "$here/requirements.txt" "$folder/requirements.txt"; then
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$folder/"
fi
echo "$folder"
