#!/usr/bin/env python3
"""What of llama.cpp that this project follows has changed: llama_changes.py [--record VERSION] CHECKOUT.

CHECKOUT: a folder of llama.cpp, or of an unpacked llama-cpp-python package, which has one inside. Its functions, tables
and rules that are followed here, file by file, are compared with those of the version that was looked at last, of which
tools/llama_watch.txt has a hash each: of the text without comments and white space. Told are those that are changed, new
or gone; the exit status is 1 then, 2 if the folder is none of llama.cpp's.

--record VERSION: writes tools/llama_watch.txt anew, once what is new has been looked at.
"""

import argparse
import hashlib
import os
import re
import sys

# What is followed: in these files, the items whose names match. What depends on it here is said beside.
FOLLOWED = [
    # src/formats: searches and packing, and how blocks are decoded
    ("ggml/src/ggml-quants.c", r"(quantize|dequantize)_|make_|nearest_int|best_index|iq\w+_(find|init|compare|quant|entry|data)|"
                               r"sort|compare|find_best|GROUP_MAX|Q\dK_SCALE|QK"),
    ("ggml/src/ggml-common.h", r"block_|QK|kvalues|ksigns|kmask|iq\w*grid|kgrid|IQ\dS_|IQ\dM_|NGRID"),
    ("ggml/src/ggml.c", r"ggml_quantize|type_traits"),
    # src/base, src/files: types, and the layout of GGUF
    ("ggml/include/ggml.h", r"enum ggml_type|enum ggml_ftype|GGML_MAX_NAME|GGML_MAX_DIMS"),
    ("ggml/src/gguf.cpp", r"."),
    # src/model/llama_rules.c, rules_model.c, mixtures.c, type_file.c, targets.c, metadata.c
    ("src/llama-quant.cpp", r"."),
    ("include/llama.h", r"enum llama_ftype|llama_model_quantize_params"),
    ("tools/quantize/quantize.cpp", r"."),
    # src/files/imatrix.c, imatrix_write.c
    ("common/imatrix-loader.cpp", r"."),
    ("tools/imatrix/imatrix.cpp", r"save_imatrix|load_imatrix|compute_statistics"),
]

WATCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_watch.txt")

TOKEN = re.compile(r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<directive>^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)
  | (?P<text>R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)"|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<word>[A-Za-z_]\w*|\.?\d(?:[\w.']|[eEpP][+-])*)
  | (?P<sign>[^\s])
""", re.X | re.S | re.M)


def tokens(text):
    for match in TOKEN.finditer(text):
        kind = match.lastgroup if match.lastgroup != "mark" else "text"
        if kind != "comment":
            begins = match.start() == 0 or text[match.start() - 1] == "\n"
            yield kind, " ".join(match.group().split()) if kind == "directive" else match.group(), begins


def name_of(item):
    """Of a definition's tokens: the function, the table, the type; None where it is none."""
    words = [t for _, t in item]
    if words[0] == "#":
        return None
    if item[0][0] == "directive":
        found = re.match(r"# ?define (\w+)", words[0])
        return found.group(1) if found else None
    if words[0] == "GGML_TABLE_BEGIN":
        return words[4] if len(words) > 4 else None
    before = words[:words.index("{")] if "{" in words else words
    if "=" in before:
        before = before[:before.index("=")]
        table = [w for w in before if re.match(r"[A-Za-z_]\w*$", w)]
        if "[" in before:
            return before[before.index("[") - 1]
        return table[-1] if table else None
    if "{" not in words:
        return None  # a declaration
    if before[:1] == ["typedef"] and words[-1] == ";":
        return words[-2]
    if "(" in before:
        at = before.index("(")
        name = before[at - 1] if at else None
        while at >= 3 and before[at - 2] == ":" and before[at - 3] == ":":  # Class::method
            at -= 3
            name = before[at - 1] + "::" + name
        return name
    for word in ("enum", "struct", "class", "union"):
        if word in before:
            rest = [w for w in before[before.index(word) + 1:] if w not in ("class", "struct", ":")]
            return "%s %s" % (word, rest[0]) if rest else None
    return None


