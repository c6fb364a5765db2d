#!/bin/sh
# Archives of the command, both libraries, headers, man page and completions, into build-dist, with SHA256SUMS:
# dist.sh [SYSTEM...]. SYSTEM is source, linux-x86_64, linux-aarch64, macos-universal or windows-x86_64; without one, all.
#
# zig's clang makes them: for Linux against glibc 2.28, so that they run on what has come since 2018. jansson and PCRE2 are
# in the programs. CUDA's kernels need nvcc, and are not in archives: build from source where you have one.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^project(qdq VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
dist=$PWD/build-dist
[ $# -gt 0 ] || set -- source linux-x86_64 linux-aarch64 macos-universal windows-x86_64
mkdir -p "$dist"
modules=

build() { # PRESET: into $dist/stage/PRESET
    QDQ_TESTS=none tools/cross.sh "$1" ${modules:+"-DQDQ_SPIRV=$modules"}
    # Vulkan's modules, which take longest, are made once.
    [ ! -f "build-$1/src/backends/vulkan/copy_spirv.c" ] || modules=$PWD/build-$1/src/backends/vulkan
    rm -rf "$dist/stage/$1"
    cmake --install "build-$1" --prefix "$dist/stage/$1" >/dev/null
    # What is linked into the programs has licences that go with it.
    cp -R "$(sed -n 's/^QDQ_CROSS:[A-Z]*=//p' "build-$1/CMakeCache.txt")/licences" "$dist/stage/$1/"
}

add_texts() { # FOLDER: what the program of another system could not print: one that runs here has
    [ -d "$1/share/man" ] && return
    for texts in build-linux-x86_64/docs build-windows-x86_64/docs; do
        [ -f "$texts/qdq.fish" ] && break
    done
    if [ ! -f "$texts/qdq.fish" ]; then
        tools/cross.sh linux-x86_64
        texts=build-linux-x86_64/docs
    fi
    install -D -m 644 "$texts/qdq.1" "$1/share/man/man1/qdq.1"
    install -D -m 644 "$texts/qdq.bash" "$1/share/bash-completion/completions/qdq"
    install -D -m 644 "$texts/_qdq" "$1/share/zsh/site-functions/_qdq"
    install -D -m 644 "$texts/qdq.fish" "$1/share/fish/vendor_completions.d/qdq.fish"
}

pack() { # SYSTEM FOLDER
    name=qdq-$version-$1
    add_texts "$2"
    cp LICENSE README.md CHANGELOG.md "$2"
    rm -rf "${dist:?}/stage/$name"
    mv "$2" "$dist/stage/$name"
    # One order, one owner, one time: the same files make the same archive.
    stamp=$(git log -1 --format=%ct 2>/dev/null || echo 0)
    find "$dist/stage/$name" -exec touch -h -d "@$stamp" {} +
    case $1 in
    windows*) (cd "$dist/stage" && rm -f "../$name.zip" && find "$name" | LC_ALL=C sort | zip -q -X -@ "../$name.zip") ;;
    *) tar -C "$dist/stage" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -n -9 >"$dist/$name.tar.gz" ;;
    esac
    rm -rf "${dist:?}/stage/$name"
    echo "qdq: $dist/$name"
}

# Both processors' files in one.
join() { # ARM64 X86_64 RESULT
    lipo=$(command -v llvm-lipo || command -v llvm-lipo-14 || command -v lipo) || {
        echo "qdq: no lipo here (Debian: llvm)" >&2
        exit 1
    }
    rm -rf "$3"
    cp -R "$1" "$3"
    for file in bin/qdq lib/libqdq.a lib/libqdq_model.a; do
        $lipo -create "$1/$file" "$2/$file" -output "$3/$file"
    done
}

for system in "$@"; do
    case $system in
    source) git archive --prefix="qdq-$version/" HEAD | gzip -n -9 >"$dist/qdq-$version.tar.gz" ;;
    linux-x86_64 | linux-aarch64 | windows-x86_64)
        build "$system"
        pack "$system" "$dist/stage/$system"
        ;;
    macos-universal)
        build macos-arm64
        build macos-x86_64
        join "$dist/stage/macos-arm64" "$dist/stage/macos-x86_64" "$dist/stage/macos-universal"
        pack macos-universal "$dist/stage/macos-universal"
        ;;
    *) echo "usage: dist.sh [source|linux-x86_64|linux-aarch64|macos-universal|windows-x86_64...]" >&2 && exit 2 ;;
    esac
done
cd "$dist"
rm -f SHA256SUMS
sha256sum -- *.tar.gz *.zip 2>/dev/null >SHA256SUMS.new || true
mv SHA256SUMS.new SHA256SUMS
cat SHA256SUMS
