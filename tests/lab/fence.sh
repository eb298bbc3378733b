#!/bin/bash
# Shows: a failing gateway refuses newcomers by itself, and no longer than it fails. The procedure with which
#        the heartbeat scripts of old were tested (stop the server, see the block in the listing, see logins go
#        elsewhere, start it, see the block gone), measured from client hosts, for nftables and for iptables, over
#        IPv4 and IPv6: first with an ocserv that is stopped and something dumb on its port, then with one that is
#        frozen, so that its port is open to everybody and every refusal is the fence's. Tunnels over TCP and over
#        DTLS and connections to other ports live on (connections = "new") or are cut ("all"). Flushed rulesets
#        are repaired, the rules of others are never changed, and an agent that may not touch the firewall
#        says so and does without.
# Needs: root; nftables iptables ocserv openconnect vpnc-scripts iputils-ping iproute2 curl openssl python3
# Runs: beside others: it mostly waits for rounds and leases, and its bounds are in seconds
# Takes: about 155 s
. "$(dirname "$0")/lib.sh"

INTERVAL=1 RISE=2 FALL=3                      # seconds and rounds; see front_config and agent_config
BLOCKED_WITHIN=$((FALL * INTERVAL + 1))
FREE_WITHIN=$((RISE * INTERVAL + 1))
AN_ATTEMPT=0.2                                # seconds that a refused one may take
DOORS=(tcp/10.99.0.11:443 'tcp/[fd99::11]:443')

lab_switch
lab_host front 10.99.0.2/24 10.99.0.10/24 fd99::2/64
lab_host gw1 10.99.0.11/24 fd99::11/64
lab_host gw2 10.99.0.12/24 fd99::12/64
lab_host client 10.99.0.50/24 fd99::50/64
lab_host client2 10.99.0.51/24
lab_host client3 10.99.0.52/24
lab_host crowd 10.99.0.53/24 fd99::53/64
lab_knockers crowd
lab_names '10.99.0.10 vpn.lab'

web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
web_certificate gw1 DNS:gw1.lab,IP:10.99.0.11,IP:fd99::11
web_certificate gw2 DNS:gw2.lab,IP:10.99.0.12,IP:fd99::12
heartbeat_certificates front-a gw1=10.99.0.11 gw2=10.99.0.12
for NAME in gw1 gw2; do
  ocserv_config $NAME "10.10${NAME#gw}.0.0"
  printf 'udp-port = 443\ndtls-legacy = true\n' >>"$WORK/$NAME.ocserv"
  ocserv_start $NAME
  tunnels $NAME 100
done

# agents LINE... : both, (re)started with these lines in [fence]
agents() {
  local name
  for name in gw1 gw2; do
    agent_config $name "10.99.0.1${name#gw}" "{ source = \"file\", path = \"$WORK/$name.tunnels\" }"
    agent_fence $name "$@"
  done
  [ -z "${AGENT1:-}" ] || stop "$AGENT1"
  [ -z "${AGENT2:-}" ] || stop "$AGENT2"
  agent_start gw1; AGENT1=$STARTED
  agent_start gw2; AGENT2=$STARTED
}

front() {
  [ -z "${FRONT:-}" ] || stop "$FRONT"
  front_config front-a
  front_listener front-a portal 10.99.0.10:443
  front_gateway front-a gw1 10.99.0.11 10.99.0.11
  front_gateway front-a gw2 10.99.0.12 10.99.0.12
  front_start front-a
  wait_for 15 eval 'is_up gw1 && is_up gw2' || fail "the gateways are not up"
}

# load GW1 GW2 : steers both, and waits until the front door has heard of it
load() {
  tunnels gw1 "$1"
  tunnels gw2 "$2"
  wait_for 5 has_tunnels gw1 "$1" && wait_for 5 has_tunnels gw2 "$2" || fail "the front door hears of the load"
}

