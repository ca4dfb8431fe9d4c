#!/usr/bin/env bash
# Makes the generated files, or with --check fails when one is not what would be made.
set -euo pipefail
cd "$(dirname "$0")/.."

generate() {
  local template
  for template in buf.gen.yaml schemas/buf.gen.yaml schemas/proto/buf.gen.yaml; do
    if [ -e "$template" ]; then (cd "$(dirname "$template")" && buf generate); fi
  done
  go generate ./...
}

# Only what git knows or would add counts, so a file of the author that waits for its commit is not taken for drift.
fingerprint() { git ls-files -z --cached --others --exclude-standard | xargs -0 sha256sum 2>/dev/null | sort -k2; }

if [ "${1:-}" != --check ]; then generate; exit; fi
before=$(fingerprint)
generate
after=$(fingerprint)
if [ "$before" != "$after" ]; then
  echo "generated files were not fresh; they are now, commit them:" >&2
  diff <(echo "$before") <(echo "$after") | awk '/^[<>]/{print "  " $3}' | sort -u >&2
  exit 1
fi
for config in buf.yaml schemas/buf.yaml schemas/proto/buf.yaml; do
  if [ -e "$config" ]; then (cd "$(dirname "$config")" && buf lint); fi
done
