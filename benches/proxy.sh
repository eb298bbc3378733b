#!/bin/bash
# Processor time of the server as a reverse proxy with TLS in front, side by side with HAProxy and nginx: for a
# request over kept connections (plain HTTP and TLS to the gateway, kept as well) and over new ones, for a GiB of
# downloads of 1 MiB, and for a GiB that passes through untouched (HAProxy without and with splicing). One worker
# each, one cipher suite for all, no access log, loopback, the three in turn for several rounds; what counts is
# the ratio within a round, for machines differ and are noisy.
#
#     cargo build --release && benches/proxy.sh [ROUNDS] [SECONDS]
#
# Needs (Debian): haproxy nginx libnginx-mod-stream wrk.
set -eu
cd "$(dirname "$0")/.."
ROUNDS=${1:-5} SECONDS_EACH=${2:-3}
VESTIBULE=${VESTIBULE:-target/release/vestibule}
STREAM=/usr/lib/nginx/modules/ngx_stream_module.so
for tool in "$VESTIBULE" haproxy nginx wrk $STREAM; do
  command -v "$tool" >/dev/null || [ -e "$tool" ] ||
    { echo "error: $tool is missing; apt-get install haproxy nginx libnginx-mod-stream wrk, cargo build --release" >&2; exit 2; }
done
WORK=$(mktemp -d) PIDS=()
trap 'kill "${PIDS[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$WORK"' EXIT

"$VESTIBULE" certs init --dir "$WORK/certs" --name localhost --name 127.0.0.1 >/dev/null
cat "$WORK/certs/portal.pem" "$WORK/certs/portal.key" >"$WORK/both.pem"
mkdir "$WORK/www"
head -c 1024 /dev/zero | tr '\0' 'x' >"$WORK/www/index.html"
head -c 1M /dev/urandom >"$WORK/www/large"
SUITE=TLS_AES_128_GCM_SHA256

# The gateway: 7460 plain, 7461 with TLS.
cat >"$WORK/gateway.conf" <<CONF
user root; worker_processes 1; daemon off; pid $WORK/gateway.pid; error_log /dev/null;
events { worker_connections 5000; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=10;
  server {
    listen 127.0.0.1:7460; listen 127.0.0.1:7461 ssl; root $WORK/www;
    ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites $SUITE;
    ssl_certificate $WORK/certs/portal.pem; ssl_certificate_key $WORK/certs/portal.key;
  }
}
CONF
# Of each: plain to the gateway, TLS to the gateway, passthrough. HAProxy: 7454 is passthrough with splicing.
cat >"$WORK/vestibule.toml" <<CONF
node = { workers = 1 }
admin = { listen = "127.0.0.1:7440", socket = "$WORK/admin.sock" }
log = { access = false }
health = { when_none_available = "any" }
[[listener]]
name = "plain"
address = "127.0.0.1:7441"
vrrp_id = 1
mode = "proxy"
certificates = [{ certificate = "certs/portal.pem", key = "certs/portal.key" }]
limits = { connections = 5000, connections_per_source = 5000 }
[[listener]]
name = "tls"
address = "127.0.0.1:7442"
vrrp_id = 2
mode = "proxy"
certificates = [{ certificate = "certs/portal.pem", key = "certs/portal.key" }]
limits = { connections = 5000, connections_per_source = 5000 }
proxy = { upstream_tls = { verify = "ca", ca = "certs/ca.pem", server_name = "localhost" } }
[[listener]]
name = "raw"
address = "127.0.0.1:7443"
vrrp_id = 2
mode = "passthrough"
limits = { connections = 5000, connections_per_source = 5000 }
[[gateway]]
name = "plain"
vrrp_id = 1
ssl_endpoint = "127.0.0.1:7460"
check = [{ kind = "tcp" }]
[[gateway]]
name = "tls"
vrrp_id = 2
ssl_endpoint = "127.0.0.1:7461"
check = [{ kind = "tcp" }]
CONF
cat >"$WORK/haproxy.cfg" <<CONF
global
  nbthread 1
  maxconn 5000
  ssl-default-bind-ciphersuites $SUITE
  ssl-default-server-ciphersuites $SUITE
defaults
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
frontend plain
  mode http
  bind 127.0.0.1:7451 ssl crt $WORK/both.pem alpn h2,http/1.1
  default_backend plain
frontend tls
  mode http
  bind 127.0.0.1:7452 ssl crt $WORK/both.pem alpn h2,http/1.1
  default_backend tls
backend plain
  mode http
  http-reuse always
  option forwardfor
  server gateway 127.0.0.1:7460
backend tls
  mode http
  http-reuse always
  option forwardfor
  server gateway 127.0.0.1:7461 ssl verify required ca-file $WORK/certs/ca.pem sni str(localhost)
listen raw
  mode tcp
  bind 127.0.0.1:7453
  server gateway 127.0.0.1:7461
listen splice
  mode tcp
  option splice-auto
  bind 127.0.0.1:7454
  server gateway 127.0.0.1:7461
