#!/usr/bin/env bash
# The README's commands in a bare Debian root, as a newcomer's machine would run them. By hand, as root:
#   tests/newcomer.sh bookworm|trixie [FOLDER]
# Prints what had to be installed and how long each command took; figures are kept in docs/RELIABILITY.md.
set -euo pipefail
suite=${1:?usage: tests/newcomer.sh SUITE [FOLDER]}
here=$(cd "$(dirname "$0")/.." && pwd)
base=${2:-$(mktemp -d)}
root=$base/$suite
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

clean_up() { umount "$root/proc" 2>/dev/null || true; }
trap clean_up EXIT

[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" >"$base/$suite.log"
for file in /etc/resolv.conf /etc/hosts ${APT_CONF_EXTRA:-}; do # how this machine reaches its packages
    [ ! -e "$file" ] || cp -L "$file" "$root$file"
done
mount -t proc proc "$root/proc"
rm -rf "$root/srv/saelab" "$root/srv/.cache/saelab"
git clone -q "$here" "$root/srv/saelab"

in_root() { chroot "$root" /usr/bin/env -i HOME=/srv PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LC_ALL=C bash -c "$1"; }
timed() {
    local start=$SECONDS
    in_root "cd /srv/saelab && $1" >"$base/$suite.out" 2>&1 || { tail -n 40 "$base/$suite.out"; echo "FAILED: $1"; exit 1; }
    printf '%5d s  %s\n' $((SECONDS - start)) "$1"
}

before=$(in_root "dpkg-query -W | wc -l")
echo "$suite $(cat "$root/etc/debian_version"), $before packages"
timed "./run -y saelab version"
echo "         installed: $(($(in_root 'dpkg-query -W | wc -l') - before)) packages; asked for: $(in_root 'cd /srv/saelab && ./run packages')"
timed "./run experiment --out_dir=run_0 --profile=smoke"
timed "./run demo"
in_root "ls -C /srv/saelab/run_0"
