#!/bin/bash
# Shows: native clients ask for their gateway over DVE and get it, whatever happens. `vestibule resolve` follows the
#        load; answers leave from the address that was asked; a client with two front doors gets its answer from the second
#        where the first is dead, unreachable or standby, also when keepalived moves the virtual address; forged,
#        replayed, cut and late answers do not mislead it; a flood from one network does not shut out another, and nobody
#        gets more bytes than he has sent. openconnect, strongSwan and OpenVPN connect by the recipes in the documentation.
# Needs: root; ocserv openconnect vpnc-scripts strongswan-charon strongswan-swanctl libcharon-extra-plugins openvpn
#        wireguard-tools keepalived iproute2 iputils-ping curl openssl python3, /dev/net/tun
# Takes: about 45 s
. "$(dirname "$0")/lib.sh"

for NEEDED in /usr/lib/ipsec/charon /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so /dev/net/tun; do
  [ -e "$NEEDED" ] || { echo "$LAB_NAME: left out: there is no $NEEDED"; exit 77; }
done

INNER=10.100.0.1
lab_names '10.99.0.21 front-a.example.com' '10.99.0.22 front-b.example.com'
lab_switch
lab_host front 10.99.0.21/24 10.99.0.31/24 fd99::21/64 fd99::31/64
lab_host front2 10.99.0.22/24 fd99::22/64
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host client 10.99.0.50/24 fd99::50/64
# whatever leaves from 198.18.0.0/15 comes from this host; it is in the middle, too, and a front door with another key
lab_host foe 10.99.0.60/24
ip -n "$LAB_PREFIX-foe" route add local 198.18.0.0/15 dev lo
lab_route front 198.18.0.0/15 10.99.0.60
web_ca
web_certificate gw1 IP:10.99.0.11
web_certificate gw2 IP:10.99.0.12
heartbeat_certificates front-a,front-b gw1=10.99.0.11 gw2=10.99.0.12
openssl pkey -in "$WORK/certs/dve.key" -pubout -out "$WORK/dve.pub" 2>/dev/null || fail "vestibule certs init makes a key for DVE"
ocserv_config gw1 10.101.0.0
ocserv_config gw2 10.102.0.0

# front NAME LISTEN... : a front door that answers DVE there, each time for a second; its pid in $FRONT. NATIVE: the port
# of the gateways' native_endpoint, for native clients alone; MORE: further lines of its file
front() {
  local name=$1 gateway; shift
  front_config "$name"
  for gateway in 1 2; do
    if [ -n "${NATIVE:-}" ]; then front_native "$name" gw$gateway "10.99.0.1$gateway:$NATIVE" 10.99.0.1$gateway
    else front_gateway "$name" gw$gateway 10.99.0.1$gateway 10.99.0.1$gateway; fi
  done
  front_dve "$name" "$@"
  printf 'ttl = "1s"\n%s\n' "${MORE:-}" >>"$WORK/$name.toml"
  front_start "$name"
  wait_for 10 eval 'is_native_up gw1 && is_native_up gw2' || fail "both gateways are up for $name"
}

# load GW1 GW2 : steers both, and waits until the front door has heard of it
load() {
  tunnels gw1 "$1"
  tunnels gw2 "$2"
  wait_for 5 has_tunnels gw1 "$1" && wait_for 5 has_tunnels gw2 "$2" || fail "the front door hears of $1 and $2 tunnels"
}

# resolve ARGUMENT... : what the client prints, in $RESOLVED, and how long it took, in $TOOK; its status
resolve() {
  local begun status; begun=$(now)
  lab_log resolve.log
  RESOLVED=$(on client timeout 20 "$VESTIBULE" resolve --key "$WORK/dve.pub" "$@" 2>"$WORK/resolve.log")
  status=$?
  TOOK=$(since "$begun")
  return $status
}

# resolves TEXT WANTED ARGUMENT... : that is what it prints, or anything
resolves() {
  resolve "${@:3}" || fail "$1: vestibule resolve ${*:3}"
  [ "$2" = any ] || [ "$RESOLVED" = "$2" ] || fail "$1: wanted $2, saw $RESOLVED"
  pass "$1: $RESOLVED after $TOOK s"
}

