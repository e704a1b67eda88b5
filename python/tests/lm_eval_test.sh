#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lm_eval_test.sh FOLDER: lm_eval_test.py with the wheel of make_wheel.sh and an environment of its own for
# lm-evaluation-harness and what it draws in (0.8 GB), FOLDER/lm-eval, which is kept from run to run. Exits with 77, which a
# test counts as skipped, where PyPI cannot be reached, and without LANNER_TEST_LM_EVAL where it has not been made yet: that
# takes minutes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
version=0.4.13
python=$folder/lm-eval/bin/python
if [ ! -x "$folder/clean/bin/lanner" ]; then
  echo "skipped: there is no wheel (the test python.wheel says why)"
  exit 77
fi
if ! "$python" -c "import lm_eval, sys; sys.exit(lm_eval.__version__ != '$version')" 2>/dev/null; then
  if [ -z "${LANNER_TEST_LM_EVAL-}" ]; then
    echo "skipped: LANNER_TEST_LM_EVAL=1 installs lm-eval $version (0.8 GB) into $folder/lm-eval for this test"
    exit 77
  fi
  python3 -m venv --clear "$folder/lm-eval"
  "$folder/lm-eval/bin/pip" install --quiet --disable-pip-version-check "lm-eval==$version" || {
    echo "skipped: lm-eval $version could not be installed: is there a network?"
    exit 77
  }
fi
cd "$here"
PYTHONPATH=$(echo "$folder"/clean/lib/python3.*/site-packages) HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 \
  exec "$python" lm_eval_test.py -v
