#!/bin/sh
# install.sh PYTHON WHAT ...: install into PYTHON's environment; WHAT is a requirements file, or a project's folder, which
# stays where it is (editable). By uv, since it takes a fifth of pip's time; by pip where uv is not to be had, where it
# fails, and where pip is told of another index, which uv would not ask.
#
# No dependencies: the files name every package (compile.sh), and a project's are in the files.
set -eu
python=$1
shift
here=$(dirname "$0")
owner=$python
if ! "$python" -m pip --version >/dev/null 2>&1; then  # the environment's maker has one (make-venv.sh)
  owner=$(sed -n 's/^executable = //p' "${python%/bin/*}/pyvenv.cfg")
fi
pip() { "$owner" -m pip --python "$python" --disable-pip-version-check "$@"; }

work=''
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
uv=${python%/*}/uv
if pip config list 2>/dev/null | grep -Eq '[.](index-url|no-index)='; then
  uv=''
elif ! [ -x "$uv" ] && ! uv=$(command -v uv); then
  work=$(mktemp -d)
  uv=$work/bin/uv
  pip install --quiet --no-deps --require-hashes --only-binary :all: --target "$work" -r "$here/uv.txt" >/dev/null 2>&1 || uv=''
fi
quiet=--quiet
if [ -t 2 ]; then quiet=''; fi  # progress is for a terminal
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1  # the certificates that pip takes; the second for older ones of uv

for what in "$@"; do
  if [ -d "$what" ]; then set -- --no-build-isolation --editable "$what"; else set -- --require-hashes -r "$what"; fi
  if [ -n "$uv" ]; then
    echo "installing $what"
    "$uv" pip install $quiet --python "$python" --no-deps "$@" && continue
    echo "uv failed, see above: trying pip"
  fi
  pip install $quiet --no-deps "$@"
done