# probe HOST [OPTION...] COMMAND ... : see dve_probe.py
probe() { local host=$1; shift; on "$host" python3 "$LAB_DIR/dve_probe.py" "$@" 2>>"$WORK/probe.log"; }
lab_log probe.log

# kept_alive HOST PRIORITY PEER : keepalived on that host, which shares 10.99.0.10; its pid in $STARTED
kept_alive() {
  cat >"$WORK/$1.keepalived" <<CONFIG
global_defs {
  router_id $1
  vrrp_version 3
}
vrrp_instance doors {
  state BACKUP
  nopreempt
  interface eth0
  virtual_router_id 31
  priority $2
  advert_int 0.1
  unicast_peer { $3 }
  virtual_ipaddress { 10.99.0.10/24 dev eth0 }
}
CONFIG
  start "$1" "$1.keepalived.log" keepalived --dont-fork --vrrp --log-console -f "$WORK/$1.keepalived" \
    -p "$WORK/$1.keepalived.pid" -r "$WORK/$1.vrrp.pid"
}

# holds HOST : the virtual address is there
holds() { ip -n "$LAB_PREFIX-$1" -4 address show dev eth0 | grep -q ' 10\.99\.0\.10/'; }

# says ADDRESS STATUS : that is what the front door there says
says() { [ "$(probe client ask "$1" 4463 | cut -d' ' -f1)" = "$2" ]; }

# serves HOST PORT : a UDP socket is bound to that port there
serves() { ip netns exec "$LAB_PREFIX-$1" ss -Hlun | awk '{ print $4 }' | grep -q ":$2\$"; }

