"""What ctypes believes of the headers is what the compiler makes of them."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qdq import _declarations as c

HERE = Path(__file__).resolve().parent
GENERATOR = HERE.parent / "declarations.py"
INCLUDE = HERE.parents[1] / "include"
COMPILER = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

needs_source = pytest.mark.skipif(not INCLUDE.is_dir(), reason="the headers are not beside these tests")
STRUCTS = sorted(
    (
        k
        for k in vars(c).values()
        if isinstance(k, type) and issubclass(k, ctypes.Structure) and k is not ctypes.Structure
    ),
    key=lambda k: k.__name__,
)


@needs_source
def test_generated_file_is_up_to_date():
    done = subprocess.run([sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_source
@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_layouts_and_constants_are_the_compilers(tmp_path):
    lines = [f'#include "{h.name}"' for h in sorted(INCLUDE.glob("qdq*.h"))]
    lines += ["#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    expected = []
    for struct in STRUCTS:
        name = struct.__name__
        lines.append(f'printf("%s %zu\\n", "{name}", sizeof({name}));')
        expected.append(f"{name} {ctypes.sizeof(struct)}")
        for field, _ in struct._fields_:
            at = getattr(struct, field)
            lines.append(f'printf("%s.%s %zu %zu\\n", "{name}", "{field}", offsetof({name}, {field}), ')
            lines.append(f"       sizeof((({name} *)0)->{field}));")
            expected.append(f"{name}.{field} {at.offset} {at.size}")
    for name, value in vars(c).items():
        if name.startswith("QDQ_"):
            lines.append(f'printf("%s %lld\\n", "{name}", (long long){name});')
            expected.append(f"{name} {value}")
    source = tmp_path / "layout.c"
    source.write_text("\n".join([*lines, "}"]))
    subprocess.run([COMPILER, f"-I{INCLUDE}", "-o", str(tmp_path / "layout"), str(source)], check=True)
    assert subprocess.check_output([str(tmp_path / "layout")], text=True).splitlines() == expected
    assert len(STRUCTS) >= 6


@needs_source
@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_functions_take_as_many_arguments_as_declared(tmp_path):
    """A prototype made of our table must not contradict the header's: each argument's and result's size and kind."""
    kinds = {None: "void", ctypes.c_float: "float", ctypes.c_double: "double"}

    def c_type(kind):
        if kind in kinds:
            return kinds[kind]
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
            return kind.__name__
        if kind in (ctypes.c_void_p, ctypes.c_char_p) or not issubclass(kind, ctypes._SimpleCData):
            return "pointer"
        return f"integer {ctypes.sizeof(kind)} {'signed' if kind(-1).value < 0 else 'unsigned'}"

    checks = []
    for name, (result, arguments) in c.FUNCTIONS.items():
        types = [c_type(result), *map(c_type, arguments)]
        names = ["R", *(f"A{k}" for k in range(len(arguments)))]
        pattern = f"template <{', '.join('class ' + n for n in names)}> constexpr bool f_{name}(R (*)("
        pattern += f"{', '.join(names[1:])})) {{ return "
        conditions = []
        for n, t in zip(names, types):
            if t == "void":
                conditions.append(f"is_void<{n}>::value")
            elif t == "pointer":
                conditions.append(f"is_pointer<{n}>::value")
            elif t.startswith("integer"):
                _, size, sign = t.split()
                flag = "" if sign == "signed" else "!"
                conditions.append(f"sizeof({n}) == {size} && {flag}std::is_signed<number<{n}>>::value")
            else:
                conditions.append(f"is_same<{n}, {t}>::value")
        checks.append(pattern + " && ".join(conditions) + f'; }}\nstatic_assert(f_{name}(&{name}), "{name}");')
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    text = "".join(f'#include "{h.name}"\n' for h in sorted(INCLUDE.glob("qdq*.h")))
    text += "#include <type_traits>\nusing namespace std;\n"
    text += "template <class T, bool E = is_enum<T>::value> struct of { using type = T; };\n"
    text += "template <class T> struct of<T, true> { using type = int; };\n"
    text += "template <class T> using number = typename of<T>::type;\n"
    source = tmp_path / "prototypes.cpp"
    source.write_text(text + "\n".join(checks))
    done = subprocess.run(
        [compiler, "-std=c++17", f"-I{INCLUDE}", "-fsyntax-only", str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[:4000]


def test_the_library_has_every_function():
    from qdq._library import lib

    missing = [name for name in c.FUNCTIONS if getattr(lib, name, None) is None]
    assert not missing and len(c.FUNCTIONS) > 100