CONF
cat >"$WORK/nginx.conf" <<CONF
load_module $STREAM;
worker_processes 1; daemon off; pid $WORK/nginx.pid; error_log /dev/null;
events { worker_connections 5000; }
stream { server { listen 127.0.0.1:7473; proxy_pass 127.0.0.1:7461; } }
http {
  access_log off; keepalive_requests 1000000000;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_conf_command Ciphersuites $SUITE;
  ssl_certificate $WORK/certs/portal.pem; ssl_certificate_key $WORK/certs/portal.key;
  upstream plain { server 127.0.0.1:7460; keepalive 32; keepalive_requests 1000000000; }
  upstream tls { server 127.0.0.1:7461; keepalive 32; keepalive_requests 1000000000; }
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0;
  proxy_set_header Host \$host; proxy_set_header X-Forwarded-For \$remote_addr;
  proxy_ssl_verify on; proxy_ssl_trusted_certificate $WORK/certs/ca.pem; proxy_ssl_name localhost;
  proxy_ssl_protocols TLSv1.3;
  server { listen 127.0.0.1:7471 ssl http2; location / { proxy_pass http://plain; } }
  server { listen 127.0.0.1:7472 ssl http2; location / { proxy_pass https://tls; } }
}
CONF
nginx -c "$WORK/gateway.conf" >/dev/null 2>&1 & PIDS+=($!)
"$VESTIBULE" serve -c "$WORK/vestibule.toml" 2>"$WORK/vestibule.log" & PIDS+=($!); V=$!
haproxy -f "$WORK/haproxy.cfg" >/dev/null 2>&1 & PIDS+=($!); H=$!
nginx -c "$WORK/nginx.conf" >/dev/null 2>&1 & PIDS+=($!); N=$!
for port in 7441 7442 7443 7451 7452 7453 7454 7471 7472 7473; do
  for try in $(seq 100); do curl -skf -o /dev/null "https://127.0.0.1:$port/" && break; sleep 0.05; done
  [ "$try" -lt 100 ] || { echo "error: nobody answers on port $port" >&2; cat "$WORK/vestibule.log" >&2; exit 1; }
done
N=$(pgrep -P "$N" | head -n 1)

# ticks PID : processor time so far, in hundredths of a second
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
# cost PID PORT PATH UNIT [WRK OPTION...] : microseconds of processor time for so many requests (1, or 1024: of 1
# MiB each, for a GiB)
cost() {
  local pid=$1 port=$2 path=$3 unit=$4 before requests; shift 4
  before=$(ticks "$pid")
  requests=$(wrk -t1 -c20 -d"${SECONDS_EACH}s" "$@" "https://127.0.0.1:$port$path" |
    awk '/requests in/ { n = $1 } /Non-2xx/ { bad = 1 } END { print bad ? "bad" : n }')
  [ "$requests" != bad ] || { echo "error: port $port answers not only with 2xx" >&2; exit 1; }
  awk -v t=$(($(ticks "$pid") - before)) -v n="$requests" -v u="$unit" 'BEGIN { printf "%.2f", t * 10000 * u / n }'
}
echo "microseconds of processor time for a request, or for a GiB, and vestibule's part of it"
{
  for round in $(seq "$ROUNDS"); do
    echo "kept-plain $round $(cost $V 7441 / 1) haproxy $(cost $H 7451 / 1) nginx $(cost "$N" 7471 / 1)"
    echo "kept-tls $round $(cost $V 7442 / 1) haproxy $(cost $H 7452 / 1) nginx $(cost "$N" 7472 / 1)"
    close=(-H 'Connection: close')
    echo "new $round $(cost $V 7441 / 1 "${close[@]}") haproxy $(cost $H 7451 / 1 "${close[@]}") nginx $(cost "$N" 7471 / 1 "${close[@]}")"
    echo "gib-plain $round $(cost $V 7441 /large 1024) haproxy $(cost $H 7451 /large 1024) nginx $(cost "$N" 7471 /large 1024)"
    echo "gib-tls $round $(cost $V 7442 /large 1024) haproxy $(cost $H 7452 /large 1024) nginx $(cost "$N" 7472 /large 1024)"
    echo "gib-raw $round $(cost $V 7443 /large 1024) haproxy $(cost $H 7453 /large 1024) splicing $(cost $H 7454 /large 1024) nginx $(cost "$N" 7473 /large 1024)"
  done
} | awk '
  { line = sprintf("%-10s round %s: vestibule %10s", $1, $2, $3)
    if (!($1 in seen)) { seen[$1] = ++kinds; name[kinds] = $1 }
    for (i = 4; i < NF; i += 2) {
      line = line sprintf("  %s %10s (%.2f)", $i, $(i + 1), $3 / $(i + 1))
      ratio[$1, $i, $2] = $3 / $(i + 1); against[$1] = index(against[$1] " ", " " $i " ") ? against[$1] : against[$1] " " $i
    }
    print line; fflush(); if ($2 > last) last = $2 }
  function median(kind, other,   i, j, t, a) {
    for (i = 1; i <= last; i++) a[i] = ratio[kind, other, i]
    for (i = 1; i <= last; i++) for (j = i + 1; j <= last; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t }
    return a[int((last + 1) / 2)]
  }
  END { for (k = 1; k <= kinds; k++) { printf "%-10s median:", name[k]
    n = split(against[name[k]], others, " ")
    for (i = 1; i <= n; i++) printf " %.2f of %s%s", median(name[k], others[i]), others[i], i < n ? "," : "\n" } }'
