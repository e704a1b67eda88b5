#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check.sh [BUILD]: what of packaging/ can be checked on this machine: lints what has a linter here, unpacks and runs the
# .deb that BUILD (build/release) has, and says what it could not do. Linters that distributions lack come with
# tests/server/make_venv.sh.
# shellcheck disable=SC2317 # the functions are called through check
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(realpath -m "${1:-$here/../build/release}")
cd "$here"
PATH=$here/../build/venv/bin:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
# check WHAT COMMAND...: what it prints is shown if it fails. Inside of it `set -e` does not hold.
check() {
  local what=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    printf '  checked  %s\n' "$what"
  else
    printf '  FAILED   %s\n' "$what"
    cat "$work/out"
    status=1
  fi
}
skip() { printf '  skipped  %s\n' "$*"; }
has() { command -v "$1" >/dev/null; }

systemd_unit() {
  # The program and its man page need not be installed for the unit to be right.
  sed 's|^ExecStart=/usr/bin/lanner|ExecStart=/bin/true|; /^Documentation=/d' systemd/lanner.service >"$work/lanner.service"
  # Only what it says of this unit: others on the machine may be wrong.
  ! systemd-analyze verify "$work/lanner.service" 2>&1 | grep -E "lanner.service"
}
if has systemd-analyze; then
  check "systemd unit (systemd-analyze verify)" systemd_unit
  # In tenths: 20 is "OK".
  check "systemd unit's hardening (systemd-analyze security)" \
    systemd-analyze security --offline=true --threshold=20 systemd/lanner.service
else
  skip "systemd unit: no systemd-analyze here"
fi

dashboard() {
  python3 - <<'PYTHON'
import json, re
dashboard = json.load(open("docker/grafana/lanner.json"))
source = open("../src/server/metrics.cpp").read()
known = set(re.findall(r'\{"(lanner_\w+)"', source))
for panel in dashboard["panels"]:
    for target in panel["targets"]:
        for name in re.findall(r"lanner_\w+", target["expr"]):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known or name in known, name
PYTHON
}
check "Grafana dashboard: JSON, and only metrics that the server has" dashboard

yaml_files=$(find . -name '*.y*ml')
# shellcheck disable=SC2086
if has yamllint; then
  check "YAML files (yamllint)" yamllint -s -d '{extends: relaxed, rules: {line-length: {max: 130}}}' $yaml_files
elif python3 -c 'import yaml' 2>/dev/null; then
  check "YAML files (syntax)" python3 -c 'import sys, yaml; [list(yaml.safe_load_all(open(p))) for p in sys.argv[1:]]' $yaml_files
else
  skip "YAML files: neither yamllint nor Python's yaml module here"
fi
if has kubernetes-validate; then
  check "Kubernetes manifests (against the API's schemas)" kubernetes-validate --strict kubernetes/lanner.yaml
else
  skip "Kubernetes manifests against the API's schemas: no kubernetes-validate here"
fi
if has check-jsonschema; then
  check "docker-compose.yml (against the compose specification)" \
    check-jsonschema --builtin-schema vendor.compose-spec docker/docker-compose.yml
else
  skip "docker-compose.yml against its specification: no check-jsonschema here"
fi
if has hadolint; then
  # DL3008 wants exact versions of Debian's packages, which Debian replaces.
  check "Dockerfile (hadolint)" hadolint --ignore DL3008 docker/Dockerfile
else
  skip "Dockerfile: no hadolint here"
fi
if has docker && docker info >/dev/null 2>&1; then
  check "Dockerfile (docker build --check)" docker build --check -f docker/Dockerfile ..
else
  skip "building the container image: no docker daemon here"
fi

nginx_configuration() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
  sed "s|/etc/ssl/lanner|$work|; s|listen 443|listen 18443|" nginx/lanner.conf >"$work/site.conf"
  printf 'pid %s/pid;\nerror_log %s/log;\nevents {}\nhttp { access_log off; include %s/site.conf; }\n' \
    "$work" "$work" "$work" >"$work/nginx.conf"
  nginx -t -q -c "$work/nginx.conf"
}
if has nginx; then check "nginx configuration (nginx -t)" nginx_configuration; else skip "nginx configuration: no nginx here"; fi

# Unpacked into a root of its own: everything is there, and the program runs.
package_contents() {
  local root=$work/root file
  dpkg-deb -x "$1" "$root" && dpkg-deb -e "$1" "$root/DEBIAN" || return 1
  for file in usr/bin/lanner usr/share/man/man1/lanner.1.gz usr/share/bash-completion/completions/lanner \
    usr/share/zsh/vendor-completions/_lanner usr/share/fish/vendor_completions.d/lanner.fish \
    usr/lib/systemd/system/lanner.service etc/lanner/lanner.env usr/share/doc/lanner/copyright; do
    [ -s "$root/$file" ] || { echo "$file is missing"; return 1; }
  done
  grep -qx /etc/lanner/lanner.env "$root/DEBIAN/conffiles" || { echo "lanner.env is no conffile"; return 1; }
  grep -q '^Depends: .*libc6' "$root/DEBIAN/control" || { echo "no dependencies"; return 1; }
  "$root/usr/bin/lanner" --version &&
    "$root/usr/bin/lanner" info --json | python3 -c 'import json, sys; json.load(sys.stdin)' &&
    bash -n "$root/usr/share/bash-completion/completions/lanner" &&
    gzip -dc "$root/usr/share/man/man1/lanner.1.gz" >"$work/lanner.1" && grep -q '^\.TH LANNER 1' "$work/lanner.1"
}
package=$(find "$build" -maxdepth 1 -name '*.deb' -newer "$build/CMakeCache.txt" 2>/dev/null | head -n 1)
if [ -n "$package" ]; then
  check ".deb: unpacks, is complete, runs" package_contents "$package"
  if has lintian; then
    # A package of a project has no bug in Debian to close, and no changelog of Debian's.
    check ".deb (lintian)" lintian --fail-on error --suppress-tags no-changelog,initial-upload-closes-no-bugs \
      --allow-root "$package"
  else
    skip ".deb: no lintian here"
  fi
else
  skip ".deb: none in $build; cpack there makes one"
fi
exit $status
