#!/bin/bash
# Shows: blocks in a farm. Three gateways and two front doors: all gateways failing at once leave keep_at_least of
#        them open at every moment; front doors that disagree are separate holders, the port is free when none
#        holds it, and everybody's checks pass through the block; a certificate opens nothing in another's name;
#        a gateway that its front door alone cannot reach does not block itself; checks that leave from another
#        address than the polls are let in; a gateway without an agent is fenced off in the front door's own
#        firewall, for its own processes and for those whose packets it forwards; and a person can list and
#        clear what is there when nothing runs.
# Needs: root; nftables iptables iproute2 curl openssl python3
# Runs: beside others: it mostly waits for rounds and leases, and its bounds are in seconds
# Takes: about 165 s
. "$(dirname "$0")/lib.sh"

INTERVAL=1 RISE=2 FALL=3
BLOCKED_WITHIN=$((FALL * INTERVAL + 1))
FREE_WITHIN=$((RISE * INTERVAL + 1))
LEASE=6
DOORS=(tcp/10.99.0.11:443 tcp/10.99.0.12:443 tcp/10.99.0.13:443)

lab_switch
lab_host front 10.99.0.2/24 10.98.0.2/24
lab_host front2 10.99.0.3/24
lab_host gw1 10.99.0.11/24 10.98.0.11/24
lab_host gw2 10.99.0.12/24
lab_host gw3 10.99.0.13/24
lab_host gw4 10.99.0.14/24
lab_host crowd 10.99.0.53/24
lab_knockers crowd
# a host that has its way to the gateways through the front door's
lab_namespace inner
ip -n "$LAB_PREFIX-front" link add inner0 type veth peer name eth0 netns "$LAB_PREFIX-inner"
ip -n "$LAB_PREFIX-front" address add 10.97.0.1/24 dev inner0
ip -n "$LAB_PREFIX-front" link set inner0 up
ip -n "$LAB_PREFIX-inner" address add 10.97.0.2/24 dev eth0
ip -n "$LAB_PREFIX-inner" link set eth0 up
lab_route inner default 10.97.0.1
lab_route gw4 10.97.0.0/24 10.99.0.2
ip netns exec "$LAB_PREFIX-front" sysctl -qw net.ipv4.ip_forward=1
lab_names '10.99.0.10 vpn.lab'

web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
heartbeat_certificates front-a,front-b gw1=10.99.0.11,10.98.0.11 gw2=10.99.0.12 gw3=10.99.0.13
for NAME in gw1 gw2 gw3 gw4; do
  web_certificate $NAME "DNS:$NAME.lab,IP:10.99.0.1${NAME#gw}"
  web_start $NAME
  tunnels $NAME 100
  foreign_rules $NAME
done
foreign_rules front
foreign_noted front gw1 gw2 gw3 gw4

# agent NAME [LINE...] : (re)started, with these further lines in [fence]
declare -A AGENTS=()
agent() {
  local name=$1; shift
  [ -z "${AGENTS[$name]:-}" ] || stop "${AGENTS[$name]}"
  agent_config "$name" "10.99.0.1${name#gw}" "{ source = \"file\", path = \"$WORK/$name.tunnels\" }"
  agent_fence "$name" 'engine = "nftables"' 'ports = ["tcp/443"]' "lease = \"${LEASE}s\"" "$@"
  agent_start "$name"
  AGENTS[$name]=$STARTED
}

# front_a [LINE...] / front_b [LINE...] : (re)started, with these further lines in [fence]
FRONT_A='' FRONT_B=''
a_config() {
  local name
  front_config "$1"
  front_listener "$1" portal 10.99.0.10:443
  for name in gw1 gw2 gw3; do front_gateway "$1" $name "10.99.0.1${name#gw}" "10.99.0.1${name#gw}"; done
  front_fence "$1" "lease = \"${LEASE}s\"" "${@:2}"
}
front_a() {
  [ -z "$FRONT_A" ] || stop "$FRONT_A"
  a_config front-a "$@"
  front_start front-a; FRONT_A=$FRONT
}
front_b() {
  [ -z "$FRONT_B" ] || stop "$FRONT_B"
  a_config front-b "$@"
  FRONT_HOST=front2 front_start front-b; FRONT_B=$FRONT
}