def items(text):
    """Name and tokens of each definition at the outermost level; namespaces and extern "C" are no level."""
    item, depth, closes_at_brace = [], 0, True
    for kind, token, begins_line in tokens(text):
        if kind == "directive" and depth == 0 and not item:
            yield name_of([(kind, token)]), [token]
            continue
        if not item and token in ("}", ";"):
            continue  # the end of a namespace
        if not item:
            closes_at_brace = True
        item.append((kind, token))
        if kind == "directive":
            continue
        if depth == 0 and token == "{":
            words = [t for _, t in item]
            if words[0] == "namespace" or words[:2] == ["extern", '"C"']:
                item = []
                continue
            # A table's or a type's braces are followed by a semicolon.
            closes_at_brace = "=" not in words and ("(" in words or words[0] not in ("typedef", "struct", "enum", "class", "union"))
        if item[0][1] == "GGML_TABLE_BEGIN":
            if token == "GGML_TABLE_END":
                yield name_of(item), [t for _, t in item]
                item = []
            continue
        if kind == "sign":
            depth = max(depth + (token in "({[") - (token in ")}]"), 0)
        if token == "}" and begins_line:
            depth = 0  # whatever braces the branches of an #if have opened
        if depth == 0 and (token == ";" or (token == "}" and closes_at_brace)):
            yield name_of(item), [t for _, t in item]
            item = []


def hashes(path, pattern):
    """Name -> hash; of several of one name, as overloads, in their order."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    found = {}
    for name, words in items(text):
        if name is not None and re.search(pattern, name):
            found[name] = found.get(name, "") + "\0" + " ".join(words)
    return {name: hashlib.sha256(t.encode("utf-8", "surrogateescape")).hexdigest()[:16] for name, t in found.items()}


def find_root(folder):
    for root in (folder, os.path.join(folder, "vendor", "llama.cpp")):
        if os.path.exists(os.path.join(root, FOLLOWED[0][0])):
            return root
    raise FileNotFoundError("%s is no llama.cpp: it has no %s" % (folder, FOLLOWED[0][0]))


def take(root):
    return {path: hashes(os.path.join(root, path), pattern) if os.path.exists(os.path.join(root, path)) else {}
            for path, pattern in FOLLOWED}


def read_watch(path):
    version, known = "", {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if line.startswith("# version "):
                version = " ".join(words[2:])
            elif words and not line.startswith("#"):
                known.setdefault(words[0], {})[" ".join(words[2:])] = words[1]
    return version, known


def write_watch(path, version, taken):
    with open(path, "w", encoding="utf-8") as file:
        file.write("# Hashes of what is followed of llama.cpp: file, hash, name; by tools/llama_changes.py --record.\n")
        file.write("# version %s\n" % version)
        for name in taken:
            for item, value in sorted(taken[name].items()):
                file.write("%s %s %s\n" % (name, value, item))


def changes(known, taken):
    for path in taken:
        old, new = known.get(path, {}), taken[path]
        for item in sorted(set(old) | set(new)):
            if old.get(item) != new.get(item):
                yield path, item, "changed" if item in old and item in new else "new" if item in new else "gone"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("--record", metavar="VERSION", help="write the hashes anew, as those of that version")
    parser.add_argument("--watch", default=WATCH, help="the file of hashes")
    arguments = parser.parse_args()
    taken = take(find_root(arguments.checkout))
    if arguments.record:
        write_watch(arguments.watch, arguments.record, taken)
        print("%d items of %d files" % (sum(map(len, taken.values())), len(taken)))
        return 0
    version, known = read_watch(arguments.watch)
    found = list(changes(known, taken))
    for path, item, what in found:
        print("%-8s %-30s %s" % (what, path, item))
    print("%d of %d items differ from %s" % (len(found), sum(map(len, known.values())), version))
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print("llama_changes: %s" % error, file=sys.stderr)
        sys.exit(2)
