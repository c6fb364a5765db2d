#!/usr/bin/env bash
# Runs commands in a Debian of its own that has nothing but make, git and certificates, on a copy of what is committed:
# the only honest test of what the project says it installs.
#
#     tools/bare.sh 'make demo' 'make test'
#
# Each argument is a shell command, run in the copy; the first that fails ends it with its status. 77: such a system
# cannot be made here (it wants root, the right to mount, and mmdebstrap). TMPDIR wants some gigabytes.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=bookworm
if [ "$(id -u)" -ne 0 ] || ! command -v mmdebstrap >/dev/null || ! unshare --mount true 2>/dev/null; then
    echo "bare.sh: needs root, the right to mount, and mmdebstrap" >&2
    exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/qdq-bare.XXXXXX")
root=$work/root
trap 'rm -rf --one-file-system "$work"' EXIT

echo "bare.sh: a $suite of make, git and ca-certificates in $root"
if ! mmdebstrap --variant=minbase --include=make,git,ca-certificates "$suite" "$root" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 77
fi
git clone -q --depth 1 "file://$PWD" "$root/qdq"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
# Whom this machine trusts, too: what it reaches the net through may have a certificate of its own.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

# How this machine reaches the net is not what is tested. What else it has in its environment stays outside.
environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8)
while IFS= read -r variable; do
    environment+=("$variable")
done < <(env | grep -E '^(https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|PIP_INDEX_URL|PIP_EXTRA_INDEX_URL)=' || true)

for command in "$@"; do
    echo "bare.sh: $command"
    # The mounts are the command's own and go with it.
    unshare --mount sh -ec '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/tmp"
        exec env -i "$@" chroot "$root" sh -c "cd /qdq && exec sh -c \"\$COMMAND\""
    ' sh "$root" "${environment[@]}" COMMAND="$command"
done