# of FRONT GATEWAY EXPRESSION : of what the status of that front door says of that gateway, as g
of() {
  front_status "$1" --format json 2>/dev/null |
    json "(lambda g: $3)([g for g in d['gateways'] if g['name'] == '$2'][0])"
}
of_is() { [ "$(of "$1" "$2" "$3")" = "$4" ]; }
all_up() { of_is front-a gw1 "[x['state'] for x in d['gateways'][:3]]" 'up up up'; }
all_up_b() { of_is front-b gw1 "[x['state'] for x in d['gateways'][:3]]" 'up up up'; }

# holders GATEWAY : by the report of its agent, in order
holders() { report "$1" "10.99.0.1${1#gw}" 2>/dev/null | json "sorted(h['by'] for h in d['fence']['holders'])"; }
held_by() { [ "$(holders "$1")" = "$2" ]; }

# severs HOST ADDRESS PORT... / reconnects HOST : that host does not reach these ports, by a rule of somebody else's on it
severs() {
  local ports; ports=$(IFS=,; echo "${*:3}")
  printf 'table ip cut\ndelete table ip cut\ntable ip cut { chain out { type filter hook output priority 0; ip daddr %s tcp dport { %s } drop; }; }\n' "$2" "$ports" |
    ip netns exec "$LAB_PREFIX-$1" nft -f - || fail "the way cannot be cut"
}
reconnects() { ip netns exec "$LAB_PREFIX-$1" nft delete table ip cut || fail "the way cannot be restored"; }

# open_now : how many of the three let the crowd in
open_now() { knock crowd "${DOORS[@]}" | tr ' ' '\n' | grep -c '^open$'; }
open_are() { [ "$(open_now)" = "$1" ]; }

# least_open SINCE : the least that were open in any round of the watch
least_open() {
  awk -v since="$1" '$1 >= since && NF == 7 { n = 0; for (i = 2; i <= 6; i += 2) if ($i == "open") n++; if (least == "" || n < least) least = n } END { print least }' "$WORK/crowd.log"
}
# changes SINCE : how often who is open has changed
changes() {
  awk -v since="$1" '$1 >= since && NF == 7 { now = $2 " " $4 " " $6; if (before != "" && now != before) n++; before = now } END { print n + 0 }' "$WORK/crowd.log"
}
# at_least KEEP SINCE TEXT
at_least() {
  local least; least=$(least_open "$2")
  note "$(awk -v since="$2" '$1 >= since && NF == 7' "$WORK/crowd.log" | wc -l) rounds of knocking, the slowest refusal took $(slowest refused crowd.log) s"
  [ "$least" -ge "$1" ] || { crowd_changes "$2"; fail "$3: at least $1 were open at every moment (saw $least)"; }
  pass "$3: at least $1 were open at every moment"
}
# crowd_changes SINCE : what the watch has seen, without repetitions
crowd_changes() {
  awk -v since="$1" '$1 >= since { now = $2 " " $4 " " $6; if (now != before) print $1 - since, now; before = now }' "$WORK/crowd.log" >"$WORK/crowd.changes"
  lab_log crowd.changes
}

for NAME in gw1 gw2 gw3; do agent $NAME; done

# all_fail KEEP : and keep_at_least of them stay open
all_fail() {
  local begun
  part "all gateways fail, keep_at_least = $1"
  front_a "keep_at_least = $1"
  front_b "keep_at_least = $1"
  wait_for 15 all_up && wait_for 15 all_up_b || fail "all gateways are up"
  watch_start crowd crowd.log 0.1 "${DOORS[@]}"
  local crowd=$STARTED
  wait_for 5 open_are 3 || fail "all let people in"

  begun=$(now)
  web_breaks gw1 gw2 gw3
  expect_soon $((BLOCKED_WITHIN + 2)) "at once: all but $1 block" open_are "$1"
  sleep $((LEASE + 2))  # a span in which leases are renewed, or not
  at_least "$1" "$begun" "all at once"
  expect_equal "and who is open does not change from then on" 0 "$(changes "$(awk -v n="$(now)" -v l=$LEASE 'BEGIN { print n - l }')")"
  begun=$(now)
  web_works gw1 gw2 gw3
  expect_soon $((FREE_WITHIN + 2)) "they work again: all are open" open_are 3
  note "after $(since "$begun") s"
  wait_for 10 all_up && wait_for 10 all_up_b || fail "all gateways are up again"

  begun=$(now)
  web_breaks gw1
  wait_for $((BLOCKED_WITHIN + 2)) open_are 2 || fail "gw1 blocks"
  web_breaks gw2
  wait_for $((BLOCKED_WITHIN + 2)) open_are "$1" || fail "gw2 blocks as far as it may"
  web_breaks gw3
  sleep $((FALL * INTERVAL + LEASE))  # a span in which one too many could block
  expect_equal "one after another: $1 of them open" "$1" "$(open_now)"
  web_works gw1
  expect_soon $((FREE_WITHIN + LEASE)) "the first works again: it is open" knocks crowd open "${DOORS[0]}"
  expect_soon $((LEASE + BLOCKED_WITHIN)) "and $1 in all" open_are "$1"
  web_works gw2 gw3
  expect_soon $((FREE_WITHIN + 2)) "all work again: all are open" open_are 3
  at_least "$1" "$begun" "one after another"
  watch_stop "$crowd" crowd.log
}
all_fail 1
all_fail 2

