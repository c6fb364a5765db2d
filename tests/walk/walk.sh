#!/bin/sh
# A stranger's walk: in a copy of the project, adds a format (add_format.sh), then a source (add_source.sh), by the steps
# of CONTRIBUTING.md and nothing else, and sees that all of it works; then that what says what is not so does not build.
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
for part in CMakeLists.txt cmake include src tests tools fuzz examples python; do cp -R "$project/$part" "$work/copy/"; done
cd "$work/copy"
grep -vE '^FORMAT\(' src/formats/formats.def >formats.def.new || true
grep -E '^FORMAT\((q4_0|q4_1|q5_1|q8_0),' src/formats/formats.def >>formats.def.new
mv formats.def.new src/formats/formats.def

note_files() { find . -type f | sort | xargs cksum >../before; }
# Since note_files, the files $@ were written, and no other.
only_touched() {
    find . -type f | sort | xargs cksum >../after
    diff ../before ../after | sed -n 's/^[<>] [0-9]* [0-9]* //p' | sort -u >../touched
    printf './%s\n' "$@" | sort | diff - ../touched >&2 || fail "other files were touched"
}

launcher=
if command -v ccache >/dev/null; then launcher=-DCMAKE_C_COMPILER_LAUNCHER=ccache; fi
configure() {
    cmake -S . -B ../build -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$compiler" -DQDQ_CUDA=OFF -DQDQ_WERROR=ON \
        $launcher ${QDQ_WALK_GENERATOR:+-G "$QDQ_WALK_GENERATOR"} >../configure.log ||
        { cat ../configure.log >&2; fail "it does not configure"; }
}
build() { cmake --build ../build -j 2 --target "$@" >../build.log 2>&1; }
try_build() { build "$@" || { cat ../build.log >&2; fail "it does not build"; }; }
# The file src/$1 with the sed command $2 applied to it does not build, and the message has the fact $3.
wrong_in() {
    sed "$2" "$here/${1#*/}" >"src/$1"
    ! build qdq || fail "src/$1 with $3 wrong builds"
    holds ../build.log "$3"
}

qdq=../build/qdq
model=examples/tiny/model.safetensors
run() {
    $qdq "$@" >../command.log 2>&1 || { cat ../command.log >&2; fail "qdq $* failed"; }
}

. "$here/add_format.sh"
. "$here/add_source.sh"
