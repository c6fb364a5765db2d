# "Adding a source", as walk.sh runs it.
note_files

# 1. the source's file; 2. its row
cp "$here/toy8.h" src/sources/toy8.h
echo 'SOURCE(toy8, 4,         1001,      1001,           TOY8)' >>src/sources/sources.def
configure
try_build qdq_command
only_touched src/sources/sources.def src/sources/toy8.h

# A model of it: whole tiles, and a tensor that is less than one, from an odd byte on. Every finite element occurs.
header='{"a.weight":{"dtype":"TOY8","shape":[8,256],"data_offsets":[0,2048]},"aa.odd":{"dtype":"TOY8","shape":[7],'
header=$header'"data_offsets":[2048,2055]},"b.weight":{"dtype":"TOY8","shape":[5,32],"data_offsets":[2055,2215]}}'
{
    printf "\\$(printf %o ${#header})\\0\\0\\0\\0\\0\\0\\0%s" "$header"
    i=0
    while [ $i -lt 2215 ]; do
        byte=$((i * 37 % 256))
        if [ $((byte & 0x7c)) -eq $((0x7c)) ]; then byte=$((byte & 0x83)); fi
        printf "\\$(printf %03o $byte)"
        i=$((i + 1))
    done
} >../toy8.safetensors
toy8=../toy8.safetensors

# The same values as floats give the same errors, on every tier.
run quantize -f f32 -d cpu $toy8 -o ../toy8_f32.gguf
run error -f q8_0,q4_1 -d cpu --json ../floats.json ../toy8_f32.gguf
for mask in 1 3 7 15; do
    run error -f q8_0,q4_1 -d cpu --cpu-mask $mask --json ../bytes.json $toy8
    diff ../floats.json ../bytes.json || fail "other errors of TOY8 than of F32 with --cpu-mask $mask"
done
holds ../bytes.json a.weight b.weight
run roundtrip -f q8_0 --dtype source -d cpu $toy8 -o ../low8.safetensors
holds ../low8.safetensors '"TOY8"'
run error -f q8_0 -d cpu ../low8.safetensors
run quantize -f q8_0 -d cpu $toy8 -o ../toy8.gguf
$qdq error -f q8_0 -d cpu ../toy8.gguf >../command.log 2>&1 || true
holds ../command.log 'is already quantized'
run quantize -f q8_0 -d cpu ../toy8_f32.gguf -o ../again.gguf
cmp ../toy8.gguf ../again.gguf || fail "other blocks of TOY8 than of F32"
run sensitivity --low q4_0 --high q8_0 --grad $toy8 -d cpu --json ../sensitivity.json $toy8
run formats

# It is a format, too: what it makes of itself is itself.
run quantize -f toy8 -d cpu ../toy8_f32.gguf -o ../itself.gguf
run error -f toy8 -d cpu --json ../itself.json $toy8
holds ../itself.json '"rmse": 0.0'
run error -f toy8,q8_0 -d cpu --json ../formats.json $model

# And on a Vulkan device, where there is one.
same() { # $1 and $2 but for their devices
    grep -v '"device"' "$1" >../first.txt
    grep -v '"device"' "$2" | diff ../first.txt - || fail "other $3 on Vulkan"
}
if $qdq error -f q8_0 -d vulkan ../toy8_f32.gguf >../command.log 2>&1; then
    run error -f q8_0,q4_1 -d vulkan --json ../bytes.json $toy8
    same ../floats.json ../bytes.json "errors of TOY8"
    run roundtrip -f q8_0 --dtype source -d vulkan $toy8 -o ../vulkan8.safetensors
    cmp ../low8.safetensors ../vulkan8.safetensors || fail "other round trips of TOY8 on Vulkan"
    run sensitivity --low q4_0 --high q8_0 --grad $toy8 -d vulkan --json ../bytes.json $toy8
    same ../sensitivity.json ../bytes.json "sensitivities of TOY8"
    run error -f toy8,q8_0 -d vulkan --json ../bytes.json $model
    same ../formats.json ../bytes.json "errors of toy8, as a format,"
    run quantize -f toy8 -d vulkan ../toy8_f32.gguf -o ../vulkan.gguf
    cmp ../itself.gguf ../vulkan.gguf || fail "other bytes of toy8, as a format, on Vulkan"
else
    echo "walk: no Vulkan device here"
fi

# What is not so does not build, and the message names the fact.
wrong() { wrong_in sources/toy8.h "$@"; }
wrong 's/toy8_BYTES .*/toy8_BYTES 3/' toy8_BYTES
wrong 's/toy8_BYTES .*/toy8_BYTES 2/' toy8_BYTES
wrong 's/toy8_EXPONENT .*/toy8_EXPONENT 0x17cu/' toy8_EXPONENT
wrong 's/toy8_EXPONENT .*/toy8_EXPONENT 0x78u/' toy8_EXPONENT
wrong 's/0xfffffu/0x100000u/' toy8_store
echo "walk: a source was added, with its row"