part "two front doors disagree"
front_a
front_b
wait_for 15 all_up && wait_for 15 all_up_b || fail "all gateways are up"
severs front 10.99.0.12 443
BEGUN=$(now)
expect_soon $((BLOCKED_WITHIN + 1)) "gw2 is fenced by front-a alone, which cannot reach it" held_by gw2 front-a
note "after $(since "$BEGUN") s"
expect "newcomers are refused there" knocks crowd refused "${DOORS[1]}"
for NAME in front-a front-b; do
  expect_soon 4 "the status of $NAME says who holds it" of_is $NAME gw2 "[h['by'] for h in g['fence']['holders']]" front-a
done
of front-b gw2 "g['fence']" >"$WORK/fence.json"
note "$(cat "$WORK/fence.json")"
expect_equal "and why, and for how long" True \
  "$(of front-b gw2 "all(h['reason'] and any(0 < v <= $LEASE for k, v in h.items() if 'left' in k) for h in g['fence']['holders'])")"
expect "the table names it too" eval 'front_status front-b | grep -i "fence" | grep -q "front-a"'
expect_equal "front-b's own check passes through the block" up "$(of front-b gw2 "g['state']")"
expect_equal "but nobody is sent there: not available" False "$(of front-b gw2 "g['availability']['ssl']['available']")"
expect "the metric says so" eval '[ "$(FRONT_HOST=front2 metric vestibule_gateway_fenced gateway=\"gw2\")" = 1 ]'
expect "and of another gateway it does not" eval '[ "$(FRONT_HOST=front2 metric vestibule_gateway_fenced gateway=\"gw3\")" = 0 ]'
expect "front-a's log tells of its block" grep -Eiq 'gw2.*(fence|refuse|block)|(fence|refuse|block).*gw2' "$WORK/front-a.log"
severs front2 10.99.0.12 443
expect_soon $((BLOCKED_WITHIN + 1)) "now front-b holds it as well" held_by gw2 'front-a front-b'
reconnects front
expect_soon $((FREE_WITHIN + 1)) "front-a reaches it again through the block, and lets go" held_by gw2 front-b
expect "newcomers are still refused" knocks crowd refused "${DOORS[1]}"
reconnects front2
BEGUN=$(now)
expect_soon $((FREE_WITHIN + 1)) "front-b lets go as well: the port is free" knocks crowd open "${DOORS[1]}"
expect_at_most "seconds from its reason's end" $FREE_WITHIN "$(since "$BEGUN")"
expect "the other gateways were never touched" knocks crowd open "${DOORS[0]}" "${DOORS[2]}"
# gw1 is the one that both keep open. front-a has another to keep open soon, and gives front-b the time to see it.
severs front 10.99.0.11 443
expect_soon $((BLOCKED_WITHIN + 5 * INTERVAL + 2)) "the one that both kept open is fenced as well, later" held_by gw1 front-a
reconnects front
expect_soon $((FREE_WITHIN + 1)) "and free again" knocks crowd open "${DOORS[0]}"

