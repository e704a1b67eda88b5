#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run_all.sh [SECONDS]: everything there is about the server, also what takes longer than the suite should: the official
# client, Chromium, schemathesis, SECONDS (60) each of mutated requests and of 200 streams. Needs build/release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
# shellcheck source=scripts/common.sh
. scripts/common.sh
python=$(tests/server/make_venv.sh)/bin/python
server=build/release/src/server/scripted_server
lanner=build/release/bin/lanner
model=${LANNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lanner}/models/SmolLM2-135M-Instruct.Q4_1.gguf

status=0
run() {
  local name=$1 code=0
  shift
  say "$name"
  "$@" || code=$?
  case $code in
    0) say "$name: passed" ;;
    77) say "$name: SKIPPED" ;;
    *)
      say "$name: FAILED"
      status=1
      ;;
  esac
}
run "api" "$python" tests/server/api_test.py "$server"
run "keys and origins" "$python" tests/server/auth_test.py "$server"
run "lifecycle" "$python" tests/server/lifecycle_test.py "$server"
run "hostile input, ${seconds} s" "$python" tests/server/hostile_test.py "$server" --seconds "$seconds"
run "chat page" "$python" tests/server/page_test.py "$server"
run "schemathesis" "$python" tests/server/schema_test.py "$server" --examples 50
run "official client" env LANNER_SCRIPTED_SERVER="$server" "$python" tests/server/openai_test.py "$lanner" "$model"
run "soak, 200 streams, ${seconds} s" "$python" tests/server/soak_test.py "$server" --seconds "$seconds" --streams 200
run "packaging" packaging/check.sh
exit $status
