"""Includes run one way, as CONTRIBUTING.md has it: includes_test.py PATH/TO/PROJECT [unittest's options]."""

import os
import re
import sys
import unittest

# A room may include what stands in rooms further down, and its own; rooms of one line do not include each other.
LEVELS = [
    ["dialect"],
    ["sources", "formats"],
    ["base"],
    ["backends"],
    ["api", "files"],
    ["model"],
    ["plan", "proof"],
    ["cli"],
    ["mpi"],
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# The public headers, and the rooms that may know them.
PUBLIC = {
    "qdq.h": {"base", "backends", "api", "files", "model", "plan", "proof", "cli"},
    "qdq_model.h": {"files", "model", "plan", "cli"},
}

# What the build makes.
GENERATED = {"every_format.h": "formats", "every_source.h": "sources", "light_formats.h": "formats"}

# What the system gives is for the command, too.
PLATFORM = {"base/platform.h", "base/platform_files.h", "base/platform_command.h"}

# The rooms of libqdq_model, on which those of libqdq do not stand.
MODEL = {"files", "model", "plan"}

# Headers of one operating system, which src/base/platform_*.c alone may include, and platform.h for the types of threads.
SYSTEM = re.compile(
    r"^[ \t]*#[ \t]*include[ \t]*<(unistd|pthread|sched|fcntl|dlfcn|dirent|poll|spawn|termios|pwd|regex|glob|"
    r"fnmatch|ftw|io|conio|direct|process|windows|winbase|sys/\w+|mach/\w+|mach-o/\w+)\.h>", re.MULTILINE)
SYSTEM_CALLS = re.compile(r"\b(sysconf|mmap|munmap|isatty|fileno|dlopen|dlsym|pread|pwrite|fsync|mkstemp|clock_gettime|"
                          r"strndup|strsep|strtok_r|getline|open_memstream|asprintf)\(")

SOURCE = re.compile(r"\.(c|h|cu|cuh|glsl|comp|def|metal)$")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def room_of(path):
    return path.split("/")[0]


def found(files, path, name):
    """What `name` is when `path` includes it: a path below src/, a public header, or None."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
    for candidate in [beside, name]:
        if candidate in files:
            return candidate
    return name if name in PUBLIC or name in GENERATED else None


def may_include(path, what):
    """Whether src/path may include src/what, or the public header."""
    room = room_of(path)
    if what in PUBLIC:
        return room in PUBLIC[what]
    other = GENERATED.get(what) or room_of(what)
    if room in ("cli", "mpi"):
        return other in ("cli", room) or what in PLATFORM
    if room == "proof" and other in MODEL:
        return False
    if room == other == "backends":  # one backend knows nothing of another, and what they share of none
        below = what.split("/")[1:-1]
        return not below or below == path.split("/")[1:-1]
    return room == other or LEVEL[room] > LEVEL[other]


def complaints(files):
    """Of a dictionary from paths below src/ to texts."""
    said = []
    for path in sorted(files):
        for name in INCLUDE.findall(files[path]):
            what = found(files, path, name)
            if what is None:
                said.append('src/%s includes "%s", which is no file of src/, include/ or the build' % (path, name))
            elif not may_include(path, what):
                said.append('src/%s includes "%s", which is not below it' % (path, name))
    return said


def system_complaints(files):
    said = []
    for path in sorted(files):
        own = re.fullmatch(r"base/platform(_\w+\.c|(_windows)?\.h)", path) or path.startswith("backends/vulkan/spirv_embed")
        text = "" if own else re.sub(r"/\*.*?\*/", "", files[path], flags=re.DOTALL)
        for found_text in SYSTEM.findall(text) + SYSTEM_CALLS.findall(text):
            said.append("src/%s has %s, which is for src/base/platform_*.c alone" % (path, found_text))
    return said


class TestRules(unittest.TestCase):
    def judge(self, path, text, *others):
        files = {other: "" for other in others}
        files[path] = text
        return complaints(files)

    def test_upwards_is_refused(self):
        for path, other in [
            ("base/pool.c", "backends/backend.h"),
            ("formats/q4_0.h", "base/bits.h"),
            ("dialect/exact.h", "formats/fits.h"),
            ("backends/cuda/cuda.c", "api/device.h"),
            ("files/gguf.c", "model/pass.h"),
            ("files/gguf.c", "api/device.h"),
            ("plan/planner.c", "proof/proofs.h"),
            ("proof/proofs.c", "cli/json.h"),
            ("proof/proofs.c", "files/files.h"),
            ("cli/command_selftest.c", "proof/comparison.h"),
            ("cli/main.c", "base/bits.h"),
            ("backends/vulkan/vulkan.c", "backends/cpu/cpu_kernels.h"),
            ("backends/lower.c", "backends/cuda/args.h"),
            ("cli/main.c", "model/selection_of_mine.h"),
        ]:
            self.assertEqual(len(self.judge(path, '#  include "%s"\n' % other, other)), 1, path)
            beside = os.path.relpath(other, os.path.dirname(path))
            self.assertEqual(len(self.judge(path, '\n#include "%s"\n' % beside, other)), 1, path)

    def test_public_headers_have_their_rooms(self):
        self.assertEqual(len(self.judge("formats/q4_0.h", '#include "qdq.h"')), 1)
        self.assertEqual(len(self.judge("api/device.c", '#include "qdq_model.h"')), 1)
        self.assertEqual(self.judge("base/error.h", '#include "qdq.h"'), [])
        self.assertEqual(len(self.judge("proof/proofs.c", '#include "qdq_model.h"')), 1)
        self.assertEqual(self.judge("cli/main.c", '#include "qdq_model.h"'), [])

    def test_downwards_and_beside_are_taken(self):
        self.assertEqual(self.judge("api/device.c", '#include "backends/cpu/a.h"', "backends/cpu/a.h"), [])
        self.assertEqual(self.judge("backends/cpu/a.c", '#include "backends/b.h"', "backends/b.h"), [])
        self.assertEqual(self.judge("files/a.c", '#include "internal.h"', "files/internal.h"), [])
        self.assertEqual(self.judge("files/a.c", '#include "../base/b.h"', "base/b.h"), [])

    def test_what_is_nowhere_is_said(self):
        self.assertIn("no file", self.judge("files/a.c", '#include "b.h"')[0])


class TestSystems(unittest.TestCase):
    def test_a_system_is_asked_by_the_platform_alone(self):
        for text in ["#include <unistd.h>", " # include <sys/stat.h>", "#include <pthread.h>", "n = sysconf(_SC_PAGESIZE);"]:
            self.assertEqual(len(system_complaints({"files/map.c": text + "\n"})), 1, text)
            self.assertEqual(system_complaints({"base/platform_posix.c": text + "\n"}), [])
        self.assertEqual(system_complaints({"files/map.c": "#include <string.h>\nqdq_file_open(path);\n"}), [])


class TestTree(unittest.TestCase):
    def test_includes_run_downwards(self):
        top = os.path.join(PROJECT, "src")
        files = {}
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                if SOURCE.search(name):
                    with open(path, encoding="utf-8") as file:
                        files[os.path.relpath(path, top).replace(os.sep, "/")] = file.read()
        self.assertGreater(len(files), 100)
        self.assertEqual({room_of(path) for path in files} - set(LEVEL), set(), "a room that LEVELS does not have")
        self.assertEqual(complaints(files), [])
        self.assertEqual(system_complaints(files), [])
        basenames = sorted(os.path.basename(path) for path in files)
        self.assertEqual([b for a, b in zip(basenames, basenames[1:]) if a == b], [], "names that stand twice")


if __name__ == "__main__":
    PROJECT = sys.argv.pop(1)
    unittest.main()
