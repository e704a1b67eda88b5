# SPDX-License-Identifier: Apache-2.0
"""What users read: the page on Python runs, the examples run, and mypy finds nothing in them and in the package."""

import os
import pathlib
import re
import subprocess
import sys
import unittest

import lanner
from models import SOURCE, needs_default_model

PAGE = SOURCE / "docs" / "python.md"
EXAMPLES = SOURCE / "examples" / "python"


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, check=False, **options)
    return done.returncode, done.stdout + done.stderr


class DocsTest(unittest.TestCase):
    @needs_default_model
    def test_the_page_runs(self):
        blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
        self.assertGreater(len(blocks), 10)
        status, output = run(sys.executable, "-c", "\n".join(blocks))
        self.assertEqual(status, 0, output)
        self.assertIn("5", output)

    def test_the_page_has_every_method(self):
        page = PAGE.read_text()
        for name in vars(lanner.LLM):
            if not name.startswith("_") and not name.startswith("a") and callable(getattr(lanner.LLM, name)):
                with self.subTest(name):
                    self.assertRegex(page, rf"\b{name}\(")
        for name in (error for error in lanner.__all__ if error.endswith("Error")):
            self.assertIn(name, page)

    def test_everything_public_is_documented(self):
        for name in lanner.__all__:
            value = getattr(lanner, name)
            if isinstance(value, type):
                self.assertTrue(value.__doc__, name)

    @needs_default_model
    def test_the_examples_run(self):
        status, output = run(sys.executable, EXAMPLES / "quickstart.py")
        self.assertEqual(status, 0, output)
        self.assertIn("5", output)
        self.assertIn("'people':", output)
        status, output = run(sys.executable, EXAMPLES / "batch.py")
        self.assertEqual(status, 0, output)
        self.assertIn("4 answers", output)
        status, output = run(sys.executable, EXAMPLES / "perplexity.py", SOURCE / "tests" / "data" / "opticks.txt")
        self.assertEqual(status, 0, output)
        self.assertLess(float(output.split()[-1]), 200)
        self.assertEqual({path.name for path in EXAMPLES.glob("*.py")}, {"quickstart.py", "batch.py", "perplexity.py"})

    def test_types(self):
        mypy = pathlib.Path(os.environ.get("LANNER_TEST_TOOLS", pathlib.Path(sys.executable).parent)) / "mypy"
        if not mypy.exists():
            self.skipTest("mypy is not installed")
        package = pathlib.Path(lanner.__file__).parent
        self.assertTrue((package / "py.typed").exists() and (package / "_lanner.pyi").exists())
        # What is installed mypy finds by itself; a build tree has to be named.
        environment = dict(os.environ)
        if package.parent.name != "site-packages":
            environment["MYPYPATH"] = str(package.parent)
        common = [mypy, "--strict", "--no-incremental", "--python-executable", sys.executable]
        # As a user does, with the installed package: the examples, and what the overloads say.
        status, output = run(*common, *sorted(EXAMPLES.glob("*.py")), SOURCE / "python" / "tests" / "types_of_results.py", env=environment)
        self.assertEqual(status, 0, output)
        status, output = run(*common, "--warn-unused-ignores", "-p", "lanner", env=environment)
        self.assertEqual(status, 0, output)
        # A checker that finds nothing anywhere would pass as well.
        status, output = run(*common, "-c", "import lanner; lanner.LLM(dtype=8)", env=environment)
        self.assertNotEqual(status, 0)
        self.assertIn("dtype", output)


if __name__ == "__main__":
    unittest.main()
