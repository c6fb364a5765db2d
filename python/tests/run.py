"""These tests on a build: run.py LIBRARY COMMAND [pytest's options]. Exit status 77: numpy or pytest is missing."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
missing = [name for name in ("numpy", "pytest") if importlib.util.find_spec(name) is None]
if missing or sys.version_info < (3, 9):
    print("the Python package is not tested, this Python lacks:", ", ".join(missing) or "what 3.9 brought")
    sys.exit(77)
library, command, *options = sys.argv[1:]
environment = {**os.environ, "QDQ_LIBRARY": library, "QDQ_COMMAND": command, "PYTHONPATH": str(here.parent)}
arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(here)]
sys.exit(subprocess.run(arguments, env=environment).returncode)
