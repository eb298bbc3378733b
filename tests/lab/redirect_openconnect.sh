#!/bin/bash
# Shows: people who type one address always reach a gateway that works and has room. Two ocserv gateways
#        with heartbeat agents, a front door on a virtual address that it is bound to before it exists,
#        and openconnect on further hosts: the redirect by load, the death and return of a gateway, real
#        session counts, the nc and gp protocols up to the gateway, IPv6, and TLS 1.2.
# Needs: root; ocserv openconnect vpnc-scripts iputils-ping iproute2 curl openssl python3
# Takes: about 75 s
. "$(dirname "$0")/lib.sh"

FALL_TIMES_INTERVAL=3    # seconds; see front_config
POLL=1                   # seconds until an agent is asked again
MARGIN=0.5               # for scheduling on a busy machine

lab_switch
lab_host front 10.99.0.2/24 fd99::2/64
lab_host gw1 10.99.0.11/24 fd99::11/64
lab_host gw2 10.99.0.12/24 fd99::12/64
lab_host client 10.99.0.50/24 fd99::50/64
lab_host client2 10.99.0.51/24
lab_names '10.99.0.10 vpn.lab'

web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10,IP:fd99::10
web_certificate gw1 DNS:gw1.lab,IP:10.99.0.11,IP:fd99::11
web_certificate gw2 DNS:gw2.lab,IP:10.99.0.12,IP:fd99::12
heartbeat_certificates front-a gw1=10.99.0.11 gw2=10.99.0.12
ocserv_config gw1 10.101.0.0
ocserv_config gw2 10.102.0.0
ocserv_start gw1
ocserv_start gw2

# agents SOURCE-OF-GW1 SOURCE-OF-GW2 : (re)starts both agents
agents() {
  [ -z "${AGENT1:-}" ] || { stop "$AGENT1"; stop "$AGENT2"; }
  agent_config gw1 10.99.0.11 "$1"
  agent_config gw2 10.99.0.12 "$2"
  agent_start gw1; AGENT1=$STARTED
  agent_start gw2; AGENT2=$STARTED
}

# from_files / from_ocserv : the two sources of the load
from_files() { agents "{ source = \"file\", path = \"$WORK/gw1.tunnels\" }" "{ source = \"file\", path = \"$WORK/gw2.tunnels\" }"; }
from_ocserv() { agents "{ source = \"ocserv\", socket = \"$WORK/gw1.occtl\" }" "{ source = \"ocserv\", socket = \"$WORK/gw2.occtl\" }"; }

# load GW1 GW2 : steers both, and waits until the front door has heard of it
load() {
  tunnels gw1 "$1"
  tunnels gw2 "$2"
  wait_for 5 has_tunnels gw1 "$1" && wait_for 5 has_tunnels gw2 "$2" ||
    fail "the front door hears of $1 tunnels on gw1 and $2 on gw2 (says $(metric vestibule_gateway_tunnels gateway=\"gw1\") and $(metric vestibule_gateway_tunnels gateway=\"gw2\"))"
}

# both_up : both gateways are available
both_up() { is_up gw1 && is_up gw2; }

# lands_on GATEWAY [ARGUMENT...] : a login at the virtual address, with a working tunnel to that gateway
lands_on() {
  local wanted=$1 text=$2; shift 2
  login client openconnect.log "${@:-https://10.99.0.10/}"
  [ "$LANDED" = "$wanted" ] || fail "$text: the tunnel is on $LANDED, not $wanted"
  ping_through client || { lab_log ping.log; fail "$text: no ping through the tunnel to $wanted"; }
  pass "$text: tunnel on $wanted, ping through it"
  logout client "$STARTED"
}

