#!/usr/bin/env bash
# Checks the Prometheus configuration, its rules and the tests of its rules with promtool.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob
if [ ! -d configs/prometheus ]; then echo "no configs/prometheus: nothing to check"; exit; fi
if ! command -v promtool >/dev/null; then
  echo "SKIPPED: promtool is not installed; make deps installs it" >&2
  [ "${CI:-}" != true ]
  exit
fi

# check_config FILE: promtool 2 (Debian's) does not know native histograms per job, so that one line is kept from it.
check_config() {
  if promtool --version 2>&1 | grep -q 'version 2\.'; then
    sed '/^ *scrape_native_histograms: true$/d' "$1" | promtool check config --syntax-only /dev/stdin
  else
    promtool check config --syntax-only "$1"
  fi
}

for file in configs/prometheus/*.y*ml; do
  case $file in
    *_test.y*ml) promtool test rules "$file" ;;
    *rules*|*alerts*) promtool check rules "$file" ;;
    *) check_config "$file" ;;
  esac
done
