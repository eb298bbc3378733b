#!/bin/bash
# Shows: IKEv2 clients are balanced with their first message (RFC 5685). strongSwan asks the front door and lands in a
#        tunnel at the least-loaded of two strongSwan gateways, with ping through it: over ports 500 and 4500, IPv4 and
#        IPv6, to gateways known by address and by name; after lost datagrams; at a front door with two addresses in
#        one subnet. Clients that cannot be redirected, loops and farms without a gateway are refused at once, and in
#        a flood of datagrams with forged sources real clients get through while nobody gets more than he has sent.
# Needs: root; strongswan-charon strongswan-swanctl libcharon-extra-plugins iproute2 iputils-ping nftables curl openssl
#        python3, /dev/net/tun
# Takes: about 40 s
. "$(dirname "$0")/lib.sh"

for NEEDED in /usr/lib/ipsec/charon /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so /dev/net/tun; do
  [ -e "$NEEDED" ] || { echo "$LAB_NAME: left out: there is no $NEEDED"; exit 77; }
done

INNER=10.100.0.1
lab_switch
lab_host front 10.99.0.9/24 10.99.0.10/24 fd99::9/64 fd99::10/64
lab_host gw1 10.99.0.11/24 fd99::11/64
lab_host gw2 10.99.0.12/24 fd99::12/64
lab_host client 10.99.0.50/24 fd99::50/64
lab_host plain 10.99.0.51/24
# whatever leaves from 198.18.0.0/15 comes from this host
lab_host crowd 10.99.0.60/24
ip -n "$LAB_PREFIX-crowd" route add local 198.18.0.0/15 dev lo
lab_route front 198.18.0.0/15 10.99.0.60
lab_names '10.99.0.10 front.lab' '10.99.0.11 gw1.lab' '10.99.0.12 gw2.lab'
heartbeat_certificates front-a gw1=10.99.0.11 gw2=10.99.0.12

# agent GATEWAY ADDRESS : what works there is charon; the load is in a file
agent() {
  agent_config "$1" "$2" "{ source = \"file\", path = \"$WORK/$1.tunnels\" }" \
    'name = "ike"' 'kind = "exec"' "command = [\"swanctl\", \"--stats\", \"--uri\", \"unix://$WORK/$1.run/charon.vici\"]"
  agent_start "$1"
}

# config ENDPOINT-OF-GW1 ENDPOINT-OF-GW2 LISTEN... : the front door's
config() {
  front_config front-a
  front_native front-a gw1 "$1" 10.99.0.11
  front_native front-a gw2 "$2" 10.99.0.12
  front_ike front-a "${@:3}"
}

# front ENDPOINT-OF-GW1 ENDPOINT-OF-GW2 LISTEN... : (re)starts it with that; both gateways are up
front() {
  [ -z "${FRONT:-}" ] || stop "$FRONT"
  config "$@"
  front_start front-a
  wait_for 10 eval 'is_native_up gw1 && is_native_up gw2' || fail "both gateways are up"
}

# load GW1 GW2 : steers both, and waits until the front door has heard of it
load() {
  tunnels gw1 "$1"
  tunnels gw2 "$2"
  wait_for 5 has_tunnels gw1 "$1" && wait_for 5 has_tunnels gw2 "$2" || fail "the front door hears of $1 and $2 tunnels"
}

# lands_on ADDRESS CONNECTION TEXT : a tunnel to the gateway with that address, or to any, comes about, and ping goes
# through it
lands_on() {
  swan_initiate client "$2" || fail "$3: no tunnel"
  landed "$@"
}
landed() {
  local peer; peer=$(swan_peer client)
  [ "$1" = any ] || [ "${peer% *}" = "$1" ] || fail "$3: the tunnel is with $peer, not with $1"
  on client ping -n -q -c 2 -i 0.05 -W 2 "$INNER" >"$WORK/ping.log" 2>&1 || { lab_log ping.log; fail "$3: no ping through the tunnel"; }
  pass "$3: tunnel with $peer, ping through it"
  swan_terminate client "$2"
}

