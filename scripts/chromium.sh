#!/usr/bin/env bash
# A Chromium for the tests of the page: the one that is here, else that of the system's packages, else Playwright's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../web"

for name in "${CHROMIUM:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome; do
    if test -n "$name" && test -x "$name"; then exit 0; fi
done
if test "$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; then exit 0; fi
npx playwright install chromium
