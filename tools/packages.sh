#!/bin/sh
# Installs the Debian packages that are missing, and says which. Arguments: package names.
set -eu
missing=
for package in "$@"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "qdq: needs these Debian packages, or your system's equivalents:$missing" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "qdq: run as root, or install sudo, or run: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "qdq: installing$missing"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