# lands_on GATEWAY TEXT : a login at the virtual address, with a working tunnel to that gateway
lands_on() {
  login client openconnect.log https://10.99.0.10/
  [ "$LANDED" = "$1" ] || fail "$2: the tunnel is on $LANDED, not $1"
  ping_through client || { lab_log ping.log; fail "$2: no ping through the tunnel to $1"; }
  pass "$2: tunnel on $1, ping through it"
  logout client "$STARTED"
}

# says EXPRESSION : of what the agent on gw1 reports of its fence, as f
says() { report gw1 10.99.0.11 2>/dev/null | json "(lambda f: $1)(d['fence'])"; }
says_so() { [ "$(says "$1")" = True ]; }

# lists COMMAND... : what it prints on gw1, into $WORK/listing
lists() { ip netns exec "$LAB_PREFIX-gw1" "$@" >"$WORK/listing" 2>&1; lab_log listing; }

# nft_lists_block / nft_lists_none : an element with its timeout is in our table / no element, but the table
nft_lists_block() { lists nft list table inet vestibule && grep -Eq 'tcp \. (443|https) .*expires' "$WORK/listing"; }
nft_lists_none() { lists nft list table inet vestibule && ! grep -Eq '(443|https) .*expires' "$WORK/listing"; }

# iptables_lists_block / iptables_lists_none : the lines of the seed, in both families
iptables_lists_block() {
  local command
  for command in iptables ip6tables; do
    lists $command -L sslvpn-heartbeat-chain || return 1
    grep -q '^Chain sslvpn-heartbeat-chain (1 references)$' "$WORK/listing" || return 1
    grep -Eq "^REJECT +tcp +(--)? +anywhere +anywhere +tcp dpt:(https|443) .*reject-with icmp6?-port-unreachable" \
      "$WORK/listing" || return 1
  done
}
iptables_lists_none() {
  local command
  for command in iptables ip6tables; do
    lists $command -L sslvpn-heartbeat-chain || return 1
    grep -q '^Chain sslvpn-heartbeat-chain (1 references)$' "$WORK/listing" || return 1
    ! grep -q REJECT "$WORK/listing" || return 1
  done
}

# lists_block / lists_none : by the engine that is at work
lists_block() { if [ "$ENGINE" = nftables ]; then nft_lists_block; else iptables_lists_block; fi; }
lists_none() { if [ "$ENGINE" = nftables ]; then nft_lists_none; else iptables_lists_none; fi; }

# is_refused_since START TEXT [OPEN] : soon everybody is, over both families, measured from START on; what was
# refused before OPEN (default: START) does not count
is_refused_since() {
  local column names=(IPv4 IPv6) open=${3:-$1} first
  for column in 1 2; do
    wait_for $((BLOCKED_WITHIN + 4)) seen refused crowd.log "$open" $column || fail "$2: newcomers are refused over ${names[column - 1]}"
    first=$(first refused crowd.log "$open" $column)
    expect_at_most "$2: seconds until newcomers are refused, ${names[column - 1]}" $BLOCKED_WITHIN \
      "$(awk -v a="$1" -v b="$open" -v c="$first" 'BEGIN { printf "%.2f", b + c - a }')"
  done
  sleep 1.5  # a span in which more attempts are made
  watch_goes_on crowd.log
  awk -v since="$open" -v first="$first" '$1 > since + first' "$WORK/crowd.log" >"$WORK/crowd.refused"
  for column in 1 2; do
    expect "$2: all of them from then on, ${names[column - 1]}" eval '! awk -v c='$((2 * column))' "\$c != \"refused\"" "$WORK/crowd.refused" | grep .'
    expect_at_most "$2: seconds that the slowest refused attempt took, ${names[column - 1]}" $AN_ATTEMPT \
      "$(slowest refused crowd.refused $column)"
  done
}

# icmp_errors : how many "destination unreachable" the crowd has got, over both families
icmp_errors() {
  ip netns exec "$LAB_PREFIX-crowd" nstat -asz IcmpInDestUnreachs Icmp6InDestUnreachs |
    awk '/DestUnreachs/ { sum += $2; n++ } END { if (n == 2) print sum }'
}

