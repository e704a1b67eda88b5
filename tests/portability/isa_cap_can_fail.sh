#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# isa_cap_can_fail.sh RUN_WITH_ISA_CAP TEST: shows that a test that runs under an ISA cap fails where the cap did not take,
# and where no test ran.
set -eu
run_with_isa_cap=$1
test=$2

"$run_with_isa_cap" scalar "$test" >/dev/null || { echo "the test fails under the cap 'scalar'"; exit 1; }
if "$run_with_isa_cap" scalar "$test" --gtest_filter=NoSuchTest >/dev/null 2>&1; then
  echo "a run without a single test passed"
  exit 1
fi
if "$test" --isa-cap=no_such_cap >/dev/null; then
  echo "an unknown cap passed"
  exit 1
fi
# From here on this CPU must have something to cut down.
status=0
"$run_with_isa_cap" avx2 "$test" >/dev/null || status=$?
[ "$status" -ne 77 ] || { echo "skipped: this CPU is scalar anyway"; exit 77; }
[ "$status" -eq 0 ] || { echo "the test fails under the cap 'avx2'"; exit 1; }
if output=$(env -u LANNER_MAX_ISA "$test" --isa-cap=scalar); then
  echo "a cap that was never set passed"
  exit 1
fi
printf '%s\n' "$output" | grep -q "the cap 'scalar' did not take" || { printf '%s\n' "$output"; exit 1; }
if LANNER_MAX_ISA=scalar "$test" --isa-cap=avx2 >/dev/null; then
  echo "a wrong cap passed"
  exit 1
fi
