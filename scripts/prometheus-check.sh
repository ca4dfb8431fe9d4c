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
for file in configs/prometheus/*.y*ml; do
  case $file in
    *_test.y*ml) promtool test rules "$file" ;;
    *rules*|*alerts*) promtool check rules "$file" ;;
    *) promtool check config --syntax-only "$file" ;;
  esac
done