# refused HOST CONNECTION TEXT : the client is told so, and says why. Mostly at once; an answer that comes while charon is still
# busy with the cookie is lost there, and asked for again after a second. Who is told nothing knows after some ten.
refused() {
  local begun; begun=$(now)
  ! swan_initiate "$1" "$2" || fail "$3: there is a tunnel"
  local took; took=$(since "$begun")
  grep -q 'NO_PROPOSAL_CHOSEN\|NO_PROP' "$WORK/$1.charon" || { lab_log "$1.charon"; fail "$3: NO_PROPOSAL_CHOSEN"; }
  expect_at_most "$3: seconds until the client knows" 2.5 "$took"
}

# probe HOST [OPTION...] COMMAND ... : see ike_probe.py
probe() { local host=$1; shift; on "$host" python3 "$LAB_DIR/ike_probe.py" "$@" 2>>"$WORK/probe.log"; }
lab_log probe.log

# loses HOST HOOK MATCH... / lost HOST / arrives HOST : what matches is lost on that host / something was / no more
loses() {
  ip netns exec "$LAB_PREFIX-$1" nft -f - <<RULES || fail "the loss cannot be set up on $1"
table inet lab { counter lost { }
  chain loss { type filter hook $2 priority 0; ${*:3} counter name lost drop; }
}
RULES
}
lost() { [ "$(ip netns exec "$LAB_PREFIX-$1" nft list counter inet lab lost | sed -n 's/.*packets \([0-9]*\) .*/\1/p')" -ge 1 ]; }
arrives() { ip netns exec "$LAB_PREFIX-$1" nft delete table inet lab; }

part "two strongSwan gateways with agents, one front door, and the client"
tunnels gw1 100; tunnels gw2 500
swan_gateway gw1 $INNER 10.201.0.0/24; CHARON1=$STARTED
swan_gateway gw2 $INNER 10.202.0.0/24; CHARON2=$STARTED
agent gw1 10.99.0.11
agent gw2 10.99.0.12
swan_client client $INNER
swan_connection client v4-500 10.99.0.10
swan_connection client v4-4500 10.99.0.10 'local_port = 4500' 'remote_port = 4500'
swan_connection client v4-500-4500 10.99.0.10 'remote_port = 4500'
swan_connection client v6-500 fd99::10
swan_connection client v6-4500 fd99::10 'local_port = 4500' 'remote_port = 4500'
swan_connection client other-500 10.99.0.9
swan_connection client other-4500 10.99.0.9 'local_port = 4500' 'remote_port = 4500'
swan_connection client other6-500 fd99::9
swan_connection client other6-4500 fd99::9 'local_port = 4500' 'remote_port = 4500'
charon_start client
swan_load client
swan_client plain $INNER
swan_connection plain v4-500 10.99.0.10
swan_connection plain v4-4500 10.99.0.10 'local_port = 4500' 'remote_port = 4500'
charon_start plain 'follow_redirects = no'
swan_load plain
front 10.99.0.11 10.99.0.12 10.99.0.10:500 10.99.0.10:4500 '[fd99::10]:500' '[fd99::10]:4500'
pass "both gateways are up"

part "the load decides"
load 100 500
lands_on 10.99.0.11 v4-500 "gw1 is emptier; over port 500"
lands_on 10.99.0.11 v4-4500 "over port 4500, with the marker"
lands_on 10.99.0.11 v4-500-4500 "from port 500 to port 4500"
lands_on 10.99.0.11 v6-500 "asked over IPv6, port 500"
lands_on 10.99.0.11 v6-4500 "asked over IPv6, port 4500"
expect "the gateway knows who has sent it the client" grep -q 'REDIR_FROM\|REDIRECTED_FROM' "$WORK/gw1.charon"
expect "the metric counts them" eval '[ "$(metric vestibule_ikev2_redirects_total gateway=\"gw1\")" -ge 5 ]'
load 500 100
lands_on 10.99.0.12 v4-500 "gw2 is emptier; over port 500"
lands_on 10.99.0.12 v4-4500 "over port 4500"
lands_on 10.99.0.12 v6-500 "over IPv6"

