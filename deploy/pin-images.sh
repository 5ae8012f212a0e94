#!/bin/sh
# pin-images.sh [--check]: write the digest of every image that is fetched into docker-compose.yml and the Dockerfile.
#
# `image: redis:7.4-bookworm` becomes `image: redis:7.4-bookworm@sha256:…`, and so does the Dockerfile's base
# (`ARG PYTHON=…`). The tag stays for people; Docker takes the digest, and without one the tag. Run it again after a tag
# was changed, and for the fixes within a tag. --check changes nothing: it ends with 1 when a digest is missing, or the
# tag has another one by now.
#
# Needs Docker with buildx, and the images' registries. Exit codes: 0 done; 1 see --check; 2 nothing was changed, and why.
set -eu
cd "$(dirname "$0")/.."
check=
case "${1:-}" in
    '') ;;
    --check) check=yes ;;
    *) echo "pin-images: found '$1', wanted nothing or --check" >&2; exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stop() { printf 'pin-images: %s\n' "$*" >&2; exit 2; }

pinned='\(@sha256:[0-9a-f]*\)\{0,1\} *$'
# our own images have a variable in their names, and are built
sed -n "s/^ *image: *\([^ \$@]*\)$pinned/\1/p" docker-compose*.yml >"$work/images"
sed -n "s/^ARG PYTHON=\([^ \$@]*\)$pinned/python:\1/p" Dockerfile >>"$work/images"

# all digests first: a registry that does not answer leaves every file as it was
sort -u "$work/images" | while read -r image; do
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image" </dev/null) ||
        stop "found no digest of $image, see above; wanted Docker with buildx, and a registry that answers"
    hex=${digest#sha256:}
    case $hex in "$digest" | *[!0-9a-f]*) hex='' ;; esac
    [ ${#hex} -eq 64 ] || stop "found '$digest' as the digest of $image, wanted sha256: and 64 digits"
    text=$(printf %s "$image" | sed 's/\./\\./g')
    printf 's|^\\( *image: *\\)%s%s|\\1%s@%s|\n' "$text" "$pinned" "$image" "$digest"
    printf 's|^ARG PYTHON=%s%s|ARG PYTHON=%s@%s|\n' "${text#python:}" "$pinned" "${image#python:}" "$digest"
    printf 'pin-images: %s@%s\n' "$image" "$digest" >&2
done >"$work/edits" || exit 2

code=0
for file in Dockerfile docker-compose*.yml; do
    sed -f "$work/edits" "$file" >"$work/new"
    if cmp -s "$file" "$work/new"; then continue; fi
    if [ -n "$check" ]; then
        echo "pin-images: $file: found other digests than the tags have, or none: sh deploy/pin-images.sh" >&2
        code=1
    else
        cat "$work/new" >"$file" # its mode stays
        echo "pin-images: $file: changed" >&2
    fi
done
exit $code
