#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run_all.sh [SECONDS]: everything there is about the server, also what takes longer than the suite should: the official
# client, Chromium, schemathesis, SECONDS (60) each of mutated requests, of 200 streams and of every fuzzer. Needs
# build/release; LANNER_PRESET=asan or tsan takes build/asan or build/tsan, gives slow machines more time, and leaves out
# what is no test of the server: the fuzzers and packaging.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
preset=${LANNER_PRESET:-release}
# shellcheck source=scripts/common.sh
. scripts/common.sh
python=$(tests/server/make_venv.sh)/bin/python
server=build/$preset/src/server/scripted_server
lanner=build/$preset/bin/lanner
model=${LANNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lanner}/models/SmolLM2-135M-Instruct.Q4_1.gguf
[ -x "$server" ] || fail "$server is not there: cmake --preset $preset && ninja -C build/$preset"
health=100 growth=32
if [ "$preset" != release ]; then
  # The first finding ends the server, which a test notices.
  export ASAN_OPTIONS=${ASAN_OPTIONS-abort_on_error=1} UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1}
  export TSAN_OPTIONS=${TSAN_OPTIONS-halt_on_error=1:second_deadlock_stack=1:suppressions=$PWD/tests/tsan_suppressions.txt}
  export LANNER_TEST_PATIENCE=${LANNER_TEST_PATIENCE-600}
  health=0 growth=0 # a sanitizer's times and memory say nothing
fi

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
run "limits" "$python" tests/server/limits_test.py "$server"
run "lifecycle" "$python" tests/server/lifecycle_test.py "$server"
run "hostile input, ${seconds} s" "$python" tests/server/hostile_test.py "$server" --seconds "$seconds"
run "chat page" "$python" tests/server/page_test.py "$server"
run "schemathesis" "$python" tests/server/schema_test.py "$server" --examples 50
run "official client" env LANNER_SCRIPTED_SERVER="$server" "$python" tests/server/openai_test.py "$lanner" "$model"
run "tool calls" "$python" tests/server/tool_call_test.py "$lanner" "$model"
run "soak, 200 streams, ${seconds} s" "$python" tests/server/soak_test.py "$server" --seconds "$seconds" --streams 200 \
  --health-p99-ms "$health" --rss-growth-mib "$growth"
if [ -f "$model" ]; then
  run "soak with SmolLM2, 200 streams, ${seconds} s" "$python" tests/server/soak_test.py "$lanner" --model "$model" \
    --seconds "$seconds" --streams 200 --health-p99-ms "$health" --rss-growth-mib "$growth"
else
  say "soak with SmolLM2: SKIPPED, scripts/get_default_model.sh fetches it"
fi
if [ "$preset" = release ]; then
  run "fuzzers, ${seconds} s each" scripts/fuzz.sh "$seconds"
  run "packaging" packaging/check.sh
fi
exit $status