# is_refused_with reset|icmp TEXT : what the crowd gets for an answer, over each family
is_refused_with() {
  local door before after
  for door in "${DOORS[@]}"; do
    before=$(icmp_errors)
    knocks crowd refused "$door" || fail "$2: refused at $door"
    after=$(icmp_errors)
    [ -n "$before" ] && [ -n "$after" ] || fail "the ICMP errors cannot be counted"
    note "$door: $((after - before)) ICMP errors"
    if [ "$1" = reset ]; then
      expect_equal "$2: with a TCP reset, not an ICMP error, at $door" "$before" "$after"
    else
      expect "$2: with an ICMP error, at $door" [ "$after" -gt "$before" ]
    fi
  done
}

# is_free_since START TEXT : everybody gets in again; measured as the last refusal
is_free_since() {
  local column last names=(IPv4 IPv6)
  wait_for $((FREE_WITHIN + 6)) knocks crowd open "${DOORS[@]}" || fail "$2: newcomers get in again"
  sleep 1.5  # a span in which more attempts are made
  watch_goes_on crowd.log
  for column in 1 2; do
    last=$(awk -v since="$1" -v c=$((2 * column)) '$1 >= since && $c != "open" { last = $1 - since } END { printf "%.2f", last }' "$WORK/crowd.log")
    expect_at_most "$2: seconds until the last newcomer was refused, ${names[column - 1]}" $FREE_WITHIN "$last"
  done
}

# crowd / crowd_goes : people who knock at gw1 all the time, over both families
crowd() { watch_start crowd crowd.log 0.1 "${DOORS[@]}"; CROWD=$STARTED; }
crowd_goes() { watch_stop "$CROWD" crowd.log; }

# holds_on LOG : that connection is there and works
holds_on() { grep -q alive "$WORK/$1" && ! grep -q dead "$WORK/$1"; }

# pings HOST LOG / pings_stop : all the time, through its tunnel to gw1; how many were lost in $LOST, of $SENT
pings() {
  start "$1" "$2" ping -n -i 0.2 -W 1 -I tun0 10.101.0.1
  PINGS=$STARTED
  wait_for 3 grep -q icmp_seq "$WORK/$2" || fail "there is no ping through the tunnel of $1"
}
pings_stop() {
  stop "$1" INT
  SENT=$(sed -n 's/^\([0-9]*\) packets transmitted.*/\1/p' "$WORK/$2")
  LOST=$((SENT - $(sed -n 's/.*, \([0-9]*\) received.*/\1/p' "$WORK/$2")))
}

# has_dtls LOG : that openconnect has a DTLS session
has_dtls() { grep -q 'Established DTLS connection' "$WORK/$1"; }

start gw1 echo.log python3 "$LAB_DIR/knock.py" echo 8443
wait_for 5 listens_on_port gw1 8443 || fail "the echo does not start"
foreign_rules gw1
foreign_noted gw1