part "a certificate of another name"
# a front door that runs gives up what it does not know of
stop "$FRONT_B"; FRONT_B=''
# puts FRONT PATH BODY [METHOD] : the status of what the agent on gw1 answers to front2 with that certificate
puts() {
  ip netns exec "$LAB_PREFIX-front2" curl -sS --noproxy '*' -m 3 -o "$WORK/answer" -w '%{http_code}' --cacert "$WORK/certs/ca.pem" \
    --cert "$WORK/certs/$1.pem" --key "$WORK/certs/$1.key" -X "${4:-PUT}" -H 'Content-Type: application/json' \
    -d "$3" "https://10.99.0.11:9464$2" 2>>"$WORK/curl.log"
}
BODY='{"reason": "a test", "lease_seconds": 2}'
expect_equal "front-b blocks in its own name" 200 "$(puts front-b /v1/fence/front-b "$BODY")"
expect_equal "the answer is the fence" True "$(json "d['blocked'] and 'front-b' in [h['by'] for h in d['holders']]" <"$WORK/answer")"
expect "and the block is in force" knocks crowd refused "${DOORS[0]}"
expect_equal "it gives it up" 200 "$(puts front-b /v1/fence/front-b '' DELETE)"
expect "and the port is free" knocks crowd open "${DOORS[0]}"
expect_equal "giving it up twice is fine" 200 "$(puts front-b /v1/fence/front-b '' DELETE)"
for NAME in front-a self gw1; do
  expect_equal "in the name of $NAME: refused" 403 "$(puts front-b "/v1/fence/$NAME" "$BODY")"
done
expect_equal "nor may it let go what another holds" 403 "$(puts front-b /v1/fence/front-a '' DELETE)"
expect_equal "nor keep open in another's name" 403 "$(puts front-b /v1/keep-open/front-a '{"lease_seconds": 2}')"
for BAD in '' '{' '{"reason": "x"}' '{"reason": "x", "lease_seconds": 0}' '{"reason": "x", "lease_seconds": 3601}' '{"reason": "x", "lease_seconds": "2"}'; do
  expect_equal "a bad body: ${BAD:-none}" 400 "$(puts front-b /v1/fence/front-b "$BAD")"
done
expect "nothing of that has blocked anything" knocks crowd open "${DOORS[0]}"
expect_equal "without a certificate there is no answer" 000 \
  "$(on front2 curl -sS --noproxy '*' -m 3 -o /dev/null -w '%{http_code}' --cacert "$WORK/certs/ca.pem" -X PUT -d "$BODY" https://10.99.0.11:9464/v1/fence/front-b 2>>"$WORK/curl.log")"

part "a gateway that its front door alone cannot reach"
severs front 10.99.0.11 443 9464
watch_start crowd crowd.log 0.25 "${DOORS[0]}"
CROWD=$STARTED
expect_soon $((BLOCKED_WITHIN + 2)) "it is down for front-a" of_is front-a gw1 "g['state']" down
sleep $((LEASE + FALL * INTERVAL))  # a span in which it could block
expect "nobody was refused there" eval '! seen refused crowd.log 0'
expect "its agent finds nothing wrong" eval '[ "$(FRONT_HOST=front2 report gw1 10.99.0.11 front-b | json "[d[\"service\"][\"state\"], d[\"fence\"][\"blocked\"]]")" = "up False" ]'
watch_stop "$CROWD" crowd.log
reconnects front
wait_for 10 all_up || fail "all gateways are up again"

part "checks that leave from another address than the polls"
stop "$FRONT_A"; FRONT_A=''
stop "${AGENTS[gw1]}"
agent_config gw1 10.99.0.11 "{ source = \"file\", path = \"$WORK/gw1.tunnels\" }"
sed -i 's/^listen = .*/listen = "10.98.0.11:9464"/' "$WORK/gw1.heartbeat.toml"
agent_fence gw1 'engine = "nftables"' 'ports = ["tcp/443"]' "lease = \"${LEASE}s\""
agent_start gw1
AGENTS[gw1]=$STARTED
a_config front-a
sed -i 's#https://10.99.0.11:9464#https://10.98.0.11:9464#' "$WORK/front-a.toml"
front_start front-a; FRONT_A=$FRONT
wait_for 15 all_up || fail "all gateways are up"
web_breaks gw1
expect_soon $((BLOCKED_WITHIN + 1)) "gw1 blocks" knocks crowd refused "${DOORS[0]}"
wait_for 3 eval '[ "$(report gw1 10.98.0.11 | json "sorted(h[\"by\"] for h in d[\"fence\"][\"holders\"])")" = "front-a self" ]' ||
  fail "gw1 and front-a hold the block"
