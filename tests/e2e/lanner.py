# SPDX-License-Identifier: Apache-2.0
"""Runs the real program and reads and writes the files it deals in. Python's standard library only."""
import array
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TESTS = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = TESTS / "golden"
GGUF = TESTS / "gguf" / "llama-tied-q8_0.gguf"

# The command of the program, set by main(): one word, or an emulator and its options before it.
COMMAND = []
# A sanitizer makes the program ten times slower.
TIMEOUT = 60.0


class Result:
    """What a run left behind. status is negative for a signal."""

    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def __repr__(self):
        return f"status {self.status}, out {self.out[:500]!r}, err {self.err[:2000]!r}"


def run(*arguments, stdin="", timeout=None, **environment):
    """Runs the program to its end; a run that does not end is an error of the test."""
    start = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin.encode(), capture_output=True, check=False,
        timeout=timeout or TIMEOUT, env={**os.environ, **environment})
    # An emulator tells of CPU features that it leaves out.
    errors = "".join(line for line in done.stderr.decode(errors="replace").splitlines(keepends=True)
                     if not line.startswith("qemu-x86_64: warning: "))
    return Result(done.returncode, done.stdout.decode(errors="replace"), errors,
                  time.monotonic() - start)


def split_safetensors(data):
    """The header as an object, and the bytes after it."""
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_safetensors(header, body):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def read_fp32(path, name):
    """A tensor of a safetensors file: shape and values."""
    header, body = split_safetensors(pathlib.Path(path).read_bytes())
    entry = header[name]
    if entry["dtype"] != "F32":
        raise AssertionError(f"{name} is {entry['dtype']}")
    begin, end = entry["data_offsets"]
    values = array.array("f")
    values.frombytes(body[begin:end])
    if sys.byteorder == "big":
        values.byteswap()
    return entry["shape"], values


def golden_folders():
    found = sorted(path.parent for path in GOLDEN.glob("llama*/golden.json"))
    if not found:
        raise AssertionError(f"no golden folders in {GOLDEN}")
    return found


def default_model():
    """The default model's file, or None."""
    cache = os.environ.get("LANNER_CACHE")
    if not cache:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        cache = os.path.join(home, "lanner")
    path = pathlib.Path(cache) / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return path if path.is_file() else None


def assert_golden(test, folder, path, prompt):
    """The logits in the file are the reference's, within the tolerance of tests/golden/README.md."""
    shape, values = read_fp32(path, "logits")
    expected_shape, expected = read_fp32(folder / "golden.safetensors", prompt["logits_key"])
    test.assertEqual(shape, [prompt["length"], expected_shape[1]])
    values = values[len(values) - len(expected) :]  # of a long prompt the reference has the last position
    worst = max(abs(a - b) for a, b in zip(values, expected, strict=True))
    test.assertLessEqual(worst, 1e-4 * max(1.0, prompt["logits_max_abs"]), f"{folder.name} {prompt['name']}")


class TestCase(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lanner_e2e_")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def copy_of(self, name, *, into="model"):
        """A golden folder's model, to be damaged."""
        target = self.folder / into
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path in (GOLDEN / name).iterdir():
            if not path.name.startswith("golden."):
                shutil.copyfile(path, target / path.name)
        return target

    def assert_runs(self, *arguments, **options):
        result = run(*arguments, **options)
        self.assertEqual(result.status, 0, f"{arguments}: {result}")
        return result

    def assert_refused(self, result, names, what):
        """A clean end: a documented exit status and one line that names one of `names`."""
        self.assertIn(result.status, range(1, 11), f"{what}: {result}")
        lines = [line for line in result.err.splitlines() if not line.startswith("hint: ")]
        self.assertEqual(len(lines), 1, f"{what}: {result}")
        self.assertTrue(lines[0].startswith("lanner: error: "), f"{what}: {result}")
        names = [names] if isinstance(names, str) else names
        self.assertTrue(any(name in lines[0] for name in names), f"{what}: none of {names}: {result}")
        self.assertNotEqual(result.status, 10, f"{what}: an internal error: {result}")


def main(arguments=None):
    """Usage: TEST [--timeout SECONDS] PROGRAM... [-- UNITTEST-OPTION...]; the program may be several words."""
    global TIMEOUT
    given = list(sys.argv[1:] if arguments is None else arguments)
    rest = []
    if "--" in given:
        at = given.index("--")
        given, rest = given[:at], given[at + 1 :]
    if given and given[0] == "--timeout":
        TIMEOUT = float(given[1])
        given = given[2:]
    if not given:
        sys.exit("which program?")
    COMMAND[:] = given
    unittest.main(module="__main__", argv=[sys.argv[0], *rest])
