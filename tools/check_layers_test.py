#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Feeds tools/check_layers small checkouts with one breach each, and one without any."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check_layers")
LOADER = importlib.machinery.SourceFileLoader("check_layers", TOOL)
check_layers = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_layers", LOADER))
LOADER.exec_module(check_layers)

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
CMAKE = "# SPDX-License-Identifier: Apache-2.0\n"

# A checkout that keeps every rule.
CLEAN = {
    "include/lanner/llm.h": SPDX + "#include <string>\nvirtual void abort(int id) = 0;\n",
    "src/base/CMakeLists.txt": CMAKE + "lanner_library(base SOURCES env.cpp isa.cpp)\n",
    "src/base/env.h": SPDX,
    "src/base/env.cpp": SPDX + '#include <cstdlib>\n#include "base/env.h"\nauto x = std::getenv("X");\n',
    "src/base/isa.cpp": SPDX + "#include <cpuid.h>\n",
    "src/kernels/CMakeLists.txt": CMAKE
    + "lanner_library(kernels SOURCES norm/norm.cpp norm/scalar.cpp)\n"
    + "lanner_isa_sources(lanner_kernels avx512 norm/avx512.cpp)\n",
    "src/kernels/norm/kernels.h": SPDX + "extern const NormKernel kNormAvx512;\nextern const NormKernel kNormScalar;\n",
    "src/kernels/norm/norm.cpp": SPDX
    + '#include "kernels/norm/kernels.h"\nstatic const NormKernel* const kAll[] = {&kNormAvx512, &kNormScalar};\n',
    "src/kernels/norm/avx512.cpp": SPDX
    + '#include <immintrin.h>\n#include "kernels/norm/kernels.h"\n'
    + "static __m512 f(__m512 x) { return _mm512_add_ps(x, x); }\n"
    + 'const NormKernel kNormAvx512 = {"avx512", f};\n',
    "src/kernels/norm/scalar.cpp": SPDX + '#include "base/env.h"\nconst NormKernel kNormScalar = {"scalar", g};\n',
    "src/server/CMakeLists.txt": CMAKE + "lanner_library(server SOURCES http.cpp)\n",
    "src/server/http.cpp": SPDX
    + '#include <boost/asio.hpp>\n#include <boost/beast/core.hpp>\n#include "lanner/llm.h"\n'
    + "// exit() and printf() in words; 1'000'000\n"
    + 'void f(LLM& llm) { llm.abort(3); log("std::cout, exit(1) and _mm512_x"); snprintf(b, 1, "x"); }\n',
    "src/cli/CMakeLists.txt": CMAKE + "add_executable(lanner main.cpp)\n",
    "src/cli/main.cpp": SPDX + "int main() { std::cout << 1; std::exit(2); }\n",
    "src/base/env_test.cpp": SPDX + '#include "kernels/norm/kernels.h"\nint x = getenv("A") ? 1 : (exit(1), 2);\n',
}
CLEAN["src/base/CMakeLists.txt"] += "lanner_test(env_test SOURCES env_test.cpp)\n"


