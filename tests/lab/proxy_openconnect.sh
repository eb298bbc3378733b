#!/bin/bash
# Shows: whole VPN tunnels through the front door. Two ocserv gateways and openconnect on four hosts, through
#        mode = "proxy" (TLS to the gateways, verified) and mode = "passthrough": login, ping, the session back
#        on the same gateway with the same address after the connection has broken in three ways; several
#        clients at once; the real address of a client in ocserv by PROXY v1 and v2; a gateway that goes down
#        keeps its tunnels; a reload costs no packet; and what becomes of a login without affinity.
# Needs: root; ocserv openconnect vpnc-scripts nftables iproute2 (ss -K) iputils-ping curl openssl python3
# Runs: beside others: it measures no time
# Takes: about 100 s
. "$(dirname "$0")/lib.sh"

CLIENTS="client client2 client3 client4"

lab_switch
lab_host front 10.99.0.10/24
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host client 10.99.0.50/24
lab_host client2 10.99.0.51/24
lab_host client3 10.99.0.52/24
lab_host client4 10.99.0.53/24
lab_names '10.99.0.10 vpn.lab'

# The gateways' certificates are those of the name that people type: in passthrough it is theirs that clients see.
web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
web_certificate gw1 DNS:gw1.lab,DNS:vpn.lab,IP:10.99.0.11,IP:10.99.0.10
web_certificate gw2 DNS:gw2.lab,DNS:vpn.lab,IP:10.99.0.12,IP:10.99.0.10
heartbeat_certificates front-a gw1=10.99.0.11 gw2=10.99.0.12

# gateways [LINE] : (re)starts ocserv on both, with one more line in its configuration
gateways() {
  local gateway
  for gateway in gw1 gw2; do
    no_process $gateway ocserv || ocserv_kill $gateway
    ocserv_config $gateway 10.10${gateway#gw}.0.0
    printf '%s\n' "${1:-}" >>"$WORK/$gateway.ocserv"
    ocserv_start $gateway
  done
}
gateways
# An address is a user's: of two sessions of one user, the first to come back would take the other's.
for host in $CLIENTS; do printf 'secret\nsecret\n' | ocpasswd -c "$WORK/passwd" "$host" >/dev/null 2>&1; done

# Agents that say a gateway works as long as its file is there, whatever its ocserv does.
for gateway in gw1 gw2; do
  touch "$WORK/$gateway.duty"
  agent_config $gateway 10.99.0.1${gateway#gw} "{ source = \"ocserv\", socket = \"$WORK/$gateway.occtl\" }"
  printf '\n[[check]]\nname = "duty"\nkind = "exec"\ncommand = ["/usr/bin/test", "-e", "%s"]\n' "$WORK/$gateway.duty" \
    >>"$WORK/$gateway.heartbeat.toml"
  agent_start $gateway
done

UPSTREAM_TLS='upstream_tls = { verify = "ca", ca = "web/ca.pem", server_name = "vpn.lab" }'

# configured LISTENER-ARGUMENT... : front-a.toml with one listener (see front_listener) and both gateways
configured() {
  front_config front-a
  front_listener front-a "$@"
  front_gateway front-a gw1 10.99.0.11 10.99.0.11
  front_gateway front-a gw2 10.99.0.12 10.99.0.12
}
# front MODE [LINE...] : a fresh front door with that listener on 10.99.0.10:443
front() {
  [ -z "${FRONT:-}" ] || stop "$FRONT"
  configured portal 10.99.0.10:443 "$@"
  front_start front-a
  wait_for 10 both_up || fail "the gateways are not up"
}
both_up() { is_up gw1 && is_up gw2; }
other() { case $1 in gw1) echo gw2 ;; gw2) echo gw1 ;; esac; }

# users GATEWAY : sessions of people there, as ocserv lists them; its own count has every open connection in it
users() { on "$1" occtl -s "$WORK/$1.occtl" -j show users | grep -c '"Username": *"[a-z]'; }
# sessions_are GW1 GW2 : so many are on each
sessions_are() { [ "$(users gw1) $(users gw2)" = "$1 $2" ]; }
one_session() { sessions_are 1 0 || sessions_are 0 1; }
# door_counts GATEWAY COUNT : so many tunnels does the front door count there
door_counts() { metric_is "$2" vestibule_tunnels "gateway=\"$1\""; }

