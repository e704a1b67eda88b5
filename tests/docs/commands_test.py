#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the commands that README.md and docs/ show, as they stand there.

commands_test.py LANNER MODEL [PAGE...]

Every ```sh block is a script of its own, run line by line. A block is left out only where the line before it is
<!-- not run: REASON -->, and the reason is printed. The names that pages use for a reader's own files (~/models/..., keys.txt)
stand for small files here. A command that still runs after SECONDS is interrupted as by Ctrl-C and has to end cleanly: servers,
and benchmarks that take minutes. Exits with 77 without the default model.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "tests" / "e2e"))
from lora_folder import write_adapter  # noqa: E402

PAGES = ["README.md", "docs/*.md", "examples/**/README.md", "benchmarks/README.md"]
SECONDS = 6.0
OK = 0
# As Lanner says it, and as one sees it who waits for a program that had nothing to clean up.
INTERRUPTED = (130, -signal.SIGINT)
BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(page):
    """(line, text, reason not to run it or None) of the ```sh blocks of a page."""
    text = page.read_text()
    for match in BLOCK.finditer(text):
        if match["language"] == "sh":
            yield text.count("\n", 0, match.start("text")), match["text"], match["reason"]


def commands(script):
    """The lines of a script, continued ones joined."""
    for line in re.sub(r"\\\n\s*", "", script).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line


def prepare(folder, lanner, model):
    """A reader's folder: the repository's files, and models of their own."""
    work, home = folder / "work", folder / "home"
    work.mkdir()
    models = home / "models"
    models.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name not in (".git", "build"):
            (work / entry.name).symlink_to(entry)
    (work / "build").mkdir()
    (work / "build" / "release").symlink_to(lanner.parent.parent)
    for name in ["Llama-3.2-1B-Instruct", "tinyllama.Q4_K_M.gguf"]:
        (models / name).symlink_to(model)
    (home / "adapters").mkdir()
    queries = {f"model.layers.{layer}.self_attn.q_proj": (576, 576) for layer in range(30)}  # of the default model
    for name in ["tuned", "sql", "poet"]:
        write_adapter(home / "adapters" / name, queries, rank=1)
    for name in ["model.gguf", "a.gguf", "b.gguf"]:
        (work / name).symlink_to(model)
    shutil.copy(ROOT / "tests" / "data" / "opticks.txt", work / "text.txt")
    (work / "keys.txt").write_text("a-key-of-the-test\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-keyout", work / "key.pem", "-out", work / "cert.pem"], check=True, capture_output=True)
    return work, home


def run(command, work, environment):
    """Exit status, whether it was interrupted, and what it wrote."""
    process = subprocess.Popen(
        ["bash", "-c", "set -o pipefail; " + command], cwd=work, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = process.communicate(timeout=SECONDS)
        return process.returncode, False, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, True, output
    return process.returncode, True, output


def main():
    lanner, model = (pathlib.Path(os.path.abspath(argument)) for argument in sys.argv[1:3])
    if not model.is_file():
        print(f"skipped: {model} is missing; scripts/get_default_model.sh fetches it")
        return 77
    names = sys.argv[3:] or PAGES
    pages = sorted({page for name in names for page in ROOT.glob(name)})
    failed = 0
    ran = set()
    with tempfile.TemporaryDirectory() as folder:
        work, home = prepare(pathlib.Path(folder), lanner, model)
        environment = {
            **os.environ,
            "HOME": str(home),
            "LANNER_CACHE": str(model.parent.parent),
            "PATH": f"{lanner.parent}:{os.environ['PATH']}",
        }
        for page in pages:
            for line, text, reason in blocks(page):
                place = f"{page.relative_to(ROOT)}:{line}"
                if reason:
                    print(f"{place}: not run: {reason}")
                    continue
                for command in commands(text):
                    known = command.partition("  # ")[0].strip()
                    if command.startswith("export PATH=") or known in ran:
                        continue  # the environment above; or run for another page
                    ran.add(known)
                    start = time.monotonic()
                    status, interrupted, output = run(command, work, environment)
                    good = status == OK or (interrupted and status in INTERRUPTED)
                    failed += not good
                    how = "interrupted, " if interrupted else ""
                    print(f"{place}: {'ok' if good else 'FAILED'}: {command} ({how}status {status}, "
                          f"{time.monotonic() - start:.1f} s)", flush=True)
                    if not good:
                        print("    " + output[-2000:].replace("\n", "\n    "))
    print(f"{len(ran)} commands of {len(pages)} pages, {failed} failed")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
