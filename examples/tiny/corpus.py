"""The text of the example: the King James Version, one verse per line, as ASCII bytes."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
HELD_OUT = 1 << 18  # bytes at the end of the text (from 2 Corinthians 10 on) that training never sees


def read_text(path=None):
    """Return the text as bytes: the file `path`, or what Debian's `bible` prints, less the verse references."""
    if path:
        text = Path(path).read_bytes()
    elif shutil.which("bible"):
        printed = subprocess.run(
            ["bible", "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
        verses = (line.partition(b" ")[2] for line in printed.stdout.splitlines())
        text = b"\n".join(verses) + b"\n"
    else:
        sys.exit("corpus: no command `bible`: `apt-get install bible-kjv`, or give another text with --text FILE")
    if not text.isascii():
        sys.exit("corpus: the text is not plain ASCII, and the model's vocabulary is the 128 ASCII codes")
    if len(text) < 4 * HELD_OUT:
        sys.exit(f"corpus: {len(text)} bytes of text; at least {4 * HELD_OUT} are needed")
    return text


def split(text):
    """Return (training, held-out) token vectors; a token is one byte."""
    tokens = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return tokens[:-HELD_OUT], tokens[-HELD_OUT:]


def windows(tokens, length):
    """Cut tokens into consecutive windows of length + 1 (inputs and their successors), the remainder dropped."""
    return tokens.unfold(0, length + 1, length)


def fingerprint(text):
    """SHA-256 of the text, for the metadata of files that were made from it."""
    return hashlib.sha256(text).hexdigest()
