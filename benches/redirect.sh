#!/bin/bash
# Processor time of the server for one redirect, side by side with HAProxy and nginx: over a new TLS 1.3
# connection each, and over connections that are kept. One worker each, no access log, loopback, the three in
# turn for several rounds; what counts is the ratio within a round, for machines differ and are noisy.
#
#     cargo build --release && benches/redirect.sh [ROUNDS] [SECONDS]
#
# Needs (Debian): haproxy nginx wrk.
set -eu
cd "$(dirname "$0")/.."
ROUNDS=${1:-5} SECONDS_EACH=${2:-3}
VESTIBULE=${VESTIBULE:-target/release/vestibule}
for tool in "$VESTIBULE" haproxy nginx wrk; do
  command -v "$tool" >/dev/null || { echo "error: $tool is missing; apt-get install haproxy nginx wrk, cargo build --release" >&2; exit 2; }
done
WORK=$(mktemp -d) PIDS=()
trap 'kill "${PIDS[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$WORK"' EXIT

"$VESTIBULE" certs init --dir "$WORK/certs" --name localhost --name 127.0.0.1 >/dev/null
cat "$WORK/certs/portal.pem" "$WORK/certs/portal.key" >"$WORK/both.pem"
cat >"$WORK/vestibule.toml" <<CONF
node = { workers = 1 }
admin = { listen = "127.0.0.1:7440", socket = "$WORK/admin.sock" }
log = { access = false }
health = { when_none_available = "any" }
[[listener]]
name = "portal"
address = "127.0.0.1:7441"
mode = "redirect"
certificates = [{ certificate = "certs/portal.pem", key = "certs/portal.key" }]
limits = { connections = 5000, connections_per_source = 5000 }
[[gateway]]
name = "gw1"
ssl_endpoint = "127.0.0.1:7448"
[[gateway]]
name = "gw2"
ssl_endpoint = "127.0.0.1:7449"
CONF
cat >"$WORK/haproxy.cfg" <<CONF
global
  nbthread 1
  maxconn 5000
defaults
  mode http
  timeout client 60s
  timeout http-request 10s
frontend portal
  bind 127.0.0.1:7442 ssl crt $WORK/both.pem alpn h2,http/1.1
  http-request redirect location https://127.0.0.1:7448/ code 302
CONF
cat >"$WORK/nginx.conf" <<CONF
worker_processes 1; daemon off; pid $WORK/nginx.pid; error_log /dev/null;
events { worker_connections 5000; }
http {
  access_log off; keepalive_requests 1000000000;
  server {
    listen 127.0.0.1:7443 ssl http2; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $WORK/certs/portal.pem; ssl_certificate_key $WORK/certs/portal.key;
    location / { return 302 https://127.0.0.1:7448/; }
  }
}
CONF
"$VESTIBULE" serve -c "$WORK/vestibule.toml" 2>"$WORK/vestibule.log" & PIDS+=($!)
haproxy -f "$WORK/haproxy.cfg" >/dev/null 2>&1 & PIDS+=($!)
nginx -c "$WORK/nginx.conf" >/dev/null 2>&1 & PIDS+=($!)
for port in 7441 7442 7443; do
  for _ in $(seq 100); do curl -sk -o /dev/null "https://127.0.0.1:$port/" && break; sleep 0.05; done
done
NGINX_WORKER=$(pgrep -P "${PIDS[2]}" | head -n 1)

# ticks PID : processor time so far, in hundredths of a second
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
# cost PID PORT [WRK OPTION...] : microseconds of processor time for one request
cost() {
  local pid=$1 port=$2 before requests; shift 2
  before=$(ticks "$pid")
  requests=$(wrk -t1 -c20 -d"${SECONDS_EACH}s" "$@" "https://127.0.0.1:$port/" | awk '/requests in/ { print $1 }')
  awk -v t=$(($(ticks "$pid") - before)) -v n="$requests" 'BEGIN { printf "%.2f", t * 10000 / n }'
}
echo "microseconds of processor time for one redirect, and vestibule's part of it"
for kind in new kept; do
  options=(); [ $kind = kept ] || options=(-H 'Connection: close')
  for round in $(seq "$ROUNDS"); do
    v=$(cost "${PIDS[0]}" 7441 "${options[@]}")
    h=$(cost "${PIDS[1]}" 7442 "${options[@]}")
    n=$(cost "$NGINX_WORKER" 7443 "${options[@]}")
    echo "$kind $round $v $h $n"
  done
done | awk '
  { printf "%-5s round %s: vestibule %7s  haproxy %7s (%.2f)  nginx %7s (%.2f)\n", $1, $2, $3, $4, $3 / $4, $5, $3 / $5
    hr[$1, $2] = $3 / $4; nr[$1, $2] = $3 / $5; if ($2 > last) last = $2 }
  function median(ratios, kind,   i, j, t, a) {
    for (i = 1; i <= last; i++) a[i] = ratios[kind, i]
    for (i = 1; i <= last; i++) for (j = i + 1; j <= last; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t }
    return a[int((last + 1) / 2)]
  }
  END { for (k = 1; k <= 2; k++) { kind = k == 1 ? "new" : "kept"
    printf "%-5s median: %.2f of haproxy, %.2f of nginx\n", kind, median(hr, kind), median(nr, kind) } }'