# the_procedure LINE... : with these lines in [fence], beside the engine
the_procedure() {
  local begun
  part "$ENGINE: at rest"
  agents "engine = \"$ENGINE\"" "$@"
  front
  expect_soon 5 "the report says what sets the block" says_so "f['engine'] == '$ENGINE' and not f['blocked']"
  expect "the listing shows an empty frame" lists_none
  foreign_same "at rest" gw1
  load 100 500
  lands_on gw1 "before"

  part "$ENGINE: ocserv is stopped, and something dumb takes its port"
  crowd
  begun=$(now)
  ocserv_kill gw1
  start gw1 deaf.log python3 "$LAB_DIR/knock.py" deaf 443
  local deaf=$STARTED
  wait_for 2 listens_on_port gw1 443 || fail "nothing listens"
  local taken; taken=$(now)
  note "the port was closed for $(since "$begun") s, and is open to everybody from then on"
  is_refused_since "$begun" "stopped" "$taken"
  expect "the listing shows the block" lists_block
  lands_on gw2 "meanwhile"
  stop "$deaf"
  ocserv_start gw1
  is_free_since "$(now)" "from the start of ocserv on"
  expect_soon 2 "the listing shows the empty frame" lists_none
  expect_soon 8 "the front door knows" is_up gw1
  load 100 500
  lands_on gw1 "again"
  crowd_goes

  part "$ENGINE: ocserv freezes"
  login client openconnect.log https://10.99.0.10/
  local tunnel=$STARTED
  [ "$LANDED" = gw1 ] || fail "the tunnel is on $LANDED"
  DTLS=yes login client3 openconnect3.log https://10.99.0.10/
  local dtls=$STARTED
  [ "$LANDED" = gw1 ] || fail "the DTLS tunnel is on $LANDED"
  expect_soon 5 "a tunnel over TCP and one over DTLS are on gw1" has_dtls openconnect3.log
  pings client pings.log
  local pings=$PINGS
  pings client3 pings3.log
  local pings3=$PINGS
  start client2 hold.log python3 "$LAB_DIR/knock.py" hold tcp/10.99.0.11:8443
  local hold=$STARTED
  expect_soon 3 "a connection to another port of gw1 is there" holds_on hold.log
  crowd
  begun=$(now)
  ocserv_freezes gw1
  is_refused_since "$begun" "frozen"
  if [ "$ENGINE" = nftables ]; then is_refused_with reset "frozen"; else is_refused_with icmp "frozen"; fi
  expect "the listing shows the block" lists_block
  expect_soon 4 "the agent itself and the front door hold it" \
    says_so "f['blocked'] and sorted(h['by'] for h in f['holders']) == ['front-a', 'self']"
  note "$(says "['%s: %s;' % (h['by'], h['reason']) for h in f['holders']]")"
  foreign_same "while it blocks" gw1
  expect "newcomers to other ports get in" knocks crowd open tcp/10.99.0.11:8443
  expect "people on the gateway itself get in" knocks gw1 open tcp/10.99.0.11:443 tcp/127.0.0.1:443
  login client2 openconnect2.log https://10.99.0.10/
  expect_equal "logins land on the other gateway" gw2 "$LANDED"
  logout client2 "$STARTED"
  sleep 3  # a span in which leases are renewed and tunnels could die
  begun=$(now)
  ocserv_thaws gw1
  is_free_since "$begun" "thawed"
  expect_soon 2 "the listing shows the empty frame" lists_none
  pings_stop "$pings" pings.log
  expect_at_most "pings lost by the tunnel over TCP, of $SENT" 1 "$LOST"
  pings_stop "$pings3" pings3.log
  expect_at_most "pings lost by the tunnel over DTLS, of $SENT" 1 "$LOST"
  expect "the connection to the other port has lived on" holds_on hold.log
  stop "$hold"
  logout client "$tunnel"
  logout client3 "$dtls"
  expect_soon 8 "the front door knows" is_up gw1
  lands_on gw1 "again"
  crowd_goes
  foreign_same "after it" gw1
}

ENGINE=nftables
the_procedure 'ports = ["tcp/443", "udp/443"]'
ENGINE=iptables
the_procedure 'ports = ["tcp/443", "udp/443"]'

# the_other_answer ANSWER reset|icmp : reject_with as it is not by default
the_other_answer() {
  part "$ENGINE: reject_with = \"$1\""
  agents "engine = \"$ENGINE\"" 'ports = ["tcp/443"]' "reject_with = \"$1\""
  ocserv_freezes gw1
  wait_for $((BLOCKED_WITHIN + 2)) knocks crowd refused "${DOORS[@]}" || fail "gw1 blocks"
  is_refused_with "$2" "frozen"
  ocserv_thaws gw1
  wait_for $((FREE_WITHIN + 2)) knocks crowd open "${DOORS[@]}" || fail "gw1 is free again"
}
ENGINE=nftables
the_other_answer icmp-port-unreachable icmp
ENGINE=iptables
the_other_answer tcp-reset reset