class CheckLayersTest(unittest.TestCase):
    def check(self, changes):
        """The tool's exit code and output for CLEAN with some files replaced, added, or (None) left out."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**CLEAN, **changes}.items():
                if text is None:
                    continue
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as file:
                    file.write(text)
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                code = check_layers.main([root])
            return code, output.getvalue()

    def assert_breach(self, changes, expected):
        code, output = self.check(changes)
        self.assertIn(expected, output)
        self.assertEqual(code, 1, output)
        self.assertEqual(len(output.splitlines()), 1, "one breach, one line:\n" + output)

    def assert_line_breach(self, path, line, expected):
        """The line added at the end of a file is a breach, and is reported with its number."""
        text = CLEAN[path] + line + "\n"
        number = text.count("\n")
        self.assert_breach({path: text}, f"{path}:{number}: {expected}")

    def test_a_clean_checkout_passes(self):
        self.assertEqual(self.check({}), (0, ""))

    def test_the_command_ends_with_1_for_a_breach(self):
        with tempfile.TemporaryDirectory() as root:
            with open(os.path.join(root, "x.py"), "w", encoding="utf-8") as file:
                file.write("print(1)\n")
            done = subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True, check=False)
        self.assertEqual(done.stdout, "x.py:1: licence: the first line is not the SPDX line\n")
        self.assertEqual((done.returncode, done.stderr), (1, ""))

    def test_layers_point_downwards(self):
        self.assert_line_breach("src/base/env.cpp", '#include "kernels/norm/kernels.h"', "layers: base may not include")
        self.assert_line_breach("src/server/http.cpp", '#include "kernels/norm/kernels.h"', "layers: server may not")
        self.assert_breach(
            {"src/misc/x.h": SPDX, "src/misc/CMakeLists.txt": CMAKE}, "src/misc/x.h:1: layers: src/misc is no folder"
        )
        self.assert_breach(
            {"python/src/ext.cpp": SPDX + '#include "kernels/norm/kernels.h"\n'}, "layers: python may not include"
        )
        self.assert_breach(
            {"src/base/testing/random.h": SPDX, "src/base/env.h": SPDX + '#include "base/testing/random.h"\n'},
            "is for tests only",
        )

    def test_engine_may_include_everything_below(self):
        files = {
            "src/engine/CMakeLists.txt": CMAKE + "lanner_library(engine SOURCES e.cpp)\n",
            "src/engine/e.cpp": SPDX + '#include "kernels/norm/kernels.h"\n#include "base/env.h"\n',
        }
        self.assertEqual(self.check(files), (0, ""))

    def test_includes_start_at_the_root(self):
        self.assert_line_breach("src/base/env.cpp", '#include "env.h"', 'include: "env.h" is no path from src/')
        self.assert_line_breach("src/base/env.cpp", '#include "../base/env.h"', "include:")
        self.assert_line_breach("src/base/env.cpp", "#include <base/env.h>", "include: write")

    def test_the_public_api_uses_only_the_standard_library(self):
        self.assert_line_breach("include/lanner/llm.h", "#include <fmt/format.h>", "public: <fmt/format.h>")
        self.assert_line_breach("include/lanner/llm.h", '#include "base/env.h"', 'public: "base/env.h"')

    def test_intrinsics_stay_in_kernels(self):
        self.assert_line_breach("src/base/env.cpp", "#include <immintrin.h>", "intrinsics: <immintrin.h>")
        self.assert_line_breach("src/base/env.cpp", "auto y = _mm_pause();", "intrinsics: '_mm_pause'")
        self.assert_line_breach("src/base/env_test.cpp", "__m256 y;", "intrinsics: '__m256'")

    def test_a_library_is_included_in_one_file(self):
        for header in ("boost/asio.hpp", "boost/beast/http.hpp"):
            text = CLEAN["src/cli/main.cpp"] + f"#include <{header}>\n"
            self.assert_breach({"src/cli/main.cpp": text}, "one file: HTTP (boost/beast, boost/asio) is already")
        for header in ("oneapi/ccl.hpp", "oneapi/dnnl/dnnl.hpp", "lanner_text.h"):
            include = f"#include <{header}>\n"
            code, output = self.check({"src/cli/main.cpp": CLEAN["src/cli/main.cpp"] + include})
            self.assertEqual((code, output), (0, ""), "one file may")
            self.assert_breach(
                {
                    "src/cli/main.cpp": CLEAN["src/cli/main.cpp"] + include,
                    "src/server/http.cpp": CLEAN["src/server/http.cpp"] + include,
                },
                "is already included in src/cli/main.cpp",
            )
            self.assert_breach({"src/base/env.h": SPDX + include}, "in one .cpp, not in a header")

    def test_the_environment_is_read_in_one_file(self):
        self.assert_line_breach("src/base/isa.cpp", 'auto y = getenv("Y");', "environment: 'getenv'")
        self.assert_line_breach("src/cli/main.cpp", 'auto y = std::getenv("Y");', "environment: 'getenv'")

    def test_the_library_does_not_end_the_process(self):
        for line in ("exit(1);", "std::exit(1);", "::exit (1);", "_exit(1);", "abort();", "std::abort();",
                     "std::terminate();", "auto f = &std::abort;", "if (x) exit(1);"):
            self.assert_line_breach("src/base/isa.cpp", line, "exit:")
        for line in ("llm->abort();", "app.exit(e);", "void exit_status(int);", "on_exit(3);"):
            text = CLEAN["src/base/isa.cpp"] + line + "\n"
            self.assertEqual(self.check({"src/base/isa.cpp": text}), (0, ""), line)

    def test_the_library_does_not_print(self):
        for line in ("std::cout << 1;", "std::cerr << 1;", 'printf("x");', 'std::fprintf(stderr, "x");',
                     'fmt::print("x");', 'puts("x");'):
            self.assert_line_breach("src/base/isa.cpp", line, "print:")

    def test_code_in_strings_and_comments_is_no_code(self):
        for line in ("// exit(1);", "/* exit(1);\n printf(2); */", 'auto s = "exit(1)";', 'auto s = R"(\nexit(1);\n)";'):
            text = CLEAN["src/base/isa.cpp"] + line + "\n"
            self.assertEqual(self.check({"src/base/isa.cpp": text}), (0, ""), line)
        self.assert_line_breach("src/base/isa.cpp", '/* a\n b */ auto s = "a"; exit(1);', "exit:")

    def test_files_are_short(self):
        def lines(count):
            return SPDX + "\n" * (count - 1)

        code, output = self.check({"src/base/env.h": lines(501)})
        self.assertEqual(code, 0)
        self.assertIn("src/base/env.h:501: warning: length", output)
        self.assertEqual(self.check({"src/base/env.h": lines(500)}), (0, ""))
        self.assert_breach({"src/base/env.h": lines(801)}, "src/base/env.h:801: length: 801 lines, at most 800")
        code, _ = self.check({"src/kernels/norm/tile.h": lines(1000)})
        self.assertEqual(code, 0)
        self.assert_breach({"src/kernels/norm/tile.h": lines(1001)}, "at most 1000")

    def test_the_licence_comes_first(self):
        self.assert_breach({"src/base/env.h": "#pragma once\n"}, "src/base/env.h:1: licence")
        self.assert_breach({"cmake/x.cmake": "set(A 1)\n"}, "cmake/x.cmake:1: licence")
        self.assert_breach({"tools/x": "#!/bin/sh\ntrue\n"}, "tools/x:2: licence")
        self.assertEqual(self.check({"tools/x": "#!/bin/sh\n" + CMAKE}), (0, ""))
        self.assertEqual(self.check({"README.md": "# Lanner\n"}), (0, ""))

    def test_sources_are_listed_by_name(self):
        glob = CMAKE + "file(GLOB sources *.cpp)\n# no GLOB in words\n"
        self.assert_breach({"src/server/CMakeLists.txt": glob + "# http.cpp\nadd_library(x http.cpp)\n"}, "cmake: sources")
        self.assert_breach({"src/base/lost.cpp": SPDX}, "src/base/lost.cpp:1: cmake: no CMakeLists.txt names")
        self.assert_breach({"src/kernels/norm/env.cpp": SPDX}, "cmake: no CMakeLists.txt names")

    def test_kernel_files_are_listed_for_their_isa(self):
        plain = CMAKE + "lanner_library(kernels SOURCES norm/norm.cpp norm/scalar.cpp norm/avx512.cpp)\n"
        self.assert_breach({"src/kernels/CMakeLists.txt": plain}, "is not listed by lanner_isa_sources(... avx512 ...)")
        wrong = CLEAN["src/kernels/CMakeLists.txt"].replace("lanner_kernels avx512", "lanner_kernels avx2")
        self.assert_breach({"src/kernels/CMakeLists.txt": wrong}, "is not listed by lanner_isa_sources(... avx512 ...)")
        longer = CLEAN["src/kernels/CMakeLists.txt"] + "lanner_isa_sources(lanner_kernels avx512 norm/gemv_avx512_bf16.cpp)\n"
        self.assert_breach(
            {"src/kernels/CMakeLists.txt": longer, "src/kernels/norm/gemv_avx512_bf16.cpp": SPDX}, "avx512_bf16 ..."
        )
        first = longer.replace("gemv_avx512_bf16", "avx512_bf16_gemv")
        self.assert_breach(
            {"src/kernels/CMakeLists.txt": first, "src/kernels/norm/avx512_bf16_gemv.cpp": SPDX}, "avx512_bf16 ..."
        )

    def test_every_table_is_in_a_list(self):
        unlisted = CLEAN["src/kernels/norm/norm.cpp"].replace("&kNormAvx512, ", "")
        self.assert_breach(
            {"src/kernels/norm/norm.cpp": unlisted}, "src/kernels/norm/kernels.h:2: tables: kNormAvx512 is in no list"
        )
        undefined = CLEAN["src/kernels/norm/kernels.h"] + "extern const NormKernel kNormAvx2[3];\n"
        self.assert_breach({"src/kernels/norm/kernels.h": undefined}, "defines kNormAvx2")

    def test_no_file_names_a_place_on_one_machine(self):
        for place in ("/" + "work/x", "/" + "root/.cache", ".." + "/shared/golden"):
            self.assert_breach({"README.md": f"see {place}\n"}, "README.md:1: words:")
        self.assertEqual(self.check({"README.md": "src/" + "work/x $HOME/" + "root/ a-" + "work/b\n"}), (0, ""))


if __name__ == "__main__":
    unittest.main()