part "lost datagrams"
loses front input udp dport 500
swan_initiate client v4-500 & INITIATE=$!
wait_for 5 lost front || fail "the first datagram is lost"
arrives front
wait $INITIATE || fail "the first datagram is lost: no tunnel"
landed 10.99.0.12 v4-500 "the first datagram is lost, the client sends another"
loses client input ip saddr 10.99.0.10 udp sport 500
swan_initiate client v4-500 & INITIATE=$!
wait_for 5 lost client || fail "the first answer is lost"
arrives client
wait $INITIATE || fail "the first answer is lost: no tunnel"
landed 10.99.0.12 v4-500 "the first answer is lost, and the same question gets another"

part "who cannot be redirected"
refused plain v4-500 "a client that does not support it, on port 500"
refused plain v4-4500 "a client that does not support it, on port 4500"
# result WANTED HOST [OPTION...] ADDRESS PORT : what a single question comes to; redirect: to whichever gateway
result() {
  local wanted=$1 host=$2 seen; shift 2
  seen=$(probe "$host" "${@:1:$#-2}" ask "${@: -2}")
  SEEN="${seen:-nothing}"
  case $SEEN in "$wanted "* | "$wanted:"*) ;; *) echo "        $* came to: $SEEN"; return 1 ;; esac
}
expect "one that has been redirected already is refused, not sent round in circles" \
  result refused client --redirected-from 10.99.0.11 10.99.0.10 500

part "no answer is longer than its question"
for WHERE in "10.99.0.10 500" "10.99.0.10 4500" "fd99::10 500"; do
  OPTION=''; case $WHERE in *4500) OPTION=--marker ;; esac
  # shellcheck disable=SC2086
  read -r QUESTIONS ANSWERS LONGER < <(probe client $OPTION shapes $WHERE)
  note "$WHERE: ${QUESTIONS:-no} questions, whole, cut and spoilt: ${ANSWERS:-no} answers"
  expect_equal "of them longer than the question, at $WHERE" 0 "${LONGER:-unknown}"
  [ "$ANSWERS" -ge 10 ] || fail "some of them are answered"
done
# each that was redirected counts as a tunnel for a while
lands_on any v4-500 "and it still works"

part "a flood with forged sources"
start crowd flood.log python3 "$LAB_DIR/ike_probe.py" flood 20 4000 198.18.0.0/15 10.99.0.10 500
FLOOD=$STARTED
# cookies_asked : strangers are asked for a cookie by now
cookies_asked() { result cookie client 10.99.0.10 500 >/dev/null; }
expect_soon 3 "a stranger is asked for a cookie" cookies_asked
expect "and redirected when he brings it back" result redirect client --cookie 10.99.0.10 500
BEGUN=$(now) TRIES=0 SLOWEST=0
while at_most "$(since "$BEGUN")" 3; do
  STARTS=$(now)
  swan_initiate client v4-500 || fail "in the flood, the client gets no tunnel"
  TOOK=$(since "$STARTS")
  at_most "$TOOK" "$SLOWEST" || SLOWEST=$TOOK
  grep -q COOKIE "$WORK/client.charon" || fail "in the flood, the client is asked for a cookie"
  swan_terminate client v4-500
  TRIES=$((TRIES + 1))
done
running "$FLOOD" || fail "the flood goes on for so long"
note "$TRIES tunnels of a client that brings its cookie"
# charon ignores an answer that comes while it still works on the cookie, and asks again after a second: who answers
# within microseconds, as here, meets that now and then, also twice
expect_at_most "seconds until the slowest of them was up" 4.5 "$SLOWEST"
stop "$FLOOD"
read -r QUESTIONS BYTES ANSWERS ANSWER_BYTES LONGER COOKIES REDIRECTS REFUSALS <"$WORK/flood.log"
note "$QUESTIONS questions with $BYTES bytes, $ANSWERS answers with $ANSWER_BYTES: $COOKIES cookies, $REDIRECTS redirects, $REFUSALS refusals"
expect_equal "answers that are longer than their question" 0 "$LONGER"
expect "most were answered with a cookie or not at all" [ "$REDIRECTS" -lt $((QUESTIONS / 4)) ]
expect "fewer bytes went back than came" [ "$ANSWER_BYTES" -lt $((BYTES / 2)) ]
# not_asked : it is over
not_asked() { result redirect client 10.99.0.10 500 >/dev/null; }
expect_soon 15 "after it nobody is asked for a cookie" not_asked

