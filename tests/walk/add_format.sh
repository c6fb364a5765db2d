# "Adding a format", as walk.sh runs it.
note_files

# 1. the format's file; 2. its row
cp "$here/toy6.h" src/formats/toy6.h
echo 'FORMAT(toy6,    1000,      1000)' >>src/formats/formats.def
configure
try_build qdq_command golden golden_data core_test

# 3. the golden data
BUILD=../build tools/golden_data.sh toy6 >../golden.log 2>&1 || { cat ../golden.log >&2; fail "no golden data"; }
only_touched src/formats/formats.def src/formats/toy6.h tests/data/golden.txt tests/data/toy6.blk \
    tests/data/overflow.txt tests/data/toy6.imatrix.blk tests/data/values.txt

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
wrong() { wrong_in formats/toy6.h "$@"; }
wrong 's/toy6_BYTES .*/toy6_BYTES 24/' toy6_BYTES
wrong 's/toy6_BYTES .*/toy6_BYTES 28/' toy6_BYTES
wrong 's/toy6_HEADS .*/toy6_HEADS 9/' toy6_HEADS
wrong 's/HEAD(h, 0, 0)/HEAD(h, 1, 0)/' toy6_HEADS
wrong 's/toy6_LANES .*/toy6_LANES 3/' toy6_LANES
wrong '/toy6_SHARED/d' toy6_SHARED
wrong 's/signed_code(x \* p.inverse, 32.0f)/signed_code(x * p.inverse, 512.0f) * 16.0f/' toy6_code
cp "$here/toy6.h" src/formats/toy6.h
echo "walk: a format was added, with its row and one command"
