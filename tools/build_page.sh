#!/usr/bin/env bash
# Build the styles and the script of the HTML pages from their sources, with the versions of the lockfile.
# "tools/build_page.sh --check" compares a fresh build with the committed one instead of replacing it. Needs node and npm.
set -euo pipefail
cd "$(dirname "$0")/../vqbench/reporting/html/front"
command -v npm >/dev/null || { echo "tools/build_page.sh needs node and npm (Debian: apt-get install npm)" >&2; exit 3; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r package.json package-lock.json src "$work"
(
    cd "$work"
    npm ci --silent --no-audit --no-fund --no-update-notifier
    npm run --silent build -- --log-level=warning
    for folder in node_modules/d3-* node_modules/internmap; do
        echo "== ${folder#node_modules/} $(node -p "require('./$folder/package.json').version")"
        cat "$folder/LICENSE"
        echo
    done >built/LICENSES.txt
)
if [ "${1:-}" = --check ]; then
    diff -r "$work/built" built && echo "built/ is what src/ builds"
else
    rm -rf built && cp -r "$work/built" built
fi
