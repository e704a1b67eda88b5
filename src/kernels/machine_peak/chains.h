// SPDX-License-Identifier: Apache-2.0
// Twelve chains of one instruction, enough to hide the latency of two units. In assembly, because
// g++ keeps some of so many accumulators in memory, and then the stores are what is measured.
// Loops over them outside must be unrolled, else all of them are there. Included by ISA files.
#pragma once

#define LANNER_PEAK_CHAINS 12

// `iterations` rounds of sums[c] += a * b for all chains. `name` is the instruction; AT&T operands.
#define LANNER_PEAK_ROUNDS(iterations, name, sums, a, b)                                           \
  for (int64_t round = 0; round < (iterations); ++round) {                                         \
    __asm__(name " %[y], %[x], %0\n" name " %[y], %[x], %1\n" name " %[y], %[x], %2\n" name        \
                 " %[y], %[x], %3\n" name " %[y], %[x], %4\n" name " %[y], %[x], %5\n" name        \
                 " %[y], %[x], %6\n" name " %[y], %[x], %7\n" name " %[y], %[x], %8\n" name        \
                 " %[y], %[x], %9\n" name " %[y], %[x], %10\n" name " %[y], %[x], %11\n"           \
            : "+x"((sums)[0]), "+x"((sums)[1]), "+x"((sums)[2]), "+x"((sums)[3]), "+x"((sums)[4]), \
              "+x"((sums)[5]), "+x"((sums)[6]), "+x"((sums)[7]), "+x"((sums)[8]), "+x"((sums)[9]), \
              "+x"((sums)[10]), "+x"((sums)[11])                                                   \
            : [x] "x"(a), [y] "x"(b));                                                             \
  }
