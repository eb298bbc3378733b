#!/bin/bash
# Shows: what a proxy has to stand. Two nginx gateways under load (wrk, kept connections, TLS): one is stopped
#        in order, then killed, then cut off without a word, and each time comes back; every request is answered.
#        Bulk data both ways at the same time through tunnels (CONNECT, Upgrade, passthrough) is byte for byte
#        right. Uploads and downloads of 1 GiB, and a client that hardly reads, need no memory.
# Needs: root; nginx wrk nftables iproute2 curl openssl python3
# Takes: about 100 s, more in a busy machine. BULK_MIB sets what each tunnel carries each way (default 256).
. "$(dirname "$0")/lib.sh"

BULK=$((${BULK_MIB:-256} << 20))
MEMORY_KIB=$((150 * 1024))
CONNECTIONS=32

lab_switch
lab_host front 10.99.0.10/24
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host client 10.99.0.50/24
lab_names '10.99.0.10 vpn.lab'
web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
web_certificate gw1 DNS:vpn.lab,IP:10.99.0.11
heartbeat_certificates front-a gw1=10.99.0.11

# nginx_start GATEWAY : a page, a place for uploads and downloads; its pid in NGINX[GATEWAY]
declare -A NGINX
nginx_start() {
  mkdir -p "$WORK/$1/files" "$WORK/$1/tmp"
  printf 'this is %s\n' "$1" >"$WORK/$1/files/index.html"
  cat >"$WORK/$1/nginx.conf" <<CONFIG
worker_processes 1; daemon off; user root; pid $WORK/$1/pid; error_log $WORK/$1/error.log;
events { worker_connections 1000; }
http {
  access_log off; sendfile on; keepalive_requests 1000000; client_max_body_size 0;
  client_body_temp_path $WORK/$1/tmp; proxy_temp_path $WORK/$1/tmp; fastcgi_temp_path $WORK/$1/tmp;
  uwsgi_temp_path $WORK/$1/tmp; scgi_temp_path $WORK/$1/tmp;
  server { listen 80 reuseport; root $WORK/$1/files; location /files/ { alias $WORK/$1/files/; dav_methods PUT; } }
}
CONFIG
  start "$1" "$1.nginx.log" nginx -c "$WORK/$1/nginx.conf"
  NGINX[$1]=$STARTED
  wait_for 5 listens_on_port "$1" 80 || fail "nginx does not start on $1"
}
nginx_start gw1
nginx_start gw2

