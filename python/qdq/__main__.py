"""`python -m qdq`: `optimize` is of this package, every other word goes to the native command."""

import os
import sys

from . import _command, _optimize


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["optimize"]:
        return _optimize.main(arguments[1:])
    command = _command.path()
    if sys.platform == "win32":
        import subprocess

        return subprocess.run([command, *arguments]).returncode
    os.execv(command, [command, *arguments])


if __name__ == "__main__":
    sys.exit(main())
