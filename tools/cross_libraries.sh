#!/bin/sh
# Builds jansson, PCRE2 and, for the tests, cmocka for another system, static: cross_libraries.sh TARGET FOLDER. TARGET as zig has it, such as
# x86_64-windows-gnu. QDQ_ZIG is zig's program. The sources are Debian's, by their checksums; what is there is kept.
set -eu
target=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
project=$(cd "$(dirname "$0")/.." && pwd)
downloads=${QDQ_DOWNLOADS:-$project/build-downloads}

fetch() { # URL SHA256: into $downloads
    file=$downloads/${1##*/}
    mkdir -p "$downloads"
    if [ ! -f "$file" ]; then
        curl -fsSL --retry 3 --connect-timeout 30 --max-time 300 -o "$file.part" "$1" || {
            echo "qdq: $1 cannot be had; put it into $downloads" >&2
            exit 1
        }
        mv "$file.part" "$file"
    fi
    if ! echo "$2  $file" | sha256sum -c --quiet -; then
        echo "qdq: $file is not what was expected; remove it" >&2
        exit 1
    fi
}

build() { # NAME URL SHA256 OPTION...
    name=$1
    [ -f "$folder/$name.done" ] && return
    fetch "$2" "$3"
    rm -rf "$folder/work/$name"
    mkdir -p "$folder/work/$name"
    tar -xf "$downloads/${2##*/}" -C "$folder/work/$name" --strip-components=1
    mkdir -p "$folder/licences" # which go wherever the library goes
    cp "$folder/work/$name"/LICEN[CS]E "$folder/licences/$name.txt" 2>/dev/null || [ "$name" = cmocka ]
    shift 3
    echo "qdq: building $name for $target"
    if ! { cmake -S "$folder/work/$name" -B "$folder/work/$name/made" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_TOOLCHAIN_FILE="$project/cmake/zig.cmake" -DQDQ_ZIG_TARGET="$target" -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_INSTALL_PREFIX="$folder" -DCMAKE_INSTALL_LIBDIR=lib "$@" &&
        cmake --build "$folder/work/$name/made" --target install; } >"$folder/$name.log" 2>&1; then
        tail -20 "$folder/$name.log" >&2
        exit 1
    fi
    rm -rf "$folder/work/$name"
    touch "$folder/$name.done"
}

pool=https://deb.debian.org/debian/pool/main
build jansson $pool/j/jansson/jansson_2.14.orig.tar.gz \
    c739578bf6b764aa0752db9a2fdadcfe921c78f1228c7ec0bb47fa804c55d17b \
    -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON -DJANSSON_EXAMPLES=OFF
build pcre2 $pool/p/pcre2/pcre2_10.42.orig.tar.gz \
    c33b418e3b936ee3153de2c61cc638e7e4fe3156022a5c77d0711bcbb9d64f1f \
    -DPCRE2_BUILD_PCRE2GREP=OFF -DPCRE2_BUILD_TESTS=OFF
# Vulkan's headers are the same for every system.
for headers in vulkan vk_video; do
    [ ! -d /usr/include/$headers ] || [ -d "$folder/include/$headers" ] || cp -R /usr/include/$headers "$folder/include/"
done
case $target in
*windows*) # the C library is in the programs; cmocka is for tests that wine runs
    zigs=$("$QDQ_ZIG" env | sed -n 's/.*lib_dir"\{0,1\} *[:=] *"\([^"]*\)".*/\1/p')
    cp "$zigs/libc/mingw/COPYING" "$folder/licences/mingw-w64.txt"
    build cmocka $pool/c/cmocka/cmocka_1.1.7.orig.tar.xz \
        810570eb0b8d64804331f82b29ff47c790ce9cd6b163e98d47a4807047ecad82 \
        -DWITH_EXAMPLES=OFF -DWITH_STATIC_LIB=ON -DUNIT_TESTING=OFF
    ;;
esac
