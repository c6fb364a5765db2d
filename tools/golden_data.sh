#!/bin/sh
# Makes the golden data of a format in tests/data: FORMAT.blk, FORMAT.imatrix.blk, its lines of values.txt and
# overflow.txt, and golden.txt anew. Run it in the project's folder after a build.
#
#   tools/golden_data.sh FORMAT [LIBRARY]   LIBRARY: a libggml-base.so, which makes them where it has the format
#
# BUILD: the build's folder, build by default.
set -eu
build=${BUILD:-build}
cmake --build "$build" --target golden golden_data
"$build/tests/golden_data" tests/data "$@"
QDQ_CPU_MASK=1 "$build/tests/golden" >tests/data/golden.txt.new
mv tests/data/golden.txt.new tests/data/golden.txt
echo "golden.txt: made by portable C"
