#!/bin/bash
# Shows: a Prometheus that begins with dashboards/prometheus.yml as it is understands a farm: two front doors with every
#        kind of door, under load, and the agents of their gateways. What both tell satisfies `promtool check metrics`;
#        every query of the dashboard and of the rules is evaluated without an error, and has data where there should be
#        (dashboards.py knows where not, and why); every metric that they name is told by somebody; each alert has a test that
#        sees it quiet, one that sees it firing, and a part of docs/operations.md that says what to do. When a gateway dies,
#        just those alerts fire that should. Times are short here: a second from scrape to scrape, and alerts fire without waiting.
# Needs: root; prometheus (the program; no service is started) iproute2 curl openssl python3
# Runs: beside others: it waits for what it wants to see, and measures no time
# Takes: about 20 s
. "$(dirname "$0")/lib.sh"

DASHBOARDS=$LAB_DIR/../../dashboards
VIRTUAL=192.168.200.10
lab_switch
lab_host front 192.168.200.3/24 $VIRTUAL/24
lab_host front2 192.168.200.4/24
lab_host gw1 192.168.200.1/24
lab_host gw2 192.168.200.2/24
lab_host client 192.168.200.50/24
# where Prometheus is
lab_host watch 192.168.200.60/24
web_ca
web_certificate front "IP:$VIRTUAL"
web_certificate gw1 IP:192.168.200.1
web_certificate gw2 IP:192.168.200.2
heartbeat_certificates front-a=192.168.200.3,front-b=192.168.200.4,prometheus gw1=192.168.200.1 gw2=192.168.200.2
openssl pkey -in "$WORK/certs/dve.key" -pubout -out "$WORK/dve.pub" 2>/dev/null || fail "vestibule certs init makes a key for DVE"
printf 'a-token-of-the-lab-that-is-long-enough\n' >"$WORK/admin.token"