part "the load decides"
tunnels gw1 100; tunnels gw2 500
for GATEWAY in gw1 gw2; do
  ocserv_start $GATEWAY
  agent_config $GATEWAY 10.99.0.1${GATEWAY#gw} "{ source = \"file\", path = \"$WORK/$GATEWAY.tunnels\" }"
  agent_start $GATEWAY
done
front front-a 10.99.0.21:4463 '[fd99::21]:4463'; FRONT_A=$FRONT
load 100 500
resolves "gw1 is emptier" 10.99.0.11:500 --server 10.99.0.21
resolves "as SSL VPN" 10.99.0.11:443 --server 10.99.0.21 --vpn ssl
resolves "asked over IPv6" 10.99.0.11:500 --server '[fd99::21]'
start client watch.log "$VESTIBULE" resolve --key "$WORK/dve.pub" --server 10.99.0.21 --watch
WATCH=$STARTED
expect_soon 3 "watched" grep -q '10\.99\.0\.11:500' "$WORK/watch.log"
load 500 100
resolves "gw2 is emptier" 10.99.0.12:500 --server 10.99.0.21
resolves "as SSL VPN" 10.99.0.12:443 --server 10.99.0.21 --vpn ssl
expect_soon 5 "who watches sees the change" grep -q '10\.99\.0\.12:500' "$WORK/watch.log"
stop "$WATCH"
expect_equal "best first, and no more than there are" "ok 10.99.0.12:500 10.99.0.11:500" \
  "$(probe client ask 10.99.0.21 4463 | awk '{ print $1, $4, $5 }')"
expect "an unknown VRRP ID is told so" eval '! resolve --server 10.99.0.21 --vrrp-id 77'
expect_at_most "seconds until then" 1.0 "$TOOK"
# told WANTED OPTION... : that is what the answer to such a request says
told() { local wanted=$1; shift; [ "$(probe client "$@" ask 10.99.0.21 4463 | cut -d' ' -f1)" = "$wanted" ]; }
expect "as a status" told unsupported --vrrp-id 77
expect "a request that accepts nothing is malformed" told malformed --accept 0
expect "so is one for an unknown kind of VPN" told malformed --vpn 9
expect "one with bits that nobody knows is not" told ok --accept 255
expect "one that cannot use what there is gets nothing" eval '! told ok --accept 2'
expect "the metric counts answers" eval '[ "$(metric vestibule_dve_requests_total status=\"ok\")" -ge 6 ]'

part "answers are not longer than requests, and come where they should"
read -r REQUESTS ANSWERS LONGER WRONG < <(probe foe shapes 198.18.0.0/15 10.99.0.21 4463)
note "${REQUESTS:-no} requests of 0 to 1500 bytes: ${ANSWERS:-no} answers"
expect_equal "answers with more bytes than their request" 0 "${LONGER:-unknown}"
expect_equal "requests without their answer, or with one that they should not have" 0 "${WRONG:-unknown}"

part "a flood from one network"
start foe flood.log python3 "$LAB_DIR/dve_probe.py" flood 20 3000 198.18.7.0/24 10.99.0.21 4463
FLOOD=$STARTED
for _ in 1 2 3; do
  # each that is answered counts as a tunnel for a while
  resolves "meanwhile, another network is served" any --server 10.99.0.21
  sleep 0.3  # so that the flood lasts for a while
done
running "$FLOOD" || fail "the flood goes on for so long"
stop "$FLOOD"
read -r REQUESTS BYTES ANSWERS ANSWER_BYTES LONGER LASTED <"$WORK/flood.log"
note "in $LASTED s $REQUESTS requests with $BYTES bytes, $ANSWERS answers with $ANSWER_BYTES"
expect_equal "answers with more bytes than their request" 0 "$LONGER"
expect "the network got what one may have, 100 a second and 100 at once" at_most "$(awk -v s="$LASTED" 'BEGIN { print s * 100 }')" "$ANSWERS"
expect "and no more" at_most "$ANSWERS" "$(awk -v s="$LASTED" 'BEGIN { print s * 110 + 120 }')"
expect "the metric counts what was dropped" eval '[ "$(metric vestibule_dve_requests_total status=\"dropped\")" -ge $((REQUESTS - ANSWERS - 50)) ]'

# all those count for half a minute
stop "$FRONT_A"
front front-a 10.99.0.21:4463 '[fd99::21]:4463'; FRONT_A=$FRONT

part "a man in the middle who answers first"
mkdir "$WORK/foe"
"$VESTIBULE" certs init --dir "$WORK/foe/certs" --name vpn.lab >"$WORK/foe.log" 2>&1 || fail "a key of another's own"
cat >"$WORK/foe/front.toml" <<CONFIG
[admin]
socket = "foe.sock"
[node]
state_dir = ""
[dve]
listen = ["10.99.0.60:4463"]
keys = ["certs/dve.key"]
[health]
when_none_available = "any"
[[gateway]]
name = "trap"
ssl_endpoint = "10.66.6.6"
CONFIG
start foe foe.log "$VESTIBULE" serve -c "$WORK/foe/front.toml"
FOE=$STARTED
wait_for 5 serves foe 4463 || fail "the foreign front door starts"
expect_equal "the foreign front door would send people elsewhere" "ok 10.66.6.6:500" "$(probe client ask 10.99.0.60 4463 | awk '{ print $1, $4 }')"
start foe between.log python3 "$LAB_DIR/dve_probe.py" between 4470 10.99.0.21 4463 10.99.0.60 4463
BETWEEN=$STARTED
wait_for 5 serves foe 4470 || fail "the man in the middle is there"
for TRY in 1 2 3; do
  resolves "try $TRY: the true answer, after forged ones" 10.99.0.12:500 --server 10.99.0.60:4470
done
FORGED=$(awk '{ n += $4 } $6 == 0 { bad = 1 } END { print bad ? 0 : n }' "$WORK/between.log")
note "$(tail -n 1 "$WORK/between.log"), in all $FORGED forged"
expect "he has sent them" [ "$FORGED" -gt 300 ]
expect "the foreign server itself is not believed" eval '! resolve --server 10.99.0.60'
resolves "and passed over" 10.99.0.12:500 --server 10.99.0.60 --server 10.99.0.21
stop "$BETWEEN"
stop "$FOE"
start foe late.log python3 "$LAB_DIR/dve_probe.py" late 0.4 4470 10.99.0.21 4463
LATE=$STARTED
wait_for 5 serves foe 4470 || fail "the slow one is there"
resolves "answers that come after the next request has been sent" 10.99.0.12:500 --server 10.99.0.60:4470 --server 10.99.0.21
expect "were late" [ "$(grep -c REQUEST "$WORK/late.log")" -ge 2 ]
stop "$LATE"

part "two addresses in one subnet, and sockets for all addresses"
stop "$FRONT_A"
front front-a 0.0.0.0:4463 '[::]:4463'; FRONT_A=$FRONT
for ADDRESS in 10.99.0.21 10.99.0.31 fd99::21 fd99::31; do
  expect "an answer from $ADDRESS, which was asked" says $ADDRESS ok
  case $ADDRESS in *:*) ADDRESS="[$ADDRESS]" ;; esac
  resolves "vestibule resolve there" 10.99.0.12:500 --server "$ADDRESS"
