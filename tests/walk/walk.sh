#!/bin/sh
# A stranger's walk: in a copy of the project, adds a format by the steps of CONTRIBUTING.md and nothing else, and sees
# that all of it works; then that a format which says what is not so does not build.
#
#   walk.sh PROJECT WORK COMPILER     WORK: a folder that is made anew
#
# The copy keeps four of the project's formats, so that it builds in a minute.
set -eu
project=$1 work=$2 compiler=$3
here=$project/tests/walk

fail() {
    echo "walk: $*" >&2
    exit 1
}
# $1 has each of the other arguments in it.
holds() {
    file=$1
    shift
    for text in "$@"; do
        grep -qF -- "$text" "$file" || { cat "$file" >&2; fail "$file has no '$text'"; }
    done
}

rm -rf "$work"
mkdir -p "$work/copy"
for part in CMakeLists.txt cmake include src tests tools fuzz examples; do cp -R "$project/$part" "$work/copy/"; done
cd "$work/copy"
grep -vE '^FORMAT\(' src/formats/formats.def >formats.def.new || true
grep -E '^FORMAT\((q4_0|q4_1|q5_1|q8_0),' src/formats/formats.def >>formats.def.new
mv formats.def.new src/formats/formats.def
find . -type f | sort | xargs cksum >../before

# 1. the format's file; 2. its row
cp "$here/toy6.h" src/formats/toy6.h
echo 'FORMAT(toy6,    1000,      1000)' >>src/formats/formats.def
launcher=
if command -v ccache >/dev/null; then launcher=-DCMAKE_C_COMPILER_LAUNCHER=ccache; fi
cmake -S . -B ../build -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$compiler" -DQDQ_CUDA=OFF -DQDQ_WERROR=ON $launcher \
    ${QDQ_WALK_GENERATOR:+-G "$QDQ_WALK_GENERATOR"} >../configure.log || { cat ../configure.log >&2; fail "it does not configure"; }
build() { cmake --build ../build -j 2 --target "$@" >../build.log 2>&1; }
build qdq_command golden golden_data core_test || { cat ../build.log >&2; fail "it does not build"; }

# 3. the golden data
BUILD=../build tools/golden_data.sh toy6 >../golden.log 2>&1 || { cat ../golden.log >&2; fail "no golden data"; }
find . -type f | sort | xargs cksum >../after
diff ../before ../after | sed -n 's/^[<>] [0-9]* [0-9]* //p' | sort -u >../touched
printf '%s\n' ./src/formats/formats.def ./src/formats/toy6.h ./tests/data/golden.txt ./tests/data/toy6.blk \
    ./tests/data/overflow.txt ./tests/data/toy6.imatrix.blk ./tests/data/values.txt | sort | diff - ../touched >&2 || fail "other files were touched"

# Every tier has the same bits, and those of the golden data.
holds tests/data/golden.txt 'toy6     roundtrip' 'toy6     dequantize'
(cd ../build && ctest --output-on-failure --no-tests=error -R '^(golden_mask_.*|core_test)$' >../ctest.log) ||
    { cat ../ctest.log >&2; fail "other bits"; }
# Vulkan's modules, which the build has validated, where there is a compiler for them.
if grep -q 'Vulkan: left out' ../configure.log; then
    echo "walk: no Vulkan here"
else
    [ -s ../build/src/backends/vulkan/toy6.spv ] || fail "no SPIR-V of toy6"
fi

# Every command takes it.
qdq=../build/qdq
model=examples/tiny/model.safetensors
run() {
    $qdq "$@" >../command.log 2>&1 || { cat ../command.log >&2; fail "qdq $* failed"; }
}
run formats
holds ../command.log toy6 6.5
run error -f toy6,q8_0 -d cpu $model
holds ../command.log toy6
run roundtrip -f toy6 -d cpu $model -o ../roundtrip.safetensors
run sensitivity --low toy6 --high q8_0 --grad examples/tiny/gradients.safetensors -d cpu $model
run quantize -f toy6 -d cpu $model -o ../toy6.gguf
# The file opens again: only what was not quantized may be.
$qdq error -f q8_0 -d cpu ../toy6.gguf >../command.log 2>&1 || true
holds ../command.log toy6 'is already quantized'
run plan --target 6bpw --formats toy6,q4_0 --score error -d cpu $model -o ../plan.json
holds ../plan.json toy6
run quantize --plan ../plan.json -d cpu $model -o ../planned.gguf
run selftest --quick -f toy6 -d cpu

# What is not so does not build, and the message names the fact.
wrong() {
    sed "$1" "$here/toy6.h" >src/formats/toy6.h
    ! build qdq || fail "a format with $2 wrong builds"
    holds ../build.log "$2"
}
wrong 's/toy6_BYTES .*/toy6_BYTES 24/' toy6_BYTES
wrong 's/toy6_BYTES .*/toy6_BYTES 28/' toy6_BYTES
wrong 's/toy6_HEADS .*/toy6_HEADS 9/' toy6_HEADS
wrong 's/HEAD(h, 0, 0)/HEAD(h, 1, 0)/' toy6_HEADS
wrong 's/toy6_LANES .*/toy6_LANES 3/' toy6_LANES
wrong '/toy6_SHARED/d' toy6_SHARED
wrong 's/signed_code(x \* p.inverse, 32.0f)/signed_code(x * p.inverse, 512.0f) * 16.0f/' toy6_code
echo "walk: a format was added, with its row and one command"
