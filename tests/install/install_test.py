#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs a build tree, builds examples/cpp against what was installed, and runs it.

Usage: install_test.py BUILD_FOLDER PREFIX; PREFIX is emptied first, and used by the tests of the Python package.
The examples with text need the default model (scripts/get_default_model.sh); without it they are skipped, and said so.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests" / "e2e"))
import lanner  # noqa: E402  (the helpers beside the other end-to-end tests)

BUILD = PREFIX = pathlib.Path()


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(PREFIX, ignore_errors=True)
        run("cmake", "--install", BUILD, "--prefix", PREFIX, "--strip")
        folder = tempfile.TemporaryDirectory(prefix="lanner_install_")
        cls.addClassCleanup(folder.cleanup)
        cls.examples = pathlib.Path(folder.name)
        run("cmake", "-G", "Ninja", "-S", SOURCE / "examples" / "cpp", "-B", cls.examples, f"-DCMAKE_PREFIX_PATH={PREFIX}",
            "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror")
        run("cmake", "--build", cls.examples)

    def library(self):
        [library] = PREFIX.glob("lib*/**/liblanner.so.*.*.*")
        return library

    def test_everything_went_below_the_prefix(self):
        self.assertTrue((PREFIX / "bin" / "lanner").is_file())
        self.assertTrue((PREFIX / "include" / "lanner" / "llm.h").is_file())
        self.assertTrue((PREFIX / "etc" / "lanner" / "lanner.env").is_file())
        version = run(PREFIX / "bin" / "lanner", "--version").split()[-1]
        self.assertEqual(self.library().name, f"liblanner.so.{version}")

    def test_the_library_is_named_by_its_minor_version(self):
        dynamic = run("readelf", "-d", "-W", self.library())
        soname = re.search(r"SONAME.*\[(.*)\]", dynamic)[1]
        self.assertRegex(self.library().name, rf"^{re.escape(soname)}\.\d+$")
        self.assertTrue((self.library().parent / soname).exists())

    def test_it_exports_the_public_functions_alone(self):
        self.assertIn("functions exported", run(SOURCE / "tools" / "check_exports", self.library()))

    def test_the_programs_need_nothing_of_the_build_tree(self):
        dynamic = run("readelf", "-d", "-W", self.examples / "logits")
        self.assertIn("liblanner.so.", dynamic)
        self.assertNotIn(f"{BUILD}/lib", dynamic)
        self.assertNotIn(str(BUILD), run("readelf", "-d", "-W", self.library()))

    def test_another_minor_version_is_refused(self):
        (self.examples / "other").mkdir(exist_ok=True)
        (self.examples / "other" / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.16)\nproject(other CXX)\nfind_package(lanner 0.2 REQUIRED)\n")
        done = subprocess.run(["cmake", "-S", self.examples / "other", "-B", self.examples / "other" / "build",
                               f"-DCMAKE_PREFIX_PATH={PREFIX}"], capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("lanner", done.stderr)

    def test_logits_without_a_tokenizer(self):
        lines = run(self.examples / "logits", lanner.GOLDEN / "llama-tied", 1, 5, 9).splitlines()
        self.assertEqual([line.split(" -> ")[0] for line in lines], ["1", "5", "9"])

    def test_errors_of_the_library_are_caught_outside_of_it(self):
        done = subprocess.run([self.examples / "logits", "/nowhere", "1"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "^not_found: .*/nowhere")
        done = subprocess.run([self.examples / "logits", lanner.GOLDEN / "llama-tied", "99999"], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stderr.split(":")[0]), (1, "invalid_argument"))

    def test_text_with_the_default_model(self):
        model = lanner.default_model()
        if model is None:
            self.skipTest("the default model is not there (scripts/get_default_model.sh fetches it)")
        answers = run(self.examples / "generate", model, "The capital of France is", "1, 2, 3, 4,")
        self.assertIn("Paris", answers)
        self.assertEqual(len(re.findall(r"^\(24 tokens, length\)$", answers, re.M)), 2)
        self.assertIn("Paris", run(self.examples / "chat", model, "What is the capital of France?"))


if __name__ == "__main__":
    BUILD, PREFIX = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[3:]])