sleep 2  # a span in which the front door's checks meet the block
expect_equal "front-a's check meets the service, not the block" True \
  "$(of front-a gw1 "all('503' in (c.get('detail') or '') for c in g['checks'] if c['name'] != 'heartbeat')")"
web_works gw1
BEGUN=$(now)
expect_soon $((FREE_WITHIN + 2)) "it works again: everybody gets in" knocks crowd open "${DOORS[0]}"
expect_at_most "seconds until then" $FREE_WITHIN "$(since "$BEGUN")"
foreign_same "after all this" front gw1 gw2 gw3

part "a gateway without an agent: the front door's own firewall"
agent gw1
# front_local : gw1 with its agent, gw4 with none
front_local() {
  [ -z "$FRONT_A" ] || stop "$FRONT_A"
  front_config front-a
  front_listener front-a portal 10.99.0.10:443
  front_gateway front-a gw1 10.99.0.11 10.99.0.11
  {
    printf '\n[[gateway]]\nname = "gw4"\nssl_endpoint = "10.99.0.14"\nfence = "local"\n'
    printf '\n[[gateway.check]]\nkind = "https"\n'
  } >>"$WORK/front-a.toml"
  front_fence front-a "lease = \"${LEASE}s\""
  front_start front-a; FRONT_A=$FRONT
  wait_for 15 eval 'of_is front-a gw1 "g[\"state\"]" up && of_is front-a gw4 "g[\"state\"]" up' || fail "gw1 and gw4 are up"
}
front_local
start front out.log python3 "$LAB_DIR/knock.py" watch 0.1 tcp/10.99.0.14:443
OUT=$STARTED
start inner forwarded.log python3 "$LAB_DIR/knock.py" watch 0.1 tcp/10.99.0.14:443
FORWARDED=$STARTED
wait_for 5 seen open out.log 0 && wait_for 5 seen open forwarded.log 0 || fail "both reach gw4"
web_breaks gw4
BEGUN=$(now)
wait_for $((BLOCKED_WITHIN + 3)) seen refused out.log "$BEGUN" || fail "the front door's own host is kept from gw4"
wait_for 2 seen refused forwarded.log "$BEGUN" || fail "those whose packets it forwards are kept from gw4"
expect_at_most "seconds until the front door's own host is kept from gw4" $BLOCKED_WITHIN "$(first refused out.log "$BEGUN")"
expect_at_most "seconds until those whose packets it forwards are kept from it" $BLOCKED_WITHIN "$(first refused forwarded.log "$BEGUN")"
sleep $((LEASE + 1))  # a span in which the lease is renewed
expect_at_most "seconds that the slowest refused attempt took, on the front door's host" 0.2 "$(slowest refused out.log)"
expect_at_most "seconds that the slowest refused attempt took, through it" 0.2 "$(slowest refused forwarded.log)"
expect "still refused after more than a lease" eval 'knocks front refused tcp/10.99.0.14:443 && knocks inner refused tcp/10.99.0.14:443'
expect "others go their own way" knocks crowd open tcp/10.99.0.14:443
expect "and other gateways are reached" eval 'knocks front open tcp/10.99.0.11:443'
expect "the status says so" of_is front-a gw4 "g['fence']['blocked']" True
note "$(of front-a gw4 "g['fence']")"
expect "what is listed names it" eval 'ip netns exec "$LAB_PREFIX-front" nft list table inet vestibule_front | grep -q 10.99.0.14'
web_works gw4
BEGUN=$(now)
wait_for $((FREE_WITHIN + 3)) knocks front open tcp/10.99.0.14:443 || fail "recovery is seen through the wall"
expect_at_most "seconds until the way is free again" $FREE_WITHIN "$(since "$BEGUN")"
expect_soon 1 "for those behind it too" knocks inner open tcp/10.99.0.14:443
wait_for 10 of_is front-a gw4 "g['state']" up || fail "gw4 is up again"
web_breaks gw4
wait_for $((BLOCKED_WITHIN + 3)) knocks front refused tcp/10.99.0.14:443 || fail "the front door's own host is kept from gw4"
stop "$FRONT_A" KILL; FRONT_A=''
BEGUN=$(now)
expect "the front door is killed: the wall still stands" knocks inner refused tcp/10.99.0.14:443
wait_for $((LEASE + 5)) knocks inner open tcp/10.99.0.14:443 || fail "it ends by itself"
expect_at_most "seconds until it has ended by itself" "$LEASE.5" "$(since "$BEGUN")"
expect "on the host itself too" knocks front open tcp/10.99.0.14:443
web_works gw4
front_local
web_breaks gw4
wait_for $((BLOCKED_WITHIN + 3)) knocks front refused tcp/10.99.0.14:443 || fail "the front door's own host is kept from gw4"
stop "$FRONT_A"; FRONT_A=''
expect "an orderly end takes the wall along" knocks front open tcp/10.99.0.14:443
expect "and its table" eval '! ip netns exec "$LAB_PREFIX-front" nft list table inet vestibule_front 2>/dev/null'
watch_stop "$OUT" out.log
watch_stop "$FORWARDED" forwarded.log
web_works gw4
foreign_same "after it" front gw4

