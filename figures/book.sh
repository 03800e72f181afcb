#!/bin/sh
# Draw figures/book.png, the README's picture, from the built book: `make book && figures/book.sh`.
# Another page: figures/book.sh index. Needs Chromium; name another browser of its kind with CHROMIUM=...
set -e
cd "$(dirname "$0")/.."
profile=$(mktemp -d)
"${CHROMIUM:-chromium}" --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run \
  --disable-background-networking --user-data-dir="$profile" --window-size=1280,1120 \
  --virtual-time-budget=20000 --screenshot=figures/book.png \
  "file://$PWD/_build/html/${1:-chapters/01_bigram}.html"
rm -rf "$profile"
