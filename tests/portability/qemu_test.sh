#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# qemu_test.sh CPU EXPECTED PROGRAM [ARG...]: runs the program on an emulated CPU; it must exit with 0 and print what
# matches the extended regular expression EXPECTED. An instruction that the CPU lacks is exit status 132 (SIGILL). Exits
# with 77 (ctest: skipped) where qemu-x86_64 is missing.
set -eu
cpu=$1
expected=$2
shift 2
if ! command -v qemu-x86_64 >/dev/null 2>&1; then
  echo "skipped: qemu-x86_64 is not installed (Debian package qemu-user)"
  exit 77
fi
status=0
output=$(qemu-x86_64 -cpu "$cpu" "$@" 2>&1) || status=$?
printf '%s\n' "$output"
if [ "$status" -ne 0 ]; then
  echo "qemu_test: on $cpu, '$*' exited with $status"
  exit 1
fi
if ! printf '%s\n' "$output" | grep -Eq -- "$expected"; then
  echo "qemu_test: on $cpu, the output of '$*' does not match '$expected'"
  exit 1
fi
