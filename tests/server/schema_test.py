# SPDX-License-Identifier: Apache-2.0
"""schema_test.py PROGRAM [--examples N]: schemathesis reads /openapi.json and asks with data that fits it and data that
does not; no answer may be one that the document does not name."""

import subprocess
import sys
import tempfile

try:
    import schemathesis  # noqa: F401
except ImportError:
    print("skipped: the schemathesis package is not here; tests/server/make_venv.sh installs it")
    sys.exit(77)

from harness import Server, program

PROGRAM = program()
EXAMPLES = "8"
if "--examples" in sys.argv:
    EXAMPLES = sys.argv[sys.argv.index("--examples") + 1]

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection"

with Server(PROGRAM, "--limit", "requests_per_key=100000", "--limit", "max_tokens=64", model="step_us=0,sequences=64,context=100000") as server, \
        tempfile.TemporaryDirectory() as folder:  # schemathesis keeps notes where it is run
    result = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json",
         "--checks", CHECKS, "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--seed", "1",
         "--exclude-path", "/health", "--request-timeout", "60"], check=False, cwd=folder)
    assert server.alive(), "the server has died"
    sys.exit(result.returncode)