# everything_is_cut LINE... : connections = "all"
everything_is_cut() {
  local begun
  part "$ENGINE: everything is cut"
  agents "engine = \"$ENGINE\"" 'ports = ["tcp/443", "udp/443"]' 'connections = "all"'
  front
  load 100 500
  login client openconnect.log https://10.99.0.10/
  local tunnel=$STARTED
  [ "$LANDED" = gw1 ] || fail "the tunnel is on $LANDED"
  DTLS=yes login client3 openconnect3.log https://10.99.0.10/
  local dtls=$STARTED
  expect_soon 5 "a tunnel over TCP and one over DTLS are on gw1" has_dtls openconnect3.log
  expect "UDP is taken before" knocks client2 silent udp/10.99.0.11:443
  start client2 hold.log python3 "$LAB_DIR/knock.py" hold tcp/10.99.0.11:8443
  local hold=$STARTED
  wait_for 3 holds_on hold.log || fail "a connection to another port of gw1 is there"
  crowd
  begun=$(now)
  ocserv_freezes gw1
  is_refused_since "$begun" "frozen"
  expect "so is UDP, over IPv4" knocks client2 refused udp/10.99.0.11:443
  expect "so is UDP, over IPv6" knocks client refused 'udp/[fd99::11]:443'
  expect "the tunnel over TCP is cut" eval '! ping_through client'
  expect "the tunnel over DTLS is cut" eval '! ping_through client3'
  expect "the connection to another port lives on" holds_on hold.log
  if [ "$ENGINE" = iptables ]; then
    lists iptables -L sslvpn-heartbeat-chain
    expect "the listing has the very line of the seed" \
      grep -Eq '^REJECT +tcp +-- +anywhere +anywhere +tcp dpt:https reject-with icmp-port-unreachable *$' "$WORK/listing"
  fi
  begun=$(now)
  ocserv_thaws gw1
  is_free_since "$begun" "thawed"
  crowd_goes
  stop "$hold"
  logout client "$tunnel"
  logout client3 "$dtls"
  foreign_same "after it" gw1
}
ENGINE=nftables
everything_is_cut
ENGINE=iptables
everything_is_cut

# is_repaired COMMAND... : that takes the block away on gw1, and it is back within a second
is_repaired() {
  local begun
  begun=$(now)
  ip netns exec "$LAB_PREFIX-gw1" "$@" || fail "$* works"
  wait_for 5 eval 'lists_block && [ -n "$(first refused crowd.log '"$begun"' 1)" ]' || fail "$*: the block comes back"
  sleep 1.2  # a span in which more attempts are made
  watch_goes_on crowd.log
  local last
  last=$(awk -v since="$begun" '$1 >= since && ($2 != "refused" || $4 != "refused") { last = $1 - since } END { printf "%.2f", last }' "$WORK/crowd.log")
  expect_at_most "$*: seconds until the last newcomer got in" 1.0 "$last"
}

part "somebody flushes the firewall while it blocks"
for ENGINE in nftables iptables; do
  agents "engine = \"$ENGINE\"" 'ports = ["tcp/443"]'
  front
  ocserv_freezes gw1
  wait_for $((BLOCKED_WITHIN + 2)) knocks client2 refused tcp/10.99.0.11:443 || fail "gw1 blocks"
  crowd
  is_repaired nft flush ruleset
  foreign_rules gw1
  foreign_noted gw1
  wait_for 3 lists_block || fail "the block outlives the loading of the rules of others"
  if [ "$ENGINE" = nftables ]; then
    is_repaired nft delete table inet vestibule
    is_repaired nft flush table inet vestibule
    is_repaired nft flush set inet vestibule fenced
  else
    is_repaired iptables -F sslvpn-heartbeat-chain
    is_repaired iptables -D INPUT -j sslvpn-heartbeat-chain
  fi
  foreign_same "$ENGINE, after the repairs" gw1
  # at the log level of everybody
  expect "the log tells of it" grep -Eiq 'changed by|somebody else|in order again' "$WORK/gw1.heartbeat.log"
  ocserv_thaws gw1
  wait_for $((FREE_WITHIN + 4)) knocks client2 open tcp/10.99.0.11:443 || fail "gw1 is free again"
  crowd_goes
done

