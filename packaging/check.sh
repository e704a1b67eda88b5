#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check.sh: what of packaging/ can be checked on this machine: lints what has a linter here, parses the rest, and says
# what it could not do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
status=0
pass() { printf '  checked  %s\n' "$*"; }
skip() { printf '  skipped  %s\n' "$*"; }
fail() {
  printf '  FAILED   %s\n' "$*"
  status=1
}

if command -v systemd-analyze >/dev/null; then
  # The binary need not be installed for the unit to be right.
  unit=$(mktemp -d)/lanner.service
  sed 's|^ExecStart=/usr/bin/lanner|ExecStart=/bin/true|; /^Documentation=/d' systemd/lanner.service >"$unit"
  if systemd-analyze verify "$unit" 2>&1 | grep -E "lanner.service" ; then fail "systemd unit"; else pass "systemd unit (systemd-analyze verify)"; fi
else
  skip "systemd unit: no systemd-analyze here"
fi

python3 - <<'PYTHON' && pass "Grafana dashboard: JSON, and only metrics that the server has" || fail "Grafana dashboard"
import json, re
dashboard = json.load(open("docker/grafana/lanner.json"))
source = open("../src/server/metrics.cpp").read()
known = set(re.findall(r'\{"(lanner_\w+)"', source))
for panel in dashboard["panels"]:
    for target in panel["targets"]:
        for name in re.findall(r"lanner_\w+", target["expr"]):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known or name in known, name
PYTHON

if python3 -c 'import yaml' 2>/dev/null; then
  python3 - <<'PYTHON' && pass "YAML of compose, Prometheus, Grafana and Kubernetes (syntax)" || fail "YAML"
import glob, yaml
for path in glob.glob("**/*.y*ml", recursive=True):
    assert list(yaml.safe_load_all(open(path))), path
PYTHON
else
  skip "YAML files: no Python yaml module here"
fi
if command -v kubectl >/dev/null && kubectl version >/dev/null 2>&1; then
  kubectl apply --dry-run=client -f kubernetes/lanner.yaml >/dev/null && pass "Kubernetes manifests" || fail "Kubernetes manifests"
else
  skip "Kubernetes manifests against the API: no kubectl with a cluster here"
fi
if command -v nginx >/dev/null; then
  folder=$(mktemp -d)
  openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
  sed "s|/etc/ssl/lanner|$folder|; s|listen 443|listen 18443|" nginx/lanner.conf >"$folder/site.conf"
  printf 'pid %s/pid;\nerror_log %s/log;\nevents {}\nhttp { access_log off; include %s/site.conf; }\n' "$folder" "$folder" "$folder" >"$folder/nginx.conf"
  if nginx -t -q -c "$folder/nginx.conf"; then pass "nginx configuration (nginx -t)"; else fail "nginx configuration"; fi
  rm -rf "$folder"
else
  skip "nginx configuration: no nginx here"
fi
if command -v docker >/dev/null && docker compose version >/dev/null 2>&1; then
  docker compose -f docker/docker-compose.yml config -q && pass "docker-compose.yml" || fail "docker-compose.yml"
else
  skip "Dockerfile and docker-compose.yml by docker itself: no docker with compose here"
fi
if command -v lintian >/dev/null && ls ../build/release/*.deb >/dev/null 2>&1; then
  lintian --fail-on error ../build/release/*.deb && pass ".deb (lintian)" || fail ".deb"
fi
exit $status
