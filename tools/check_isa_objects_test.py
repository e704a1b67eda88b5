#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles small kernel files and plain files, good and bad, and shows that tools/check_isa_objects tells them apart.

The compiler is $CXX, else c++.
"""

import os
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check_isa_objects")
CXX = os.environ.get("CXX", "c++")
FLAGS = ["-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-c"]

TABLE = "struct Table { const char* name; float (*run)(const float*); };\nextern const Table kTable;\n"
GOOD_KERNEL = TABLE + "static float run(const float* x) { return x[0]; }\nconst Table kTable = {\"avx512\", run};\n"
WIDE = "typedef float Wide __attribute__((vector_size(32)));\n"


class CheckIsaObjectsTest(unittest.TestCase):
    def check(self, kernel=None, plain=None, kernel_is_built=True):
        """The tool's exit code and output for a kernel file and a plain file."""
        with tempfile.TemporaryDirectory() as root:
            sources, objects = [], []
            for name, text, flags in (("op/avx512.cpp", kernel, ["-mavx512f", "-mavx512vl"]), ("op/op.cpp", plain, [])):
                if text is None:
                    continue
                source = os.path.join(root, "src", name)
                target = os.path.join(root, "build", "x.dir", name + ".o")
                for path in (source, target):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(source, "w", encoding="utf-8") as file:
                    file.write(text)
                objects.append(target.replace("x.dir/", "x.dir/./"))  # as CMake writes them
                if flags:
                    sources.append(source)
                if kernel_is_built or not flags:
                    subprocess.run([CXX, *FLAGS, *flags, source, "-o", target], check=True)
            for name, lines in (("sources", sources), ("objects", objects)):
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write("".join(line + "\n" for line in lines))
            done = subprocess.run(
                [sys.executable, TOOL, "--isa-sources", os.path.join(root, "sources"),
                 "--objects", os.path.join(root, "objects")],
                capture_output=True, text=True, check=False,
            )
            self.assertEqual(done.stderr, "")
            return done.returncode, done.stdout

    def assert_breach(self, expected, **files):
        code, output = self.check(**files)
        self.assertIn(expected, output)
        self.assertEqual(code, 1)

    def test_a_table_and_plain_code_pass(self):
        code, output = self.check(kernel=GOOD_KERNEL, plain="float f(float x) { return x * 2; }\n")
        self.assertEqual((code, output), (0, "1 ISA objects, 1 baseline objects, 0 breaches\n"))

    def test_a_function_that_is_not_static_fails(self):
        self.assert_breach("exported: run(", kernel=GOOD_KERNEL.replace("static ", ""))

    def test_an_inline_function_that_is_emitted_fails(self):
        self.assert_breach("weak: run(", kernel=GOOD_KERNEL.replace("static ", "inline "))

    def test_a_template_that_is_emitted_fails(self):
        kernel = GOOD_KERNEL.replace("static ", "template <int N> ").replace(", run}", ", run<1>}")
        self.assert_breach("weak: ", kernel=kernel)

    def test_an_inline_variable_fails(self):
        kernel = GOOD_KERNEL + "inline int counter = 1;\nstatic int* use = &counter;\nconst int* const volatile keep = use;\n"
        self.assert_breach("weak: counter", kernel=kernel)

    def test_a_mutable_table_fails(self):
        self.assert_breach("mutable: kTable", kernel=GOOD_KERNEL.replace("const Table kTable", "Table kTable"))

    def test_wide_registers_in_plain_code_fail(self):
        plain = WIDE + "__attribute__((target(\"avx2\"))) void f(Wide* x) { *x += *x; }\n"
        self.assert_breach("baseline: f(float", plain=plain)

    def test_vex_encoding_in_plain_code_fails(self):
        plain = "__attribute__((target(\"avx\"))) float f(float x, float y) { return x + y; }\n"
        self.assert_breach("has 'vaddss", plain=plain)

    def test_a_kernel_that_is_not_listed_as_one_fails(self):
        kernel = WIDE + "__attribute__((target(\"avx2\"))) static void g(Wide* x) { *x += *x; }\n"
        self.assert_breach("op.cpp.o: baseline: ", plain=kernel + "void (*const volatile keep)(Wide*) = g;\n")

    def test_what_is_not_built_fails(self):
        self.assert_breach("missing: is not built", kernel=GOOD_KERNEL, kernel_is_built=False)
        self.assert_breach("missing: lists no objects")


if __name__ == "__main__":
    unittest.main()
