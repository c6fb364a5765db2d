#!/bin/sh
# Fills in the manifests of packaging/ from the archives of build-dist: packaging.sh URL. URL is the folder that the archives
# will be published in. They come into build-dist/packaging.
set -eu
[ $# -eq 1 ] || { echo "usage: packaging.sh URL" >&2 && exit 2; }
cd "$(dirname "$0")/.."
version=$(sed -n 's/^project(qdq VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
sum() { # PROGRAM FILE
    if [ ! -f "build-dist/$2" ]; then
        echo "qdq: build-dist/$2 is not there: tools/dist.sh makes it" >&2
        exit 1
    fi
    "$1" "build-dist/$2" | cut -d ' ' -f 1
}
source256=$(sum sha256sum "qdq-$version.tar.gz")
source512=$(sum sha512sum "qdq-$version.tar.gz")
windows256=$(sum sha256sum "qdq-$version-windows-x86_64.zip" | tr a-f A-F)
for file in $(cd packaging && find . -name '*.in'); do
    made=build-dist/packaging/${file%.in}
    mkdir -p "$(dirname "$made")"
    sed -e "s|@VERSION@|$version|g" -e "s|@URL@|${1%/}|g" -e "s|@SHA256_SOURCE@|$source256|g" \
        -e "s|@SHA512_SOURCE@|$source512|g" -e "s|@SHA256_WINDOWS@|$windows256|g" "packaging/$file" >"$made"
    echo "$made"
done
