#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# with_venv.sh PYTHON TEST ARGUMENT...: runs a test with that Python, or with the system's, which says what is missing.
# --default-model stands for the file that scripts/get_default_model.sh fetches.
set -euo pipefail
python=$1
[ -x "$python" ] || python=python3
shift
model=${LANNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lanner}/models/SmolLM2-135M-Instruct.Q4_1.gguf
arguments=()
for argument in "$@"; do
  [ "$argument" = --default-model ] && argument=$model
  arguments+=("$argument")
done
exec "$python" "${arguments[@]}"