part "two addresses in one subnet, and sockets for all addresses"
front 10.99.0.11 10.99.0.12 0.0.0.0:500 0.0.0.0:4500 '[::]:500' '[::]:4500'
load 100 500
for ADDRESS in 10.99.0.9 10.99.0.10 fd99::9 fd99::10; do
  expect "an answer from $ADDRESS port 500, which was asked" result redirect:10.99.0.11 client $ADDRESS 500
  expect "from its port 4500" result redirect:10.99.0.11 client $ADDRESS 4500
  expect "from its port 4500, with the marker" result redirect:10.99.0.11 client --marker $ADDRESS 4500
done
# asked_and_answered ADDRESS CONNECTION TEXT : charon lands on gw1, and its first answer is from that address
asked_and_answered() {
  lands_on 10.99.0.11 "$2" "$3"
  grep -m 1 'received packet' "$WORK/client.charon" | grep -qF "from $1[" || fail "$3: the answer is from $1"
}
asked_and_answered 10.99.0.9 other-500 "strongSwan by one address, port 500"
asked_and_answered 10.99.0.9 other-4500 "port 4500"
asked_and_answered 10.99.0.10 v4-500 "by the other, port 500"
asked_and_answered fd99::9 other6-500 "by one IPv6 address, port 500"
asked_and_answered fd99::9 other6-4500 "port 4500"
asked_and_answered fd99::10 v6-500 "by the other, port 500"

part "gateways by name, and by IPv6 address"
front gw1.lab gw2.lab 10.99.0.10:500 10.99.0.10:4500 '[fd99::10]:500' '[fd99::10]:4500'
load 500 100
lands_on 10.99.0.12 v4-500 "native_endpoint = \"gw2.lab\""
expect "the answer names it" result redirect:gw2.lab client 10.99.0.10 500
lands_on 10.99.0.12 v6-4500 "over IPv6, port 4500"
front '[fd99::11]' '[fd99::12]' 10.99.0.10:500 10.99.0.10:4500 '[fd99::10]:500' '[fd99::10]:4500'
load 100 500
lands_on fd99::11 v6-500 "native_endpoint = \"[fd99::11]\", asked over IPv6"
lands_on fd99::11 v6-4500 "port 4500"

part "a circle"
stop "$FRONT"; FRONT=''
config 10.99.0.10 10.99.0.10 10.99.0.10:500 10.99.0.10:4500
expect "a gateway at the front door's own address is refused by vestibule check" \
  eval '! on front "$VESTIBULE" check -c "$WORK/front-a.toml" >"$WORK/check.log" 2>&1'
note "$(grep -m 1 native_endpoint "$WORK/check.log")"
front front.lab front.lab 10.99.0.10:500 10.99.0.10:4500
refused client v4-500 "gateways at a name that is the front door's own"
expect_soon 2 "the log says so" grep -q 'IKEv2 client was redirected to this front door.*by="10\.99\.0\.10"' "$WORK/front-a.log"

part "gateways die"
front 10.99.0.11 10.99.0.12 10.99.0.10:500 10.99.0.10:4500
load 100 500
lands_on 10.99.0.11 v4-500 "gw1 is emptier"
stop "$CHARON1" KILL
expect_soon 8 "charon on gw1 is killed: it is down" is_native_down gw1
lands_on 10.99.0.12 v4-500 "then gw2 it is"
stop "$CHARON2" KILL
expect_soon 8 "charon on gw2 is killed too" is_native_down gw2
refused client v4-500 "no gateway is left"
lab_done