# connection HOST : the local port of its connection to the front door
connection() {
  ip netns exec "$LAB_PREFIX-$1" ss -Htn state established dst 10.99.0.10 dport = :443 | awk '{ sub(".*:", "", $3); print $3 }'
}
# reconnected HOST PORT : it has one connection, and that is not the one with this local port
reconnected() { local port; port=$(connection "$1" | grep -vx "$2"); [ -n "$port" ] && [ "$port" = "${port%%[!0-9]*}" ]; }

# Three ways to break the connection of openconnect with pid $2 on host $1, whose local port is $3.
# It closes the connection itself and makes another one.
break_asked() { kill -USR2 "$2"; }
# The kernel resets it: both ends are told.
break_reset() { ip netns exec "$LAB_PREFIX-$1" ss -K sport = ":$3" >/dev/null; }
# From here on everything of it is lost, both ways, and nobody is told: what a NAT does that forgets.
break_silent() {
  ip netns exec "$LAB_PREFIX-$1" nft -f - <<RULES
table inet forgetful {
  chain out { type filter hook output priority 0; tcp sport $3 drop; }
  chain in { type filter hook input priority 0; tcp dport $3 drop; }
}
RULES
}
mend() { ip netns exec "$LAB_PREFIX-$1" nft delete table inet forgetful 2>/dev/null; }

# comes_back TEXT WAY : the connection of host client, openconnect $STARTED on $LANDED, breaks; the same session follows
comes_back() {
  local address port; address=$(tunnel_address client) port=$(connection client)
  [ -n "$port" ] || fail "$1: there is no connection to break"
  local begun; begun=$(now)
  "break_$2" client "$STARTED" "$port"
  wait_for 20 reconnected client "$port" || fail "$1: openconnect does not come back"
  wait_for 5 ping_through client || { lab_log ping.log; fail "$1: no ping through the tunnel afterwards"; }
  [ "$(tunnel_address client)" = "$address" ] || fail "$1: the tunnel's address is not $address any more"
  running "$STARTED" || fail "$1: openconnect has ended"
  pass "$1: the session is back on $LANDED with $address, ping after $(since "$begun") s"
  mend client
}

# What talks through the tunnel, at the gateways' inner ends.
BULK=$((16 << 20))
for gateway in gw1 gw2; do
  start $gateway $gateway.bulk.log python3 "$LAB_DIR/bulk.py" serve 0.0.0.0:5001
  wait_for 5 grep -q ready "$WORK/$gateway.bulk.log" || fail "nobody listens behind $gateway"
done

# whole_life TEXT : login, ping, bulk data, and the session back however the connection breaks
whole_life() {
  login client openconnect.log --force-dpd 2 --reconnect-timeout 30 https://vpn.lab/
  [ "$LANDED" != none ] || fail "$1: no tunnel"
  ping_through client || { lab_log ping.log; fail "$1: no ping through the tunnel"; }
  pass "$1: tunnel on $LANDED, ping through it"
  expect_soon 3 "the front door counts it" door_counts "$LANDED" 1
  on client timeout 30 python3 "$LAB_DIR/bulk.py" talk "$(tunnel_address client | sed 's/\.[0-9]*$/.1/'):5001" none $BULK $BULK >"$WORK/bulk.log" 2>&1 ||
    { lab_log bulk.log; fail "$1: data through the tunnel does not arrive as it was"; }
  pass "$1: $((BULK >> 20)) MiB each way at the same time through the tunnel are right: $(awk 'NR == 1 { printf "%.1f MB/s", ($1 + $2) / 1e6 / $3 }' "$WORK/bulk.log")"
  comes_back "asked to connect anew" asked
  comes_back "reset" reset
  comes_back "lost without a word" silent
  expect_soon 10 "ocserv has one session, not one for each connection" one_session
  logout client "$STARTED"
  expect_soon 10 "and none after the logout" sessions_are 0 0
  # openconnect takes what one TLS record holds for one packet, and drops it if there is more
  expect_equal "packets that openconnect has found glued together" 0 "$(grep -c 'Unexpected packet length' "$WORK/openconnect.log")"
}

