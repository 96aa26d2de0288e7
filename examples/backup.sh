#!/bin/sh
# backup.sh [SOURCE [TARGET]]: pack a folder, prove that the archive gives the same files back,
# and only then let it take its place. Keeps the newest seven.
#
# Without arguments it backs up a sample folder that it makes itself, under build/ here.
set -eu
umask 077

here=$(cd "$(dirname "$0")/.." && pwd)
source=${1:-$here/build/sample}
target=${2:-$here/build/backups}
keep=7

if [ $# -eq 0 ] && [ ! -d "$source" ]; then
    mkdir -p "$source/etc" "$source/notes"
    cp -R "$here"/examples/* "$source/etc/"
    date -u > "$source/notes/made at"
    ln -s "../etc/backup.sh" "$source/notes/a link"
fi
if [ ! -d "$source" ]; then
    echo "backup: there is no folder $source to back up; name one: backup.sh SOURCE TARGET" >&2
    exit 66
fi

mkdir -p "$target"
work=$(mktemp -d "$target/.unfinished-XXXXXX")
# A signal must end the script, and its end remove what is unfinished.
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# The fencing token rises with every run of the job: no two archives can have one name.
base=$(basename "$source")
name=$base-$(date -u +%Y%m%dT%H%M%SZ)-${CRONGUARD_TOKEN:-$$}.tar.gz

echo "backup: packing $source"
tar -czf "$work/archive" -C "$source" .

echo "backup: unpacking it again to compare"
mkdir "$work/restored"
tar -xzf "$work/archive" -C "$work/restored"
diff -r "$source" "$work/restored"

sync "$work/archive" 2>/dev/null || sync
mv "$work/archive" "$target/$name"
files=$(find "$source" ! -type d | wc -l)
bytes=$(wc -c < "$target/$name")
echo "backup: $target/$name is good: $((files)) files, $((bytes)) bytes"

(cd "$target" && ls -1 -- "$base"-2*.tar.gz) | sort -r | tail -n "+$((keep + 1))" | while read -r old; do
    echo "backup: removing $old, older than the newest $keep"
    rm -f -- "${target:?}/$old"
done
