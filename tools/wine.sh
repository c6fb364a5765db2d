#!/bin/sh
# Runs a program of Windows under wine: wine.sh PROGRAM.exe [ARGUMENT...]. Debian's package is wine64. Exit status 77 says
# that there is no wine.
for wine in "${QDQ_WINE:-}" wine64 /usr/lib/wine/wine64 wine; do
    [ -n "$wine" ] && command -v "$wine" >/dev/null || continue
    : "${WINEPREFIX:=$(cd "$(dirname "$0")/.." && pwd)/build-zig/wine}" # some hundred MB
    mkdir -p "${WINEPREFIX%/*}"
    : "${WINEDEBUG:=-all}"
    # No window, no installer, no association of files: a command needs none of it. Nor Vulkan: who opens it starts a
    # desktop, which stays, and holds the output that a test waits for the end of.
    : "${WINEDLLOVERRIDES:=mscoree,mshtml,winemenubuilder.exe,vulkan-1=}"
    export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
    # Where addresses are chosen at random, one start of some thousand finds a place taken that it must have.
    setarch -R true 2>/dev/null && exec setarch -R "$wine" "$@"
    exec "$wine" "$@"
done
echo "qdq: no wine here (Debian: wine64)" >&2
exit 77
