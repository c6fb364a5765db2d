"""The native command `qdq`, which comes with this package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, List

from ._errors import Error, FileError, InvalidArgument


def path() -> str:
    """The command that was installed with this package, the one that QDQ_COMMAND names, or that of PATH."""
    named = os.environ.get("QDQ_COMMAND")
    if named:
        return named
    name = "qdq.exe" if sys.platform == "win32" else "qdq"
    places = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    found = next((str(Path(p) / name) for p in places if (Path(p) / name).is_file()), None) or shutil.which(name)
    if found is None:
        raise FileError(
            "the command qdq is not installed: install this package's wheel, or set QDQ_COMMAND to its path"
        )
    return found


def run(*arguments: Any) -> str:
    """Runs it and gives what it prints. qdq.Error: it failed, with its own words; qdq.InvalidArgument: these words are
    no command of its."""
    words: List[str] = [path(), *map(str, arguments)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        told = re.sub(r"^qdq: ", "", done.stderr.strip(), flags=re.M)
        told = re.sub(r"\nTry 'qdq .*' *\.?$", "", told)  # that is for people at a terminal
        kind = InvalidArgument if done.returncode == 2 else Error
        raise kind(told or f"qdq {arguments[0]} ended with status {done.returncode}")
    return done.stdout