# first_login_at_gw2_within SECONDS : kills ocserv on gw1 and logs in again and again; the one on gw2 stays, its
# pid in $STARTED
first_login_at_gw2_within() {
  local killed begun tries=0 tunnel_after took
  killed=$(now)
  ocserv_kill gw1
  while :; do
    begun=$(now)
    login client openconnect.log https://10.99.0.10/
    tries=$((tries + 1))
    [ "$LANDED" = gw2 ] && break
    ended "$STARTED" || stop "$STARTED"
    at_most "$(since "$killed")" 10 || fail "no login reaches gw2 within 10 s"
  done
  tunnel_after=$(since "$killed")
  took=$(awk -v a="$killed" -v b="$begun" 'BEGIN { printf "%.2f", b - a }')
  note "$tries logins tried since the kill of ocserv on gw1; the first on gw2 began after $took s, its tunnel was up after $tunnel_after s"
  expect_at_most "seconds from the kill to the first login that is sent to gw2" "$1" "$took"
}

part "a front door that is there before its address"
front_config front-a
front_listener front-a portal 10.99.0.10:443
front_gateway front-a gw1 10.99.0.11 10.99.0.11
front_gateway front-a gw2 10.99.0.12 10.99.0.12
tunnels gw1 100; tunnels gw2 500
from_files
front_start front-a
expect_soon 5 "it listens on 10.99.0.10:443, which no interface has yet" listens front 10.99.0.10:443
expect_soon 10 "both gateways are up" both_up
lab_address front 10.99.0.10/24

part "the load decides"
load 100 500
lands_on gw1 "gw1 has 100 tunnels, gw2 has 500"
load 500 100
lands_on gw2 "gw1 has 500 tunnels, gw2 has 100"
expect_equal "by host name too, and the answer names the gateway" https://10.99.0.12/ "$(location https://vpn.lab/)"

part "a gateway dies"
load 100 500
lands_on gw1 "before"
first_login_at_gw2_within "$(awk -v a=$FALL_TIMES_INTERVAL -v b=$MARGIN 'BEGIN { print a + b }')"
expect "that tunnel works" ping_through client
logout client "$STARTED"

part "no gateway is left"
ocserv_kill gw2
expect_soon 6 "both are down" eval 'is_down gw1 && is_down gw2'
BEGUN=$(now)
openconnect_start client openconnect.log https://10.99.0.10/
wait_for 10 ended "$STARTED" || fail "openconnect does not give up within 10 s"
TOOK=$(since "$BEGUN")
wait "$STARTED" && fail "openconnect exits with 0 although nobody answered"
expect_at_most "seconds until openconnect reports an error" 3 "$TOOK"
expect_equal "others are told 503" 503 "$(status https://10.99.0.10/)"

part "a gateway comes back"
ocserv_start gw1
BEGUN=$(now)
expect_soon 8 "gw1 is up again" is_up gw1
note "$(since "$BEGUN") s after its start (rise 2, interval 1 s)"
lands_on gw1 "the only one"
ocserv_start gw2
wait_for 10 both_up || fail "gw2 does not come back"
load 500 100
lands_on gw2 "and by load again"

part "a gateway dies, and only its agent says so"
# gateway_with_agent_alone GATEWAY ENDPOINT : the front door makes no check of its own
gateway_with_agent_alone() {
  printf '\n[[gateway]]\nname = "%s"\nssl_endpoint = "%s"\nheartbeat = "https://%s:9464"\n' "$1" "$2" "$2" \
    >>"$WORK/front-a.toml"
}
stop "$FRONT"
front_config front-a
front_listener front-a portal 10.99.0.10:443
gateway_with_agent_alone gw1 10.99.0.11
gateway_with_agent_alone gw2 10.99.0.12
front_start front-a
expect_soon 10 "both gateways are up" both_up
load 100 500
lands_on gw1 "before"
# the agent's rounds until it says so, and one until the front door asks again
first_login_at_gw2_within "$(awk -v a=$FALL_TIMES_INTERVAL -v b=$POLL -v c=$MARGIN 'BEGIN { print a + b + c }')"
expect "that tunnel works" ping_through client
logout client "$STARTED"
ocserv_start gw1
expect_soon 8 "gw1 is up again" is_up gw1