# plain_gateway NAME ADDRESS:PORT CHECK [LINE...] : reached there, and checked there
plain_gateway() {
  printf '\n[[gateway]]\nname = "%s"\nssl_endpoint = "%s"\n' "$1" "$2"
  [ $# -lt 4 ] || printf '%s\n' "${@:4}"
  printf '\n[[gateway.check]]\nkind = "%s"\n' "$3"
}
front_config front-a
# These gateways know nobody, so nobody has to come to the same one again.
front_listener front-a portal 10.99.0.10:443 proxy '' '[listener.proxy]' 'affinity = "none"' 'connect_timeout = "500ms"' 'response_timeout = "2s"'
{
  plain_gateway gw1 10.99.0.11:80 http
  plain_gateway gw2 10.99.0.12:80 http
} >>"$WORK/front-a.toml"
# check refuses a farm without affinity, and serve starts all the same
start front front-a.log "$VESTIBULE" serve -c "$WORK/front-a.toml"
FRONT=$STARTED
both_up() { is_up gw1 && is_up gw2; }
expect_soon 10 "both gateways are up" both_up

# load : wrk, until load_ends
load() {
  start client wrk.log wrk -t1 -c$CONNECTIONS -d120s --timeout 10s -s "$LAB_DIR/statuses.lua" https://vpn.lab/
  LOAD=$STARTED
  wait_for 5 is_used gw1 100 && wait_for 5 is_used gw2 100 || fail "the load does not reach both gateways"
}
# load_ends : how it went: REQUESTS, BAD (answers that are not 2xx), TROUBLE (of connections)
load_ends() {
  stop "$LOAD" INT
  read -r REQUESTS BAD TROUBLE < <(awk '$1 == "requests" { print $2, $4, $6 + $8 + $10 + $12 }' "$WORK/wrk.log")
  [ -n "${TROUBLE:-}" ] || fail "wrk has no result"
}
# requests GATEWAY : how many it has been given
requests() { metric vestibule_upstream_requests_total "gateway=\"$1\""; }
# is_used GATEWAY COUNT : it has been given that many more than MARK[GATEWAY]
declare -A MARK=([gw1]=0 [gw2]=0)
is_used() { [ "$(requests "$1")" -ge $((MARK[$1] + $2)) ]; }
mark() { MARK[gw1]=$(requests gw1) MARK[gw2]=$(requests gw2); }

# comes_back : gw1 is up and in use again
comes_back() {
  expect_soon 10 "gw1 is up again" is_up gw1
  mark
  expect_soon 5 "and has requests again" is_used gw1 100
}
# flawless TEXT
flawless() {
  load_ends
  [ "$BAD $TROUBLE" = "0 0" ] || { lab_log wrk.log; fail "$1: of $REQUESTS requests $BAD were not answered 2xx, and $TROUBLE connections had trouble"; }
  pass "$1: $REQUESTS requests, every one answered 2xx, no connection in trouble"
}

part "a gateway stopped in order"
load
kill -QUIT "${NGINX[gw1]}"
expect_soon 8 "gw1 is down" is_down gw1
nginx_start gw1
comes_back
flawless "under load"

part "a gateway killed"
mark
load
# shellcheck disable=SC2046
kill -KILL $(ip netns pids "$LAB_PREFIX-gw1")
expect_soon 8 "gw1 is down" is_down gw1
wait_for 2 no_process gw1 nginx
nginx_start gw1
comes_back
flawless "under load"

part "a gateway cut off without a word"
mark
load
ip netns exec "$LAB_PREFIX-gw1" nft 'add table inet lab; add chain inet lab in { type filter hook input priority 0; policy drop; }; add chain inet lab out { type filter hook output priority 0; policy drop; }'
expect_soon 8 "gw1 is down" is_down gw1
sleep 2.5   # the response timeout, and a little: until then nothing tells what becomes of requests under way
load_ends
note "until then: $REQUESTS requests, $BAD not answered 2xx, $TROUBLE connections in trouble"
# a request that may have been worked on is answered 504 after the response timeout, and once for each connection
# and connection to the gateway there can be no more of them
expect_at_most "requests that were lost with it" $((2 * CONNECTIONS)) $((BAD + TROUBLE))
mark
start client wrk.log wrk -t1 -c$CONNECTIONS -d2s --timeout 10s -s "$LAB_DIR/statuses.lua" https://vpn.lab/
LOAD=$STARTED
wait_for 10 ended "$LOAD"
flawless "once it is known to be down"
expect_equal "requests that were sent to it" "${MARK[gw1]}" "$(requests gw1)"
ip netns exec "$LAB_PREFIX-gw1" nft delete table inet lab
mark
start client wrk.log wrk -t1 -c$CONNECTIONS -d120s --timeout 10s -s "$LAB_DIR/statuses.lua" https://vpn.lab/
LOAD=$STARTED
comes_back
flawless "with it again"

part "1 GiB through the proxy"
resident() { awk '/^VmHWM/ { print $2 }' "/proc/$FRONT/status"; }
note "resident so far, at most: $(resident) KiB"
stop "${NGINX[gw2]}"
expect_soon 8 "gw1 alone is up" is_down gw2
head -c 1G /dev/urandom >"$WORK/gw1/files/large"
HASH=$(sha256sum <"$WORK/gw1/files/large")
# transfer NAME CURL-ARGUMENT... : with its speed
transfer() {
  local name=$1; shift
  on client curl -sS --noproxy '*' -m 120 --cacert "$WORK/web/ca.pem" -f -w '%{stderr}%{speed_download} %{speed_upload}' "$@" 2>"$WORK/transfer.log" >"$WORK/transferred" ||
    { lab_log transfer.log; fail "$name"; }
  note "$name: $(awk '{ printf "%.0f MB/s", ($1 + $2) / 1e6 }' "$WORK/transfer.log")"
}
transfer "download" --http1.1 https://vpn.lab/files/large
expect_equal "what has come is what was there" "$HASH" "$(sha256sum <"$WORK/transferred")"
transfer "download over HTTP/2" --http2 https://vpn.lab/files/large
expect_equal "what has come is what was there" "$HASH" "$(sha256sum <"$WORK/transferred")"
rm "$WORK/transferred"
transfer "upload" --http1.1 -T "$WORK/gw1/files/large" https://vpn.lab/files/up1
expect_equal "what has arrived is what was sent" "$HASH" "$(sha256sum <"$WORK/gw1/files/up1")"
transfer "upload over HTTP/2" --http2 -T "$WORK/gw1/files/large" https://vpn.lab/files/up2
expect_equal "what has arrived is what was sent" "$HASH" "$(sha256sum <"$WORK/gw1/files/up2")"
# A client that hardly reads: 3 s at 1 MB/s, while the gateway could send a thousand times as much.
on client curl -sS --noproxy '*' -m 3 --limit-rate 1M --cacert "$WORK/web/ca.pem" -o /dev/null https://vpn.lab/files/large 2>/dev/null
expect_at_most "resident memory of the front door at its peak, KiB" $MEMORY_KIB "$(resident)"
rm -f "$WORK"/gw1/files/{large,up1,up2}

part "bulk data both ways through tunnels"
stop "$FRONT"
start gw1 bulk-plain.log python3 "$LAB_DIR/bulk.py" serve 10.99.0.11:5001
start gw1 bulk-tls.log python3 "$LAB_DIR/bulk.py" serve 10.99.0.11:5002 "$WORK/web/gw1.pem" "$WORK/web/gw1.key"
front_config front-a
front_listener front-a tunnels 10.99.0.10:443 proxy 'vrrp_id = 1'
front_listener front-a raw 10.99.0.10:444 passthrough 'vrrp_id = 2'
front_listener front-a secure 10.99.0.10:445 proxy 'vrrp_id = 2' '' '[listener.proxy]' \
  'upstream_tls = { verify = "ca", ca = "web/ca.pem", server_name = "vpn.lab" }'
{
  plain_gateway gw1 10.99.0.11:5001 tcp 'vrrp_id = 1'
  plain_gateway gw2 10.99.0.11:5002 tcp 'vrrp_id = 2'
} >>"$WORK/front-a.toml"
front_start front-a
wait_for 10 both_up || fail "the gateways are not up"
# bulk TEXT ADDRESS:PORT KIND
bulk() {
  on client timeout 150 python3 "$LAB_DIR/bulk.py" talk "$2" "$3" $BULK $BULK "$WORK/web/ca.pem" vpn.lab >"$WORK/bulk.log" 2>&1
  grep -qx right "$WORK/bulk.log" || { lab_log bulk.log; fail "$1"; }
  pass "$1: $((BULK >> 20)) MiB each way, $(awk 'NR == 1 { printf "%.0f MB/s", ($1 + $2) / 1e6 / $3 }' "$WORK/bulk.log") in all, every byte right"
}
bulk "straight to the gateway, for comparison" 10.99.0.11:5002 none
bulk "passthrough" 10.99.0.10:444 none
bulk "proxy, CONNECT" 10.99.0.10:443 connect
bulk "proxy, Upgrade" 10.99.0.10:443 upgrade
bulk "proxy, CONNECT, TLS to the gateway" 10.99.0.10:445 connect
expect_at_most "resident memory of the front door at its peak, KiB" $MEMORY_KIB "$(resident)"
no_tunnels() { metric_is 0 vestibule_tunnels; }
expect_soon 5 "no tunnel is left" no_tunnels

lab_done