done

part "the first of two front doors is dead"
stop "$FRONT_A"
front front-a 10.99.0.21:4463; FRONT_A=$FRONT
FRONT_HOST=front2 front front-b 10.99.0.22:4463; FRONT_B=$FRONT
BOTH=(--server 10.99.0.21 --server 10.99.0.22)
resolves "both are there" 10.99.0.12:500 "${BOTH[@]}"
expect "the second was not asked" eval '[ "$(FRONT_HOST=front2 metric vestibule_dve_requests_total status=\"ok\")" = 0 ]'
stop "$FRONT_A" KILL
resolves "the first is killed, its port closed" 10.99.0.12:500 "${BOTH[@]}"
expect_at_most "seconds until the second has answered" 3 "$TOOK"
ip -n "$LAB_PREFIX-sw" link set p-front down
resolves "the first host is gone" 10.99.0.12:500 "${BOTH[@]}"
expect_at_most "seconds until the second has answered" 3 "$TOOK"
ip -n "$LAB_PREFIX-sw" link set p-front up

part "the first of two front doors is standby"
# shared HOST : what a front door that shares the virtual address says of that
shared() { printf '[[vrrp]]\nvrrp_id = 31\nrole = "backup"\ninterface = "eth0"\naddresses = ["10.99.0.10/24"]\n'; }
MORE=$(shared) front front-a 10.99.0.21:4463 10.99.0.10:4463; FRONT_A=$FRONT
expect "the first says so" says 10.99.0.21 standby
resolves "the second is asked at once" 10.99.0.12:500 "${BOTH[@]}"
expect_at_most "seconds until it has answered" 1 "$TOOK"
expect "with the first one alone there is nothing to be had" eval '! resolve --server 10.99.0.21'
lab_address front 10.99.0.10/24
BEGUN=$(now)
expect_soon 2 "the first gets the virtual address: it answers" says 10.99.0.21 ok
note "after $(since "$BEGUN") s"
resolves "at the virtual address as well" 10.99.0.12:500 --server 10.99.0.10
ip -n "$LAB_PREFIX-front" address delete 10.99.0.10/24 dev eth0
expect_soon 2 "and is standby again without it" says 10.99.0.21 standby

