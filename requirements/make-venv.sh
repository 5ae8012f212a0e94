#!/bin/sh
# make-venv.sh PYTHON FOLDER: make a virtual environment, also where Debian's python3 came without python3-venv.
# Without pip, where PYTHON's own can do it from outside: pip comes with the packages, and ensurepip would take longer
# than all of them (7 s of processor time).
set -eu
python=$1 folder=$2
echo "making $folder with $("$python" --version)"
if "$python" -m venv --without-pip --clear "$folder" >/dev/null 2>&1 &&
  "$python" -m pip --python "$folder/bin/python" --version >/dev/null 2>&1; then exit 0; fi
if "$python" -m venv --clear "$folder" >/dev/null 2>&1; then exit 0; fi
rm -rf "$folder"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "python3 has no ensurepip here: installing python$version-venv with apt-get"
  # a Python that is not the system's has no such package: the ways below are left
  if apt-get update -qq && apt-get install -y -qq --no-install-recommends "python$version-venv" >/dev/null &&
    "$python" -m venv --clear "$folder"; then exit 0; fi
  rm -rf "$folder"
fi
if command -v uv >/dev/null 2>&1; then exec uv venv --seed --python "$python" "$folder"; fi
if command -v virtualenv >/dev/null 2>&1; then exec virtualenv --python "$python" "$folder"; fi
echo "$python cannot make virtual environments (the module ensurepip is missing): sudo apt install python$version-venv" >&2
exit 2