part "proxy, affinity \"session\""
front proxy '' '[listener.proxy]' "$UPSTREAM_TLS"
whole_life "by the session cookie"

part "one client's login is nobody else's"
# authenticated : openconnect logs in on host client, opens no tunnel and goes
authenticated() {
  openconnect_start client openconnect.log --authenticate https://vpn.lab/
  wait_for 10 ended "$STARTED" || stop "$STARTED"
  grep -q "^COOKIE='" "$WORK/openconnect.log"
}
expect "openconnect logs in and opens no tunnel" authenticated
# ocserv remembers on a connection who has logged in there; such a connection is nobody else's to use.
for i in $(seq 12); do
  SEEN=$(CLIENT=client2 status https://vpn.lab/ --http1.1 -X CONNECT --request-target /CSCOSSLC/tunnel -H 'X-CSTP-Version: 1' -H 'X-CSTP-MTU: 1400')
  [ "$SEEN" != 200 ] || fail "a tunnel is opened to somebody without a cookie, right after the login of somebody else (request $i)"
done
pass "another client without a cookie gets no tunnel, but $SEEN"
expect "and the next login works" authenticated

part "several clients at once"
declare -A PID PORT ADDRESS GATEWAY
# all_have_tunnels : every client
all_have_tunnels() { local host; for host in $CLIENTS; do tunnel_is_up "$host" || return 1; done; }
# all_reconnected : every client
all_reconnected() { local host; for host in $CLIENTS; do reconnected "$host" "${PORT[$host]}" || return 1; done; }
for host in $CLIENTS; do
  openconnect_start "$host" "openconnect-$host.log" "--user=$host" --reconnect-timeout 30 https://vpn.lab/
  PID[$host]=$STARTED
done
expect_soon 15 "four logins at the same time end in four tunnels" all_have_tunnels
ON_GW1=0
for host in $CLIENTS; do
  GATEWAY[$host]=$(landed_on "$host") ADDRESS[$host]=$(tunnel_address "$host") PORT[$host]=$(connection "$host")
  [ "${GATEWAY[$host]}" != gw1 ] || ON_GW1=$((ON_GW1 + 1))
  ping_through "$host" || fail "no ping from $host"
done
pass "ping through each: $ON_GW1 on gw1, $((4 - ON_GW1)) on gw2"
expect "round robin has used both" eval '[ $ON_GW1 -ge 1 ] && [ $ON_GW1 -le 3 ]'
expect_soon 5 "ocserv lists the same" sessions_are $ON_GW1 $((4 - ON_GW1))
for host in $CLIENTS; do break_reset "$host" "${PID[$host]}" "${PORT[$host]}"; done
expect_soon 20 "all four are reset at once and come back" all_reconnected
for host in $CLIENTS; do
  wait_for 5 ping_through "$host" || fail "no ping from $host afterwards"
  [ "$(landed_on "$host") $(tunnel_address "$host")" = "${GATEWAY[$host]} ${ADDRESS[$host]}" ] || fail "$host is on $(landed_on "$host") with $(tunnel_address "$host") now"
done
pass "each to its gateway, with its address; ping through each"
for host in client3 client4; do logout $host "${PID[$host]}"; done

part "a gateway that goes down keeps its tunnels"
DOWN=${GATEWAY[client]}
rm "$WORK/$DOWN.duty"
expect_soon 8 "$DOWN is down by its agent's word, while its ocserv lives" is_down "$DOWN"
wait_for 5 ping_through client || fail "the tunnel on $DOWN does not work any more"
BEFORE=$(connection client)
login client3 openconnect3.log https://vpn.lab/
expect_equal "a new login goes to the other" "$(other "$DOWN")" "$LANDED"
LATER=$STARTED
login client4 openconnect4.log https://vpn.lab/
expect_equal "and the next one too" "$(other "$DOWN")" "$LANDED"
logout client4 "$STARTED"
logout client3 "$LATER"
expect "ping through the old tunnel" ping_through client
expect_equal "which never broke" "$BEFORE" "$(connection client)"
touch "$WORK/$DOWN.duty"
expect_soon 8 "$DOWN is up again" is_up "$DOWN"
back_in_use() {
  login client3 openconnect3.log https://vpn.lab/
  local landed=$LANDED
  logout client3 "$STARTED"
  [ "$landed" = "$DOWN" ]
}
expect "one of the next two logins goes there" eval 'back_in_use || back_in_use'

part "a front door that remembers nothing"
# As after a restart, or where another one takes the address over.
for host in client client2; do PORT[$host]=$(connection "$host"); done
both_reconnected() { reconnected client "${PORT[client]}" && reconnected client2 "${PORT[client2]}"; }
stop "$FRONT"
front_start front-a
wait_for 10 both_up || fail "the gateways are not up"
expect_soon 40 "it is started anew, and both tunnels come back" both_reconnected
for host in client client2; do
  wait_for 10 ping_through "$host" || fail "no ping from $host afterwards"
  [ "$(landed_on "$host") $(tunnel_address "$host")" = "${GATEWAY[$host]} ${ADDRESS[$host]}" ] || fail "$host is on $(landed_on "$host") with $(tunnel_address "$host") now"
done
pass "each to its gateway, with its address; ping through each"

part "a reload while tunnels are up"
# Pings every 50 ms from both clients, as long as the file is there.
start client ping-1.log ping -n -i 0.05 -W 1 -I tun0 "$(tunnel_address client | sed 's/\.[0-9]*$/.1/')"; PING1=$STARTED
start client2 ping-2.log ping -n -i 0.05 -W 1 -I tun0 "$(tunnel_address client2 | sed 's/\.[0-9]*$/.1/')"; PING2=$STARTED
wait_for 5 grep -q 'icmp_seq=5 ' "$WORK/ping-1.log" && wait_for 5 grep -q 'icmp_seq=5 ' "$WORK/ping-2.log" || fail "the pings do not start"
BEFORE="$(connection client) $(connection client2)"
configured portal 10.99.0.10:443 proxy '' '[listener.proxy]' "$UPSTREAM_TLS" 'policy = "least-loaded"' \
  'affinity = "source-address"' 'persistent_connections = false' 'connect_timeout = "1s"'
front_listener front-a second 10.99.0.10:444 proxy '' '[listener.proxy]' "$UPSTREAM_TLS"
kill -HUP "$FRONT"
expect_soon 5 "SIGHUP with other settings and one more listener: it is there" listens front 10.99.0.10:444
configured second 10.99.0.10:444 proxy '' '[listener.proxy]' "$UPSTREAM_TLS"
expect "vestibule reload without the listener of the tunnels" on front "$VESTIBULE" reload --admin "$WORK/front-a.admin.sock"
gone() { ! listens front 10.99.0.10:443; }
expect_soon 5 "it is gone" gone
configured portal 10.99.0.10:443 proxy '' '[listener.proxy]' "$UPSTREAM_TLS"
expect "vestibule reload: as it was" on front "$VESTIBULE" reload --admin "$WORK/front-a.admin.sock"
expect_soon 5 "it is back" listens front 10.99.0.10:443
# counted from here on, so that pings also go through what has outlived all of this
SEEN=$(grep -c 'icmp_seq=' "$WORK/ping-1.log")
more_pings() { [ "$(grep -c 'icmp_seq=' "$WORK/ping-$1.log")" -ge $((SEEN + 20)) ]; }
wait_for 5 more_pings 1 && wait_for 5 more_pings 2 || fail "the pings have stopped"
stop "$PING1" INT
stop "$PING2" INT
for i in 1 2; do
  lab_log ping-$i.log
  # the last one may have been on its way when ping was stopped
  expect_equal "pings without an answer, of $(grep -c 'icmp_seq=' "$WORK/ping-$i.log")" 0 \
    "$(sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' "$WORK/ping-$i.log" | awk '{ if ($1 > last) last = $1; seen++ } END { print last - seen }')"
done
expect_equal "and the connections are the same ones" "$BEFORE" "$(connection client) $(connection client2)"
login client3 openconnect3.log https://vpn.lab/
expect "newcomers get in" test "$LANDED" != none
logout client3 "$STARTED"
logout client "${PID[client]}"
logout client2 "${PID[client2]}"

part "proxy, affinity \"source-address\""
front proxy '' '[listener.proxy]' 'affinity = "source-address"' "$UPSTREAM_TLS"
whole_life "by the client's address"

part "proxy, without affinity"
configured portal 10.99.0.10:443 proxy '' '[listener.proxy]' 'policy = "round-robin"' 'affinity = "none"' "$UPSTREAM_TLS"
on front "$VESTIBULE" check -c "$WORK/front-a.toml" >"$WORK/check.log" 2>&1
expect_equal "vestibule check refuses it" 1 $?
lab_log check.log
expect "it says why" grep -q "without affinity each request may go to another.*login breaks.*use affinity 'session' or 'source-address'" "$WORK/check.log"
stop "$FRONT"
start front front-a.log "$VESTIBULE" serve -c "$WORK/front-a.toml"
FRONT=$STARTED
wait_for 10 both_up || fail "the gateways are not up"
for i in 1 2 3; do
  login client openconnect.log https://vpn.lab/
  ended "$STARTED" || stop "$STARTED"
  [ "$LANDED" = none ] || fail "without affinity, login $i has got a tunnel on $LANDED"
done
pass "and is right: three logins, none gets a tunnel"

part "proxy, gateways that are not who they should be"
front proxy '' '[listener.proxy]' 'upstream_tls = { verify = "ca", ca = "web/ca.pem", server_name = "vpn.elsewhere" }'
expect_equal "another name in the certificate: 502" 502 "$(status https://vpn.lab/)"
front proxy '' '[listener.proxy]' 'upstream_tls = { verify = "ca", ca = "certs/ca.pem", server_name = "vpn.lab" }'
expect_equal "another authority: 502" 502 "$(status https://vpn.lab/)"
front proxy '' '[listener.proxy]' "$UPSTREAM_TLS"
expect_equal "the right ones: the gateway's own answer" 200 "$(status https://vpn.lab/)"

part "passthrough, affinity \"source-address\""
front passthrough
whole_life "by the client's address"

part "the client's address by the PROXY protocol"
# To such an ocserv nobody can speak without the header, checks neither.
stop "$FRONT"
gateways 'listen-proxy-proto = true'
front_config front-a
PORTS=
for version in v2 v1; do
  front_listener front-a proxy-$version 10.99.0.10:44${version#v} proxy '' '[listener.proxy]' "$UPSTREAM_TLS" "send_proxy_protocol = \"$version\""
  front_listener front-a passthrough-$version 10.99.0.10:45${version#v} passthrough '' '[listener.passthrough]' "send_proxy_protocol = \"$version\""
  PORTS="$PORTS 44${version#v} 45${version#v}"
done
for gateway in gw1 gw2; do
  printf '\n[[gateway]]\nname = "%s"\nssl_endpoint = "%s"\n\n[[gateway.check]]\nkind = "tcp"\n' \
    $gateway 10.99.0.1${gateway#gw} >>"$WORK/front-a.toml"
done
front_start front-a
wait_for 10 both_up || fail "the gateways are not up"
# remote_address GATEWAY : whom ocserv takes its one client for; a check that is under way is no client
remote_address() { on "$1" occtl -s "$WORK/$1.occtl" -j show user alice | sed -n 's/.*"Remote IP": *"\([^"]*\)".*/\1/p'; }
for port in $PORTS; do
  case $port in 44*) name="proxy, PROXY v${port#44}" ;; *) name="passthrough, PROXY v${port#45}" ;; esac
  login client openconnect.log "https://vpn.lab:$port/"
  [ "$LANDED" != none ] || fail "$name: no tunnel"
  ping_through client || fail "$name: no ping through the tunnel"
  expect_equal "$name: tunnel on $LANDED, and ocserv knows the client" 10.99.0.50 "$(remote_address "$LANDED")"
  logout client "$STARTED"
done

lab_done
