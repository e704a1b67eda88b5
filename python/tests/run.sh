#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh FOLDER TEST...: runs tests of this folder with the environments of make_wheel.sh: the package is that of the clean
# one, optional packages come from the tools.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
shift
if [ ! -x "$folder/clean/bin/lanner" ]; then
  echo "skipped: there is no wheel (the test python.wheel says why)"
  exit 77
fi
cd "$here"
site=$(echo "$folder"/tools/lib/python3.*/site-packages)
PYTHONPATH=$site LANNER_TEST_TOOLS=$folder/tools/bin exec "$folder/clean/bin/python" -W error -m unittest -v "$@"