part "keepalived moves the virtual address"
stop "$FRONT_B"
MORE=$(shared) FRONT_HOST=front2 front front-b 10.99.0.22:4463 10.99.0.10:4463; FRONT_B=$FRONT
kept_alive front 200 10.99.0.22; KEPT_A=$STARTED
wait_for 10 holds front || fail "the first gets the virtual address"
kept_alive front2 100 10.99.0.21; KEPT_B=$STARTED
expect_soon 5 "the first is active" says 10.99.0.21 ok
expect_soon 5 "the second is standby" says 10.99.0.22 standby
resolves "the first answers, in whatever order they are asked" 10.99.0.12:500 --server 10.99.0.22 --server 10.99.0.21
resolves "the virtual address is the first's" 10.99.0.12:500 --server 10.99.0.10
# again WHAT ARGUMENT... : how long until resolve has an answer again
again() {
  local what=$1 begun tries=0; begun=$(now); shift
  while :; do
    tries=$((tries + 1))
    resolve "$@" && break
    at_most "$(since "$begun")" 10 || fail "$what: resolve has no answer for 10 s"
  done
  [ "$RESOLVED" = 10.99.0.12:500 ] || fail "$what: $RESOLVED"
  expect_at_most "$what: seconds until resolve had its answer" 4 "$(since "$begun")"
  note "of $tries calls, the last took $TOOK s"
}
kill -TERM "$KEPT_A"
again "keepalived of the first ends" "${BOTH[@]}"
expect_soon 3 "the second is active" says 10.99.0.22 ok
expect "the first is standby" says 10.99.0.21 standby
resolves "the virtual address is the second's" 10.99.0.12:500 --server 10.99.0.10
stop "$KEPT_A"
kept_alive front 200 10.99.0.22; KEPT_A=$STARTED
ip -n "$LAB_PREFIX-sw" link set p-front2 down
again "the host of the second dies" --server 10.99.0.22 --server 10.99.0.21
expect "the first is active" says 10.99.0.21 ok
again "at the virtual address" --server 10.99.0.10
ip -n "$LAB_PREFIX-sw" link set p-front2 up
# the one whose link was cut has kept the address to itself; the two must come to terms first
wait_for 10 eval 'says 10.99.0.21 standby || says 10.99.0.22 standby' || fail "one of the two is standby again"
FRONT_HOST=front2 wait_for 10 eval 'is_native_up gw1 && is_native_up gw2 && has_tunnels gw1 500 && has_tunnels gw2 100' ||
  fail "both gateways are up for front-b again"
if says 10.99.0.21 ok; then HOLDER=front KEPT=$KEPT_A; else HOLDER=front2 KEPT=$KEPT_B; fi
# the child first: it takes the address away when it sees its parent gone
for PID in $(ip netns pids "$LAB_PREFIX-$HOLDER" | sort -rn); do
  [ "$(cat "/proc/$PID/comm" 2>/dev/null)" != keepalived ] || [ "$PID" = "$KEPT" ] || CHILD=$PID
done
kill -KILL "${CHILD:?}" "$KEPT"
stop "$KEPT" KILL
again "keepalived of the active one is killed, and leaves the address behind" "${BOTH[@]}"
wait_for 5 eval 'holds front && holds front2' || fail "the other one takes the address"
again "with both of them active" "${BOTH[@]}"
again "at the virtual address" --server 10.99.0.10