part "TLS 1.2"
load 100 500
lands_on gw1 "a client without TLS 1.3" --gnutls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2 https://10.99.0.10/
stop "$FRONT"

part "IPv6"
front_config front-a
front_listener front-a portal '[fd99::10]:443'
front_gateway front-a gw1 '[fd99::11]' 10.99.0.11
front_gateway front-a gw2 '[fd99::12]' 10.99.0.12
front_start front-a
expect_soon 5 "it listens on [fd99::10]:443 before it exists" listens front '[fd99::10]:443'
lab_address front fd99::10/64
wait_for 10 both_up || fail "the gateways are not up by their IPv6 endpoints"
load 500 100
lands_on gw2 "at [fd99::10], gw2 is emptier" 'https://[fd99::10]/'
load 100 500
lands_on gw1 "at [fd99::10], gw1 is emptier" 'https://[fd99::10]/'
expect_equal "the answer names the IPv6 endpoint" 'https://[fd99::11]/' "$(location 'https://[fd99::10]/')"
stop "$FRONT"

part "what ocserv itself counts"
from_ocserv
front_config front-a
front_listener front-a portal 10.99.0.10:443
front_gateway front-a gw1 10.99.0.11 10.99.0.11
front_gateway front-a gw2 10.99.0.12 10.99.0.12
front_start front-a
wait_for 10 both_up || fail "the gateways are not up"
wait_for 5 has_tunnels gw1 0 && wait_for 5 has_tunnels gw2 0 || fail "the sessions of before are still counted"
login client2 openconnect2.log https://10.99.0.10/
FIRST=$LANDED FIRST_PID=$STARTED
case $FIRST in gw1) SECOND=gw2 ;; gw2) SECOND=gw1 ;; *) fail "the first client gets no tunnel" ;; esac
expect_soon 5 "the front door knows the session of the first client, on $FIRST" has_tunnels "$FIRST" 1
expect_equal "so does ocserv" 1 "$(ocserv_sessions "$FIRST")"
lands_on "$SECOND" "the next client goes to the other"
logout client2 "$FIRST_PID"
stop "$FRONT"
ocserv_kill gw1
ocserv_kill gw2

part "other protocols than AnyConnect, up to the gateway"
from_files
web_start gw1
web_start gw2
front_start front-a
wait_for 10 both_up || fail "the gateways are not up"
# Beside the client nobody but the checks of front door and agents asks the web servers.
# asked GATEWAY : requests that came from the client
asked() { grep -c '^\(::ffff:\)\?10\.99\.0\.50 ' "$WORK/$1.requests"; }
# is_sent_to GATEWAY OTHER PROTOCOL : openconnect goes there and nowhere else
is_sent_to() {
  : >"$WORK/gw1.requests"; : >"$WORK/gw2.requests"
  openconnect_start client openconnect.log "--protocol=$3" "${@:4}" https://10.99.0.10/
  wait_for 10 ended "$STARTED" || stop "$STARTED"
  lab_log "$1.requests"
  [ "$(asked "$1")" -gt 0 ] || fail "--protocol=$3 does not reach $1"
  [ "$(asked "$2")" = 0 ] || fail "--protocol=$3 has also asked $2"
  pass "--protocol=$3 is sent to $1 and asks it: $(grep -m 1 '10\.99\.0\.50 ' "$WORK/$1.requests" | cut -d' ' -f3-)"
}
load 100 500
is_sent_to gw1 gw2 nc
is_sent_to gw1 gw2 gp
load 500 100
is_sent_to gw2 gw1 nc
is_sent_to gw2 gw1 gp
is_sent_to gw2 gw1 nc --gnutls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2
expect "that last client spoke nothing but TLS 1.2" eval '! grep "10\.99\.0\.50 " "$WORK/gw2.requests" | grep -qv "TLSv1\.2 "'

lab_done
