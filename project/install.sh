#!/bin/sh
# Usage: project/install.sh REQUIREMENTS_FILE...
# Makes .venv with a Python of 3.11 or later and installs the files' packages into it. Does nothing when that was done
# before with the same files. PYTHON names the Python to use.
set -eu

venv=.venv
for last; do :; done
stamp=$venv/.installed-$(basename "$last")

fail() { echo "$*" >&2; exit 1; }
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON is not there: name a Python of 3.11 or later, for example PYTHON=python3.12."
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or later, which Nightjar needs: name another, for example PYTHON=python3.12."
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if is_new_enough "$candidate"; then echo "$candidate"; return; fi
    done
    fail "Nightjar needs Python 3.11 or later and there is none here: install one, or name it, for example make run PYTHON=/opt/python3.12/bin/python3."
}

# The stamp is a copy of what was installed and is written last, so an interrupted installation is never taken for a whole one.
if is_new_enough "$venv/bin/python" && cat "$@" | cmp -s - "$stamp"; then
    exit 0
fi

[ -w . ] || fail "The folder $(pwd) cannot be written to: change its owner, or put Nightjar elsewhere."
if ! { is_new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "$python lacks its venv module: install it (on Debian and Ubuntu: apt install python3-venv)."
    echo "Making $venv with $("$python" --version)."
    "$python" -m venv --clear "$venv" || fail "The virtual environment $venv could not be made: see the lines above."
fi

rm -f "$stamp"
echo "Installing the packages of $* (some minutes the first time)."
files=
for file; do files="$files -r $file"; done
# shellcheck disable=SC2086 (the names are this project's own and have no spaces)
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input $files ||
    fail "The packages could not be installed: put right what pip says above (the network, free disk space) and try again."
cat "$@" > "$stamp.new"
mv "$stamp.new" "$stamp"
