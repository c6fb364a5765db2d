#!/usr/bin/env python3
"""Writes qdq/_declarations.py: what the C headers declare, for ctypes.

    python/declarations.py            writes the file
    python/declarations.py --check    says, by the exit status, whether it is up to date

The headers are read as they are written here: an enum, a struct, a callback's type or a function each begin a line, and
lines of `QDQ_API` are functions. Pointers to arrays become c_void_p, so that a call takes plain addresses.
"""

import argparse
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADERS = [HERE.parent / "include" / name for name in ("qdq.h", "qdq_model.h")]
TARGET = HERE / "qdq" / "_declarations.py"

SCALARS = {
    "void": "None",
    "bool": "c_bool",
    "char": "c_char",
    "int": "c_int",
    "uint8_t": "c_uint8",
    "int32_t": "c_int32",
    "uint32_t": "c_uint32",
    "int64_t": "c_int64",
    "uint64_t": "c_uint64",
    "size_t": "c_size_t",
    "float": "c_float",
    "double": "c_double",
}


class Header:
    """What was found so far: names of types, and the lines to write."""

    def __init__(self):
        self.scalars = dict(SCALARS)
        self.structs = set()
        self.opaque = set()
        self.callbacks = set()
        self.constants, self.classes, self.functions = [], [], []

    def type_of(self, text, argument=False):
        """The ctypes type of a C type: "const qdq_buffer *". argument: a pointer to numbers is an address."""
        words = text.replace("*", " * ").split()
        stars = words.count("*")
        names = [w for w in words if w not in ("*", "const", "struct")]
        if len(names) != 1:
            raise ValueError(f"a type that is not understood: {text!r}")
        name = names[0]
        if name in self.callbacks and stars <= 1:
            return name
        if stars == 0:
            if name in self.structs:
                return name
            return self.scalars[name]
        if name == "char" and stars == 1 and "const" in words:
            return "c_char_p"
        if name in self.opaque or name == "void":
            return "c_void_p" if stars == 1 else "POINTER(c_void_p)"
        if name == "char":
            return "POINTER(c_char_p)" if stars == 2 else "c_void_p"
        if name in self.structs:
            return f"POINTER({name})" if stars == 1 else f"POINTER(POINTER({name}))"
        if stars == 1 and argument:
            return "c_void_p"
        return "POINTER(" * stars + self.scalars[name] + ")" * stars

    def parameter(self, text):
        """The type of "const float *x", "uint32_t n" or "void (*release)(void *)"."""
        call = re.fullmatch(r"(.+?)\(\s*\*\s*\w*\s*\)\s*\((.*)\)", text)
        if call:
            return self.callback(call[1], call[2])
        array = re.fullmatch(r"(.+?)(\w+)\[[^\]]*\]", text)
        if array:
            return self.type_of(array[1] + "*", argument=True)
        return self.type_of(
            re.sub(r"(?<=[\s*])\w+$", "", text) if re.search(r"[\s*]\w+$", text) else text, argument=True
        )

    def parameters(self, text):
        text = text.strip()
        return [] if text in ("", "void") else [self.parameter(p.strip()) for p in split(text)]

    def callback(self, result, parameters):
        return f"CFUNCTYPE({', '.join([self.type_of(result)] + self.parameters(parameters))})"

    def read(self, text):
        text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        for name, value in re.findall(r"^#define\s+(QDQ_[A-Z0-9_]+)\s+\(*(?:\w+\))?(-?\d+)\)?\s*$", text, flags=re.M):
            self.constants.append((name, int(value)))
        text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
        text = re.sub(r'extern "C" \{|__attribute__\(\(.*?\)\)\)', "", text)
        text = re.sub(r"\s+", " ", text)
        statement = (
            r" ?(?:typedef enum (?P<enum>\w+) \{(?P<values>[^}]*)\} \w+ ?;"
            r"|enum \{(?P<unnamed>[^}]*)\} ?;"
            r"|typedef struct (?P<struct>\w+) \{(?P<fields>[^}]*)\} \w+ ?;"
            r"|typedef struct (?P<opaque>\w+) \w+ ?;"
            r"|typedef (?P<result>[\w ]+[ *])\( ?\* ?(?P<callback>\w+) ?\) ?\((?P<takes>[^;]*)\) ?;"
            r"|typedef (?P<function_result>[\w ]+?[ *]+)(?P<function_type>\w+)\((?P<function_takes>[^;]*)\) ?;"
            r"|typedef (?P<old>\w+) (?P<new>\w+) ?;"
            r"|QDQ_API (?P<gives>[\w ]+?[ *]+)(?P<function>qdq_\w+)\((?P<parameters>[^;]*)\) ?;"
            r"|(?P<other>[^;]*;|[^;]+$))"
        )
        for m in re.finditer(statement, text):
            if m["enum"]:
                self.add_enum(m["enum"], m["values"])
            elif m["unnamed"]:
                self.add_enum("", m["unnamed"])
            elif m["struct"]:
                self.add_struct(m["struct"], m["fields"])
            elif m["opaque"]:
                self.opaque.add(m["opaque"])
            elif m["callback"]:
                self.callbacks.add(m["callback"])
                self.classes.append(f"{m['callback']} = {self.callback(m['result'], m['takes'])}")
            elif m["function_type"]:
                self.callbacks.add(m["function_type"])
                made = self.callback(m["function_result"], m["function_takes"])
                self.classes.append(f"{m['function_type']} = {made}")
            elif m["new"]:
                self.scalars[m["new"]] = self.scalars[m["old"]]
            elif m["function"] and m["parameters"].rstrip().endswith("..."):
                pass  # ctypes has no types for what a call gives it
            elif m["function"]:
                takes = "".join(f"{p}, " for p in self.parameters(m["parameters"]))
                self.functions.append(f'    "{m["function"]}": ({self.type_of(m["gives"])}, ({takes.rstrip()})),')
            elif m["other"].strip(" };"):
                raise ValueError(f"a declaration that is not understood: {m['other'].strip()!r}")

    def add_enum(self, name, values):
        self.scalars[name] = "c_int"
        following = 0
        for item in filter(None, map(str.strip, values.split(","))):
            key, _, value = map(str.strip, item.partition("="))
            following = int(value, 0) if value else following
            self.constants.append((key, following))
            following += 1

    def add_struct(self, name, fields):
        self.structs.add(name)
        lines = [f"class {name}(Structure):", "    _fields_ = ["]
        for field in filter(None, map(str.strip, split(fields, ";"))):
            for key, kind in self.fields(field):
                lines.append(f'        ("{key}", {kind}),')
        self.classes.append("\n".join([*lines, "    ]"]))

    def fields(self, text):
        call = re.fullmatch(r"(.+?)\( ?\* ?(\w+) ?\) ?\((.*)\)", text)
        if call:
            return [(call[2], self.callback(call[1], call[3]))]
        first, *others = split(text)
        whole = re.fullmatch(r"((?:const |struct )*\w+)((?:\*| |const\b)*)\b(\w+)(\[\w+\])?", first)
        base, stars, name, extent = whole.groups()
        found = []
        for part in [f"{stars}{name}{extent or ''}", *others]:
            pointer, key, extent = re.fullmatch(r" ?([* ]*)(\w+)(?:\[(\w+)\])?", part.replace("const", "")).groups()
            kind = self.type_of(base + pointer)
            if extent:
                kind = f"{kind} * {extent if extent.isdigit() else dict(self.constants)[extent]}"
            found.append((key, kind))
        return found


def split(text, separator=","):
    """At separators outside parentheses."""
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return parts


def write(headers):
    found = Header()
    for header in headers:
        found.read(header.read_text(encoding="utf-8"))
    constants = [f"{name} = {value}" for name, value in found.constants]
    body = "\n".join(constants) + "\n\n\n" + "\n\n\n".join(found.classes)
    body += "\n\n\n# What a function gives, and what it takes.\nFUNCTIONS = {\n" + "\n".join(found.functions) + "\n}\n"
    used = sorted(set(re.findall(r"\b(CFUNCTYPE|POINTER|Structure|c_[a-z0-9_]+)\b", body)))
    names = " and ".join(f"include/{h.name}" for h in headers)
    return (
        f'"""Made from {names} by declarations.py; not to be edited."""\n\n'
        f"# fmt: off\n# ruff: noqa\nfrom ctypes import {', '.join(used)}\n\n{body}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is out of date")
    check = parser.parse_args().check
    text = write([h for h in HEADERS if h.exists()])
    if not check:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{TARGET}: the headers have changed: run python/declarations.py")


if __name__ == "__main__":
    main()
