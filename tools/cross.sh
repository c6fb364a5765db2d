#!/bin/sh
# Builds for another system with zig's clang, and tests there what wine can run: cross.sh PRESET [CMAKE-OPTION...].
# PRESET is windows-x86_64, macos-arm64, macos-x86_64, linux-x86_64 or linux-aarch64.
#
#   QDQ_ZIG      zig's program; else it is the one on the PATH, or PyPI's comes into build-zig
#   QDQ_TESTS    for Windows: all (as without it), essential (the tests that are not labelled long or slow), or none
#
# What cannot be had here, zig or wine, is said, and is a failure.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
ZIG_VERSION=0.17.1

fail() {
    echo "qdq: $preset: $1" >&2
    exit 1
}

for tool in cmake ninja pkg-config curl tar; do
    command -v $tool >/dev/null || fail "no $tool here"
done
if [ -z "${QDQ_ZIG:-}" ]; then
    QDQ_ZIG=$(command -v zig || true)
fi
if [ -z "$QDQ_ZIG" ]; then
    venv=$PWD/build-zig/python
    if [ ! -x "$venv/bin/python" ]; then
        python3 -m venv "$venv" || fail "python3 makes no environment for zig (Debian: python3-venv)"
    fi
    "$venv/bin/pip" install -q --retries 2 --timeout 30 "ziglang==$ZIG_VERSION" ||
        fail "zig $ZIG_VERSION cannot be had from PyPI (ziglang); QDQ_ZIG may name one that is here"
    QDQ_ZIG=$("$venv/bin/python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
fi
export QDQ_ZIG
# Kept between builds: zig makes the other system's C library, once.
: "${ZIG_GLOBAL_CACHE_DIR:=$PWD/build-zig/cache}"
export ZIG_GLOBAL_CACHE_DIR

case $preset in
windows-x86_64) target=x86_64-windows-gnu ;;
macos-arm64) target=aarch64-macos.13.0 ;;
macos-x86_64) target=x86_64-macos.13.0 ;;
linux-x86_64) target=x86_64-linux-gnu.2.28 ;;
linux-aarch64) target=aarch64-linux-gnu.2.28 ;;
*) echo "usage: cross.sh windows-x86_64|macos-arm64|macos-x86_64|linux-x86_64|linux-aarch64 [CMAKE-OPTION...]" >&2 && exit 2 ;;
esac
tools/cross_libraries.sh $target build-cross/$target
tests=OFF
[ $preset = windows-x86_64 ] && [ "${QDQ_TESTS:-all}" != none ] && tests=ON
rm -f build-$preset/CMakeCache.txt # what was asked for another time is not asked for now
cmake --preset $preset -DQDQ_BUILD_TESTS=$tests "$@"
cmake --build --preset $preset
[ $tests = ON ] || exit 0

# The first start makes a folder of Windows' files.
timeout 300 tools/wine.sh build-$preset/qdq.exe --version || {
    case $? in
    77) fail "it is built, but there is no wine to test it with (Debian: wine64)" ;;
    *) fail "it is built, but does not start under wine" ;;
    esac
}
cd build-$preset
# While one of its programs runs, wine starts the next in a tenth of the time.
rm -f waiting
mkfifo waiting
../tools/wine.sh cmd.exe /c pause <waiting >/dev/null 2>&1 &
exec 9>waiting
rm waiting
left_out=
[ "${QDQ_TESTS:-all}" = all ] || left_out='-LE long|slow'
status=0
ctest --output-on-failure --no-tests=error -j2 $left_out || status=$?
exec 9>&-
wait
exit $status
