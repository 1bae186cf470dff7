# Sourced by the other scripts: a virtual environment that matches pyproject.toml and constraints.txt.
#
#   use_venv FOLDER EXTRAS GROUP...     puts FOLDER's python first on PATH; installs only when something changed
#   CONSTRAINTS=FILE use_venv …         by other versions than those of constraints.txt
#
# Needs Python >= 3.11 with venv (Debian: python3-venv), and a package registry that pip is set up for.

use_venv() {
    local folder=$1 extras=$2 python stamp arguments=() group constraints=${CONSTRAINTS:-constraints.txt}
    shift 2
    python=$(find_python) || return 1
    for group in "$@"; do arguments+=(--group "$group"); done
    stamp=$("$python" -V; echo "$extras" "$@"; cat pyproject.toml "$constraints")
    if [ "$(cat "$folder/.stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "setting up $folder with edgemm[$extras] (once; minutes on a slow line)" >&2
        [ -x "$folder/bin/python" ] || "$python" -m venv "$folder" || return 1
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' >&2 || return 1
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint "$constraints" --editable ".[$extras]" "${arguments[@]}" >&2 || return 1
        printf '%s\n' "$stamp" > "$folder/.stamp"
    fi
    PATH="$PWD/$folder/bin:$PATH"
    export PATH
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] && "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
            && { command -v "$candidate"; return 0; }
    done
    echo "error: expected Python 3.11 or newer with venv, found none; on Debian: apt install python3 python3-venv" >&2
    return 1
}