part "an orderly end"
ENGINE=nftables
agents 'engine = "nftables"' 'ports = ["tcp/443"]'
stop "$FRONT"
ocserv_freezes gw1
wait_for $((BLOCKED_WITHIN + 2)) knocks client2 refused tcp/10.99.0.11:443 || fail "gw1 blocks"
stop "$AGENT1"
expect "an agent that stops takes its own block along" knocks client2 open tcp/10.99.0.11:443
expect "and its table" eval '! ip netns exec "$LAB_PREFIX-gw1" nft list table inet vestibule 2>/dev/null'
agent_config gw1 10.99.0.11 "{ source = \"file\", path = \"$WORK/gw1.tunnels\" }"
agent_fence gw1 'engine = "nftables"' 'ports = ["tcp/443"]' 'on_exit = "lease"' 'lease = "5s"'
agent_start gw1; AGENT1=$STARTED
wait_for $((BLOCKED_WITHIN + 2)) knocks client2 refused tcp/10.99.0.11:443 || fail "gw1 blocks"
stop "$AGENT1"
expect "on_exit = \"lease\": the block stays" knocks client2 refused tcp/10.99.0.11:443
# asked of the kernel, and not measured: on a busy machine that somebody knocks takes its time, too
expect_at_most "seconds until the kernel ends it" 5 "$(ip netns exec "$LAB_PREFIX-gw1" nft -nj list table inet vestibule |
  json "max(m['elem']['expires'] for i in d['nftables'] for m in i.get('set', {}).get('elem', []) if 'elem' in m)")"
expect_soon 10 "it does" knocks client2 open tcp/10.99.0.11:443
ocserv_thaws gw1
foreign_same "after it" gw1
AGENT1=

part "an agent that may not touch the firewall"
mkdir "$WORK/nobody"
cp -r "$WORK/certs" "$WORK/nobody/certs"
cp "$VESTIBULE" "$WORK/nobody/vestibule"
agent_config gw1 10.99.0.11 "{ source = \"file\", path = \"$WORK/gw1.tunnels\" }"
agent_fence gw1 'engine = "nftables"' 'ports = ["tcp/443"]'
cp "$WORK/gw1.heartbeat.toml" "$WORK/nobody/"
chown -R 65534:65534 "$WORK/nobody"
chmod 711 "$WORK"
# does_without LOG WORDS : goes on without a fence, and has said why in one line
does_without() {
  wait_for 5 listens_on_port gw1 9464 || fail "the agent does not start"
  expect_soon 4 "it goes on, and reports that nothing can block" says_so "f['engine'] == 'none' and not f['blocked']"
  ocserv_freezes gw1
  wait_for 6 eval '[ "$(report gw1 10.99.0.11 | json "d[\"service\"][\"state\"]")" = down ]' || fail "the agent sees that ocserv does not work"
  expect "nobody is refused" knocks client2 open tcp/10.99.0.11:443
  ocserv_thaws gw1
  grep -Ei 'fence|firewall|nft|iptables' "$WORK/$1" >"$WORK/lines"
  expect_equal "its log has one line of it" 1 "$(wc -l <"$WORK/lines")"
  expect "that says why" grep -Eiq "$2" "$WORK/lines"
  note "$(cat "$WORK/lines")"
}
for ENGINE in nftables iptables; do
  sed -i "s/^engine = .*/engine = \"$ENGINE\"/" "$WORK/nobody/gw1.heartbeat.toml"
  start gw1 "nobody.$ENGINE.log" setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$WORK/nobody/vestibule" heartbeat -c "$WORK/nobody/gw1.heartbeat.toml"
  AGENT1=$STARTED
  does_without "nobody.$ENGINE.log" 'root|CAP_NET_ADMIN'
  stop "$AGENT1"
done
sed -i 's/^engine = .*/engine = "nftables"/' "$WORK/gw1.heartbeat.toml"
# shellcheck disable=SC2016
start gw1 without.log sh -c 'mount -t tmpfs none /usr/sbin && exec "$0" "$@"' "$VESTIBULE" heartbeat -c "$WORK/gw1.heartbeat.toml"
AGENT1=$STARTED
does_without without.log 'install'
stop "$AGENT1"

lab_done
