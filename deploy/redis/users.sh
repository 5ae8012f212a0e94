#!/bin/sh
# users.sh: write the users of Redis (an aclfile) to standard output, from users.acl.template beside this file and
# REDIS_ADMIN_PASSWORD, REDIS_MOTION_PASSWORD, REDIS_CLASSIFIER_PASSWORD and REDIS_RECORDER_PASSWORD; with
# REDIS_KEDA_PASSWORD also the user keda.
#
# The file holds hashes, so a password may be made of any characters.
set -eu
template=$(dirname "$0")/users.acl.template

hash_of() {
    [ -n "$2" ] || { echo "users.sh: $1 is not set" >&2; exit 2; }
    printf %s "$2" | sha256sum | cut -d ' ' -f 1
}
admin=$(hash_of REDIS_ADMIN_PASSWORD "${REDIS_ADMIN_PASSWORD:-}")
motion=$(hash_of REDIS_MOTION_PASSWORD "${REDIS_MOTION_PASSWORD:-}")
classifier=$(hash_of REDIS_CLASSIFIER_PASSWORD "${REDIS_CLASSIFIER_PASSWORD:-}")
recorder=$(hash_of REDIS_RECORDER_PASSWORD "${REDIS_RECORDER_PASSWORD:-}")
if [ -n "${REDIS_KEDA_PASSWORD:-}" ]; then
    keda="s/@KEDA@/$(hash_of REDIS_KEDA_PASSWORD "$REDIS_KEDA_PASSWORD")/"
else
    keda='/@KEDA@/d'
fi

older=
case $("${REDIS_SERVER:-redis-server}" --version) in
    *v=[0-6].*) older='s/%[RW]~/~/g; s/[()]//g' ;;
esac
sed -e '/^#/d' -e '/^$/d' -e "s/@ADMIN@/$admin/" -e "s/@MOTION@/$motion/" -e "s/@CLASSIFIER@/$classifier/" \
    -e "s/@RECORDER@/$recorder/" -e "$keda" -e "$older" "$template"
