#!/bin/sh
# The report in a real browser: without JavaScript it is all there, with it the table sorts and filters, the page is
# light or dark as the reader has it, it prints, and nothing complains. Usage: report_browser.sh REPORT_TEST. Exit 77 (skipped) where there is no Chromium.
set -eu
for browser in chromium-headless-shell chromium chromium-browser google-chrome chrome-headless-shell ''; do
    [ -n "$browser" ] || { echo "no Chromium: skipped"; exit 77; }
    if command -v "$browser" >/dev/null; then break; fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" --write "$work/page.html"

run() { # FILE OPTIONS
    page=$1 && shift # no sandbox: root has none, and the page is our own
    "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" --enable-logging=stderr "$@" \
        "file://$page" 2>"$work/log.txt"
}
browse() { # FILE [OPTIONS]: the DOM after the page's script; what the page logs is a failure
    run "$@" --dump-dom
    grep 'CONSOLE' "$work/log.txt" >"$work/errors.txt" || true
    if [ -s "$work/errors.txt" ]; then cat "$work/errors.txt" >&2; exit 1; fi
}
first_tensor() { grep -o '<td class="name">[^<]*' "$1" | head -n 1 | sed 's/.*>//'; }
expect() { [ "$2" = "$3" ] || { echo "$1: \"$2\", expected \"$3\""; exit 1; }; }

sed 's/<script>/<script type="text\/plain">/' "$work/page.html" >"$work/inert.html" # no script runs
browse "$work/inert.html" >"$work/plain.html"
expect "rows without JavaScript" "$(grep -c '<td class="name">' "$work/plain.html")" 156
expect "charts without JavaScript" "$(grep -c '<svg' "$work/plain.html")" 1
expect "buttons without JavaScript" "$(grep -c '<button' "$work/plain.html" || true)" 0
expect "first row as written" "$(first_tensor "$work/plain.html")" token_embd.weight

# A visitor: sorts by damage (column 9), twice, then filters; says in the title what stands first and how much is left.
cat >"$work/visitor.js" <<'END'
<script>
const table = document.getElementById('tensors');
const button = table.tHead.rows[0].cells[9].querySelector('button');
const damage = () => Array.from(table.tBodies[0].rows, r => Number(r.cells[9].dataset.v));
const sorted = (a, sign) => a.every((x, i) => i === 0 || sign * (a[i - 1] - x) >= 0);
button.click();
const down = sorted(damage(), 1) && button.parentNode.getAttribute('aria-sort') === 'descending';
button.click();
const up = sorted(damage(), -1) && button.parentNode.getAttribute('aria-sort') === 'ascending';
const find = document.getElementById('find');
find.value = 'BLK.1.ffn';
find.dispatchEvent(new Event('input'));
document.title = [down, up, Array.from(table.tBodies[0].rows).filter(r => !r.hidden).length].join(' ');
</script>
END
sed "/<\/body>/{
r $work/visitor.js
}" "$work/page.html" >"$work/visited.html"
browse "$work/visited.html" >"$work/dom.html"
expect "sorted down, up, rows left" "$(sed -n 's/.*<title>\(.*\)<\/title>.*/\1/p' "$work/dom.html" | head -n 1)" "true true 3"

# Light and dark: the background's colour, which a script puts in the title.
cat >"$work/colour.js" <<'END'
<script>document.title = getComputedStyle(document.body).backgroundColor;</script>
END
sed "/<\/body>/{
r $work/colour.js
}" "$work/page.html" >"$work/colour.html"
title() { sed -n 's/.*<title>\(.*\)<\/title>.*/\1/p' "$1" | head -n 1; }
browse "$work/colour.html" --blink-settings=preferredColorScheme=1 >"$work/light.html"
browse "$work/colour.html" --blink-settings=preferredColorScheme=0 >"$work/dark.html"
expect "light" "$(title "$work/light.html")" "rgb(255, 255, 255)"
expect "dark" "$(title "$work/dark.html")" "rgb(20, 23, 26)"

# Printed: all rows need several pages.
run "$work/page.html" --print-to-pdf="$work/page.pdf"
pages=$(grep -ac '/Type */Page\b' "$work/page.pdf")
[ "$pages" -ge 3 ] || { echo "printed: $pages pages"; exit 1; }
echo "report: as it should be"
