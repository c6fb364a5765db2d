#!/bin/sh
# Builds for another system with zig's clang, and tests there what wine can run: cross.sh PRESET [CMAKE-OPTION...]. PRESET is
# windows-x86_64, macos-arm64, macos-x86_64, linux-x86_64 or linux-aarch64. QDQ_ZIG may name zig's program; else it is the one on the PATH, or PyPI's
# comes into build-zig. What cannot be had here is said, and skipped.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
ZIG_VERSION=0.17.1

skip() {
    echo "qdq: $preset: skipped: $1"
    exit 0
}

for tool in cmake ninja pkg-config curl tar; do
    command -v $tool >/dev/null || skip "no $tool"
done
if [ -z "${QDQ_ZIG:-}" ]; then
    QDQ_ZIG=$(command -v zig || true)
fi
if [ -z "$QDQ_ZIG" ]; then
    venv=$PWD/build-zig/python
    if [ ! -x "$venv/bin/python" ]; then
        python3 -m venv "$venv" || skip "python3 makes no environment for zig (Debian: python3-venv)"
    fi
    "$venv/bin/pip" install -q "ziglang==$ZIG_VERSION" || skip "zig cannot be had from PyPI"
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
[ $preset = windows-x86_64 ] && [ "${QDQ_TESTS:-ON}" = ON ] && tests=ON
cmake --preset $preset -DQDQ_BUILD_TESTS=$tests "$@"
cmake --build --preset $preset
[ $tests = ON ] || exit 0
tools/wine.sh build-$preset/qdq.exe --version || {
    [ $? -eq 77 ] && skip "it is built; no wine to test it with"
    exit 1
}
cd build-$preset
# While one of its programs runs, wine starts the next in a tenth of the time.
mkfifo waiting
../tools/wine.sh cmd.exe /c pause <waiting >/dev/null 2>&1 &
exec 9>waiting
rm waiting
status=0
ctest --output-on-failure --no-tests=error -j2 -LE slow || status=$?
exec 9>&-
wait
exit $status