part "the rules, before anything runs"
# The same rules, but that alerts fire at once.
mkdir "$WORK/dashboards"
cp "$DASHBOARDS/recording.yml" "$WORK/dashboards/"
sed '/^        for: /d' "$DASHBOARDS/alerts.yml" >"$WORK/dashboards/alerts.yml"
sed 's/15s$/1s/' "$DASHBOARDS/prometheus.yml" >"$WORK/dashboards/prometheus.yml"
cp -r "$WORK/certs" "$WORK/dashboards/"
lab_log promtool.log
quietly() { "$@" >"$WORK/promtool.log" 2>&1; }
expect "promtool check rules" quietly promtool check rules "$DASHBOARDS"/recording.yml "$DASHBOARDS"/alerts.yml
expect "promtool check config" quietly promtool check config "$WORK/dashboards/prometheus.yml"
expect "promtool test rules" quietly promtool test rules "$DASHBOARDS"/tests/*.yml
expect "each alert has a test that sees it quiet, one that sees it firing, a severity, and its part of the guide" \
  quietly python3 "$LAB_DIR/dashboards.py" alerts "$DASHBOARDS/alerts.yml" "$LAB_DIR/../../docs/operations.md" "$DASHBOARDS"/tests/*.yml
expect "the dashboard is in order" quietly python3 "$LAB_DIR/dashboards.py" lint "$DASHBOARDS/vestibule.json"

part "a farm with every kind of door, under load"
for gateway in gw1 gw2; do
  address=192.168.200.${gateway#gw}
  web_start $gateway
  agent_config $gateway $address "{ source = \"file\", path = \"$WORK/$gateway.tunnels\" }"
  printf 'pool = { source = "file", path = "%s" }\n' "$WORK/$gateway.tunnels" >>"$WORK/$gateway.heartbeat.toml"
  sed -i 's/tunnels = 1000 }/tunnels = 1000, pool = 1022 }/' "$WORK/$gateway.heartbeat.toml"
  agent_fence $gateway 'engine = "nftables"' 'ports = ["tcp/443"]'
  tunnels $gateway 300
  agent_start $gateway
done
# front NAME OWN OTHER ROLE
front() {
  front_config "$1"
  sed -i "s|^listen = .*|listen = \"0.0.0.0:9463\"\ntoken_file = \"$WORK/admin.token\"|" "$WORK/$1.toml"
  front_listener "$1" portal "$VIRTUAL:443"
  front_listener "$1" plain "$VIRTUAL:80" https-upgrade
  front_listener "$1" proxy "$VIRTUAL:8443" proxy '[listener.proxy]' 'upstream_tls = { verify = "ca", ca = "web/ca.pem" }'
  front_listener "$1" raw "$VIRTUAL:9443" passthrough
  front_gateway "$1" gw1 192.168.200.1 192.168.200.1
  front_gateway "$1" gw2 192.168.200.2 192.168.200.2
  front_dve "$1" "$VIRTUAL:4463"
  front_ike "$1" "$VIRTUAL:500"
  mkdir -p "$WORK/$1.run"
  front_vrrp "$1" "$4" "$3" "$VIRTUAL/24" 1s
  front_peers "$1" "$2" "$3"
}
front front-a 192.168.200.3 192.168.200.4 master
front front-b 192.168.200.4 192.168.200.3 backup
front_start front-a
FRONT_HOST=front2 front_start front-b
expect_soon 20 "the front door has both gateways" eval 'is_up gw1 && is_up gw2'

# Everybody who comes, again and again, until the end of the test.
cat >"$WORK/traffic.sh" <<TRAFFIC
ask() { curl -s --noproxy '*' -m 3 -o /dev/null --cacert "$WORK/web/ca.pem" "\$@"; }
while :; do
  for round in 1 2 3; do
    ask "https://$VIRTUAL/" && ask --tls-max 1.2 "https://$VIRTUAL/" && ask "http://$VIRTUAL/"
    ask "https://$VIRTUAL:8443/"
    ask -k "https://$VIRTUAL:9443/"
    "$VESTIBULE" resolve --server "$VIRTUAL" --key "$WORK/dve.pub"
    python3 "$LAB_DIR/ike_probe.py" ask "$VIRTUAL" 500
  done
  # somebody who does not trust the certificate
  curl -s --noproxy '*' -m 3 -o /dev/null "https://$VIRTUAL/"
done
TRAFFIC
start client traffic.log bash "$WORK/traffic.sh"
expect_soon 20 "people come by DVE, by IKEv2, and are taken to gateways" eval 'at_most 2 "$(metric vestibule_dve_requests_total "status=\"ok\"")" &&
  at_most 2 "$(metric vestibule_ikev2_redirects_total)" && at_most 2 "$(metric vestibule_upstream_requests_total)"'

part "what they tell"
# told HOST URL [CURL OPTION...] : promtool has nothing to say about it
told() {
  local host=$1 url=$2; shift 2
  on "$host" curl -sS --noproxy '*' -m 5 "$@" "$url" >"$WORK/$host.metrics" &&
    promtool check metrics <"$WORK/$host.metrics" >"$WORK/promtool.log" 2>&1 && [ ! -s "$WORK/promtool.log" ]
}
expect "promtool check metrics: the front door" told front http://127.0.0.1:9463/metrics
for gateway in gw1 gw2; do
  expect "promtool check metrics: the agent of $gateway" told $gateway "https://192.168.200.${gateway#gw}:9464/metrics" \
    --cacert "$WORK/certs/ca.pem" --cert "$WORK/certs/prometheus.pem" --key "$WORK/certs/prometheus.key"
done

part "Prometheus"
mkdir "$WORK/prometheus"
start watch prometheus.log prometheus --config.file "$WORK/dashboards/prometheus.yml" --storage.tsdb.path "$WORK/prometheus" \
  --web.listen-address 127.0.0.1:9090 --log.level warn
# what Prometheus says to a query, and who fires
api() { on watch python3 "$LAB_DIR/dashboards.py" "$1" http://127.0.0.1:9090 "${@:2}"; }
# Somebody may be on the way to the gateway when it blocks its port, and that lasts in a rate of 5 minutes.
firing() { [ "$(api firing VestibuleUpstreamFailures)" = "$1" ]; }
expect_soon 30 "it reaches both front doors and both agents" eval '[ "$(api value "sum(up)")" = 4 ]'
expect_soon 60 "one alert fires: the certificates of the lab end soon" firing "VestibuleCertificateExpiring"

web_breaks gw2
expect_soon 60 "a gateway dies, and just what follows from that fires" firing \
  "VestibuleCertificateExpiring VestibuleFarmDegraded VestibuleFencedLong VestibuleGatewayDown VestibuleNoHeadroom"
lab_log evaluation.log
expect "every query is evaluated, and has data where there should be" eval \
  'api evaluate "$DASHBOARDS/vestibule.json" >"$WORK/evaluation.log" 2>&1'
note "$(tail -n 1 "$WORK/evaluation.log")"
lab_done