part "the recipes in docs/recipes.md, as they are"
stop "$FRONT_A"
stop "$FRONT_B"
front front-a 10.99.0.21:4463; FRONT_A=$FRONT
# recipe CLIENT [KIND] : the first script, or configuration (KIND text), under that heading
recipe() {
  awk -v heading="## $1" -v begin="^\`\`\`${2:-sh}\$" '
    $0 == heading { here = 1 }
    on && /^```/ { exit }
    on { print }
    here && $0 ~ begin { on = 1 }' "$LAB_DIR/../../docs/recipes.md"
}
# The client's own /run and directories in /etc, which the other hosts of the lab do not see.
for NAME in vestibule swanctl/conf.d openvpn/client wireguard; do mkdir -p "$WORK/client/etc/$NAME"; done
# shellcheck disable=SC2016
AS_CLIENT='mkdir -p /etc/vestibule; for d in vestibule swanctl openvpn/client wireguard; do mount --bind "$0/etc/$d" /etc/$d; done
  mount --bind "$0.run" /run; exec "$@"'
# The mount point is on the machine itself; it goes again if it was not there.
[ -e /etc/vestibule ] || trap 'rmdir /etc/vestibule 2>/dev/null; lab_cleanup' EXIT
PATH=$(dirname "$VESTIBULE"):$PATH
mkdir "$WORK/client.run"
# cooked LOG SCRIPT : runs it in the background; its pid in $STARTED
cooked() { STDIN=$WORK/password start client "$1" sh -c "$AS_CLIENT" "$WORK/client" sh -c "$2"; }
cp "$WORK/dve.pub" "$WORK/client/etc/vestibule/dve.pub"
printf 'secret\n' >"$WORK/password"

# what is left to the reader: who he is, and whom he trusts
cooked openconnect.log "$(recipe openconnect | sed "s#openconnect #&--user=alice --passwd-on-stdin --non-inter --cafile $WORK/web/ca.pem --interface tun0 #")"
expect_soon 15 "openconnect: a tunnel" tunnel_is_up client
expect_equal "to the least-loaded gateway" gw2 "$(landed_on client)"
expect "ping passes" ping_through client
logout client "$STARTED"

for GATEWAY in gw1 gw2; do swan_gateway $GATEWAY $INNER 10.20${GATEWAY#gw}.0.0/24; done
recipe 'strongSwan (swanctl)' text >"$WORK/client/etc/swanctl/conf.d/office.conf"
printf 'include conf.d/*.conf\nsecrets { ike-1 { secret = "a key of the lab" } }\n' >"$WORK/client/etc/swanctl/swanctl.conf"
charon_start client
cooked swanctl.log "swanctl --load-creds && $(recipe 'strongSwan (swanctl)')"
wait_for 15 ended "$STARTED" && wait "$STARTED" || fail "strongSwan: no tunnel"
expect "strongSwan: a tunnel to the least-loaded gateway" grep -q 'IKE_SA office.*established between 10\.99\.0\.50.*10\.99\.0\.12' "$WORK/client.charon"
expect "ping passes" eval 'on client ping -n -q -c 2 -i 0.05 -W 2 $INNER >"$WORK/ping.log" 2>&1'

stop "$FRONT_A"
NATIVE=1194 front front-a 10.99.0.21:4463; FRONT_A=$FRONT
web_certificate alice DNS:alice clientAuth
for GATEWAY in gw1 gw2; do
  start $GATEWAY $GATEWAY.openvpn.log openvpn --dev vpn0 --dev-type tun --server 10.10${GATEWAY#gw}.128.0 255.255.255.0 --topology subnet \
    --proto udp --port 1194 --ca "$WORK/web/ca.pem" --cert "$WORK/web/$GATEWAY.pem" --key "$WORK/web/$GATEWAY.key" --dh none --keepalive 5 20
  wait_for 5 serves $GATEWAY 1194 || fail "openvpn does not start on $GATEWAY"
done
printf '%s\n' client 'dev tun0' 'proto udp' nobind 'remote-cert-tls server' "ca $WORK/web/ca.pem" "cert $WORK/web/alice.pem" \
  "key $WORK/web/alice.key" >"$WORK/client/etc/openvpn/client/office.conf"
cooked openvpn.log "$(recipe OpenVPN)"
expect_soon 15 "OpenVPN: a tunnel" tunnel_is_up client
expect_equal "to the least-loaded gateway" gw2 "$(landed_on client)"
expect "ping passes" ping_through client
stop "$STARTED"

# the kernel may not know WireGuard: what wg-quick reads of the file, and no more
KEY=$(wg genkey)
printf '[Interface]\nPrivateKey = %s\nAddress = 10.0.0.2/32\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.0.0.0/8\nEndpoint = none\n' "$KEY" \
  "$(wg genkey | wg pubkey)" >"$WORK/client/etc/wireguard/office.conf"
chmod 600 "$WORK/client/etc/wireguard/office.conf"
cooked wireguard.log "$(recipe 'WireGuard (wg-quick)' | sed 's/wg-quick up/wg-quick strip/')"
wait_for 10 ended "$STARTED" && wait "$STARTED" || fail "WireGuard: the recipe fails"
expect "WireGuard: wg-quick takes the file, with the endpoint of the least-loaded gateway" \
  grep -qx 'Endpoint = 10\.99\.0\.12:1194' "$WORK/wireguard.log"

part "no gateway is left"
ocserv_kill gw1
ocserv_kill gw2
expect_soon 10 "both are down" eval 'is_native_down gw1 && is_native_down gw2'
resolve --server front-a.example.com
expect_equal "vestibule resolve exits with" 1 $?
note "$(tail -n 1 "$WORK/resolve.log")"
expect_equal "and prints nothing" '' "$RESOLVED"

lab_done