part "a person's hands, when nothing runs"
# fence_on HOST list|clear ... : `vestibule fence` there; its exit status; what it says in $WORK/said
fence_on() { on "$1" "$VESTIBULE" fence "${@:2}" >"$WORK/said" 2>&1; local status=$?; lab_log said; return $status; }
# by_hand ENGINE : what a killed agent has left
by_hand() {
  stop "${AGENTS[gw1]}"
  agent_config gw1 10.99.0.11 "{ source = \"file\", path = \"$WORK/gw1.tunnels\" }"
  agent_fence gw1 "engine = \"$1\"" 'ports = ["tcp/443"]' 'lease = "60s"'
  agent_start gw1; AGENTS[gw1]=$STARTED
  web_breaks gw1
  wait_for $((BLOCKED_WITHIN + 2)) knocks crowd refused "${DOORS[0]}" || fail "gw1 blocks"
  expect "$1, agent running: fence list" fence_on gw1 list
  stop "${AGENTS[gw1]}" KILL
  expect "$1, agent killed: fence list" fence_on gw1 list
  expect "it names the port" grep -Eq 'tcp/443|443/tcp' "$WORK/said"
  expect "and who holds it" grep -q 'held by self' "$WORK/said"
  sed 's/^/        | /' "$WORK/said"
  expect "as JSON too" eval 'fence_on gw1 list --format json && json "len(str(d)) > 10" <"$WORK/said" >/dev/null'
  expect "newcomers are still refused" knocks crowd refused "${DOORS[0]}"
  expect "fence clear" fence_on gw1 clear
  sed 's/^/        | /' "$WORK/said"
  expect "newcomers get in" knocks crowd open "${DOORS[0]}"
  expect "fence list finds nothing more" fence_on gw1 list
  expect "and says so" grep -qi 'no rules' "$WORK/said"
  expect "clearing nothing is fine" fence_on gw1 clear
  expect "nothing of ours is left" eval '! { ip netns exec "$LAB_PREFIX-gw1" nft list ruleset; ip netns exec "$LAB_PREFIX-gw1" iptables-save; ip netns exec "$LAB_PREFIX-gw1" ip6tables-save; } 2>/dev/null | grep -Eq "vestibule|sslvpn-heartbeat"'
  web_works gw1
  foreign_same "$1" gw1
  AGENTS[gw1]=''
}
by_hand nftables
agent gw1
by_hand iptables
agent gw1
front_local
web_breaks gw4
wait_for $((BLOCKED_WITHIN + 3)) knocks front refused tcp/10.99.0.14:443 || fail "the front door's own host is kept from gw4"
stop "$FRONT_A" KILL; FRONT_A=''
expect "front door killed: fence list" fence_on front list
expect "it names the gateway's address" grep -q '10\.99\.0\.14' "$WORK/said"
sed 's/^/        | /' "$WORK/said"
expect "fence clear" fence_on front clear
expect "the way is free" knocks front open tcp/10.99.0.14:443
expect "fence list finds nothing more" fence_on front list
foreign_same "front door" front
mkdir "$WORK/nobody"
cp "$VESTIBULE" "$WORK/nobody/vestibule"
chmod 711 "$WORK"
chmod 755 "$WORK/nobody"
for NAME in list clear; do
  on gw1 setpriv --reuid=65534 --regid=65534 --clear-groups "$WORK/nobody/vestibule" fence $NAME >"$WORK/said" 2>&1
  expect_equal "an ordinary user: fence $NAME exits with" 2 $?
  expect "and says who may" grep -Eiq 'root|CAP_NET_ADMIN' "$WORK/said"
done

lab_done
