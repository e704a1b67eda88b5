#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# qemu_test_can_fail.sh COMPILER: shows that qemu_test.sh fails for a program above its CPU, and for a wrong answer.
set -eu
compiler=$1
qemu_test=$(dirname "$0")/qemu_test.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/wide.cpp" <<'EOF'
#include <cstdio>
int main(int argc, char** argv) {
  double x[8] = {};
  for (int i = 0; i < argc; ++i) x[i % 8] += argv[i][0];
  asm volatile("vpaddd %%zmm0, %%zmm0, %%zmm0" ::: "xmm0");
  std::printf("isa: wide %f\n", x[0]);
}
EOF
"$compiler" "$folder/wide.cpp" -o "$folder/wide"
sed '/asm volatile/d' "$folder/wide.cpp" >"$folder/plain.cpp"
"$compiler" "$folder/plain.cpp" -o "$folder/plain"

status=0
"$qemu_test" Haswell 'isa: wide' "$folder/plain" || status=$?
[ "$status" -ne 77 ] || exit 77
[ "$status" -eq 0 ] || { echo "a plain program failed"; exit 1; }
if "$qemu_test" Haswell 'isa: wide' "$folder/wide"; then
  echo "an AVX-512 instruction passed on Haswell"
  exit 1
fi
if "$qemu_test" Haswell 'isa: narrow' "$folder/plain"; then
  echo "a wrong answer passed"
  exit 1
fi
