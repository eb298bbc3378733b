#!/bin/bash
# Shows: people who run HAProxy, with the agent on their gateways: HAProxy (agent-check) gives each server the weight that
#        its load leaves, sends newcomers past one that is full, takes one whose checks fail, or that a front door
#        fences, for down, says why, and takes it back; a drain that HAProxy's administrator has set stays his. SIGHUP
#        moves the address where HAProxy asks. The configuration of HAProxy is the one of docs/recipes.md.
# Needs: root; haproxy python3 curl openssl nftables iproute2
# Runs: beside others: it measures no time
# Takes: about 15 s
. "$(dirname "$0")/lib.sh"

lab_switch
lab_host lb 62.168.1.203/24
lab_host client 62.168.1.50/24
lab_address lb 192.168.200.3/24
for gateway in gw1 gw2; do
  lab_host $gateway 62.168.1.20${gateway#gw}/24
  lab_address $gateway 192.168.200.${gateway#gw}/24
done
for address in $(seq 100 150); do echo "address add 62.168.1.$address/24 dev eth0"; done | ip -n "$LAB_PREFIX-client" -batch -
lab_names '62.168.1.203 vpn.example.com'
web_ca
heartbeat_certificates front-a gw1=192.168.200.1 gw2=192.168.200.2

declare -A AGENTS
# agent NAME : its agent, whose tunnels stand in a file
agent() {
  cat >"$WORK/$1.toml" <<CONFIG
[agent]
name = "$1"
listen = "192.168.200.${1#gw}:9464"
certificate = "certs/$1.pem"
key = "certs/$1.key"
client_ca = "certs/ca.pem"
haproxy_agent_check = "192.168.200.${1#gw}:9466"
[health]
interval = "300ms"
timeout = "2s"
[[check]]
name = "portal"
kind = "https"
address = "127.0.0.1:443"
[load]
capacity = { tunnels = 100 }
tunnels = { source = "file", path = "$1.tunnels" }
[fence]
CONFIG
  start "$1" "$1.heartbeat.log" "$VESTIBULE" heartbeat -c "$WORK/$1.toml"
  AGENTS[$1]=$STARTED
}

# tunnels NAME COUNT : from now on; whole, whenever it is read
tunnels() { echo "$2" >"$WORK/$1.new" && mv "$WORK/$1.new" "$WORK/$1.tunnels"; }

for gateway in gw1 gw2; do
  web_certificate $gateway DNS:vpn.example.com
  web_start $gateway
  tunnels $gateway 0
  agent $gateway
done

# the one of the recipe, asking more often
sed -n '/^```haproxy$/,/^```$/{/^```/d;p}' docs/recipes.md >"$WORK/haproxy.cfg"
expect "docs/recipes.md has a configuration of HAProxy" test -s "$WORK/haproxy.cfg"
sed -i "s/agent-inter 1s/agent-inter 200ms/; s|/run/haproxy/admin.sock|$WORK/admin.sock|" "$WORK/haproxy.cfg"
expect "HAProxy takes it" haproxy -c -q -f "$WORK/haproxy.cfg"
start lb haproxy.log haproxy -f "$WORK/haproxy.cfg"
expect_soon 20 "HAProxy listens" listens lb 62.168.1.203:443

# haproxy_cli COMMAND : on its stats socket
haproxy_cli() {
  python3 - "$WORK/admin.sock" "$1" <<'PYTHON'
import socket, sys
cli = socket.socket(socket.AF_UNIX)
cli.settimeout(5)
cli.connect(sys.argv[1])
cli.sendall(sys.argv[2].encode() + b"\n")
while chunk := cli.recv(65536):
    sys.stdout.write(chunk.decode())
PYTHON
}
# server NAME COLUMN... : what HAProxy shows of it
server() {
  haproxy_cli "show stat" | python3 -c '
import csv, sys
rows = csv.DictReader(line.removeprefix("# ") for line in sys.stdin)
row = next(row for row in rows if row["svname"] == sys.argv[1])
print(" ".join(row[column] for column in sys.argv[2:]))' "$@"
}
# server_is NAME STATUS : as a pattern of the whole
server_is() { server "$1" status | grep -qxE "$2"; }
weight() { server "$1" weight; }
# weight_is NAME TEST NUMBER
weight_is() { test "$(weight "$1")" "$2" "$3"; }
# told NAME TEXT : what HAProxy has heard last
told() { server "$1" last_agt | grep -qF -- "$2"; }
# arrives ADDRESS : the gateway where somebody with that address arrives
arrives() {
  on client curl -s --max-time 5 --interface "$1" --cacert "$WORK/web/ca.pem" https://vpn.example.com/ |
    grep -o 'gw[12]' | head -n 1
}
# arrivals : the gateways where six newcomers arrive
NEWCOMERS=100
arrivals() {
  local address
  for address in $(seq "$NEWCOMERS" $((NEWCOMERS + 5))); do arrives "62.168.1.$address"; done | sort -u | tr '\n' ' '
}
# newcomers_arrive GATEWAYS : at these, all of them
newcomers_arrive() {
  local seen; seen=$(arrivals)
  NEWCOMERS=$((NEWCOMERS + 6))
  expect_equal "newcomers arrive at $1" "$1 " "$seen"
}

part "weights follow the load"
for gateway in gw1 gw2; do
  expect_soon 20 "$gateway is up" server_is $gateway UP
  # half of the score is the processor of this machine, which may be as busy as it likes
  expect_soon 20 "$gateway without tunnels has at least half of its weight" weight_is $gateway -ge 50
done
newcomers_arrive "gw1 gw2"
tunnels gw2 98
expect_soon 20 "gw2 with 98 of 100 tunnels has at most half of it" weight_is gw2 -le 51
expect "and not nothing" weight_is gw2 -ge 1
note "weights: gw1 $(weight gw1), gw2 $(weight gw2)"

part "one that is full takes no newcomers"
for address in $(seq 140 150); do
  [ "$(arrives "62.168.1.$address")" != gw2 ] || break
done
tunnels gw2 100
expect_soon 20 "gw2 has no weight" weight_is gw2 -eq 0
expect_soon 20 "and is up" server_is gw2 UP
newcomers_arrive gw1
expect_equal "who was at gw2 before arrives there" gw2 "$(arrives "62.168.1.$address")"
tunnels gw2 0
expect_soon 20 "with room again it has weight again" weight_is gw2 -ge 50
newcomers_arrive "gw1 gw2"

part "one whose checks fail is down"
web_breaks gw1
expect_soon 20 "gw1 is down, by what its agent says" server_is gw1 'DOWN \(agent\)'
# of a question that has had no answer in time it shows that; the next one has
expect_soon 20 "HAProxy knows why" told gw1 "portal: "
note "$(server gw1 last_agt)"
newcomers_arrive gw2
web_works gw1
expect_soon 20 "gw1 is up again" server_is gw1 UP

part "one that a front door fences is down"
# fence METHOD [BODY] : front-a's order to gw1
fence() {
  on lb curl -sf --max-time 5 --cacert "$WORK/certs/ca.pem" --cert "$WORK/certs/front-a.pem" --key "$WORK/certs/front-a.key" \
    -X "$1" -H 'Content-Type: application/json' ${2:+-d "$2"} -o /dev/null https://192.168.200.1:9464/v1/fence/front-a
}
expect "front-a fences gw1" fence PUT '{"reason": "no answer from outside", "lease_seconds": 60}'
expect_soon 20 "gw1 is down" server_is gw1 'DOWN.*'
expect_soon 20 "HAProxy knows who says so" told gw1 "fenced by front-a: no answer from outside"
expect "front-a gives it up" fence DELETE
expect_soon 20 "gw1 is up again" server_is gw1 UP

part "what HAProxy's administrator says stays"
haproxy_cli "set server vpn/gw2 state drain" >/dev/null
expect_soon 5 "gw2 drains" server_is gw2 'DRAIN.*'
tunnels gw2 100
expect_soon 20 "it fills up" weight_is gw2 -eq 0
tunnels gw2 0
expect_soon 20 "and empties" weight_is gw2 -ge 50
expect "gw2 drains still" server_is gw2 'DRAIN.*'
haproxy_cli "set server vpn/gw2 state ready" >/dev/null
expect_soon 5 "until he says otherwise" server_is gw2 UP

part "the address follows the configuration"
# line PORT : what the agent on gw1 says there, to one who talks as well
line() {
  on lb python3 - "$1" <<'PYTHON'
import socket, sys
agent = socket.create_connection(("192.168.200.1", int(sys.argv[1])), timeout=5)
agent.sendall(b"gw1\n" * 1000)
print(agent.makefile().read(), end="")
PYTHON
}
says_up() { line "$1" 2>/dev/null | grep -qxE 'up [0-9]+%'; }
expect "it says its line to one who talks" says_up 9466
sed -i 's/:9466/:9467/' "$WORK/gw1.toml"
kill -HUP "${AGENTS[gw1]}"
expect_soon 20 "after SIGHUP it says so at the new address" says_up 9467
expect "and no longer at the old one" eval '! line 9466 2>/dev/null'
expect "the agent has not ended" running "${AGENTS[gw1]}"
lab_done
