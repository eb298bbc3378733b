#!/bin/bash
# Shows: failsafe mode and drains at two front doors with one address. Two front doors, keepalived with the configuration
#        that `vestibule keepalived` prints, two ocserv gateways that answer IKE, too. All doors (HTTPS, DVE, IKE) of both
#        front doors are asked all the time whom they name. The primary gateway dies and comes back, with failback and
#        without, and in between the active front door is stopped, killed or cut off: all name the next one within the
#        health time, nobody names another one meanwhile, and a takeover changes nothing. That holds over restarts of both
#        front doors, and so do drains, wherever they were set and ended. The active front door fences alone; its successor
#        goes on with that, and both do when they do not hear each other. Where both are active that is told loudly, and
#        they still name the same gateway.
# Needs: root; ocserv openconnect vpnc-scripts strongswan-charon strongswan-swanctl libcharon-extra-plugins keepalived
#        nftables iproute2 iputils-ping curl openssl python3, /dev/net/tun
# Takes: about 150 s
. "$(dirname "$0")/lib.sh"

for NEEDED in /usr/lib/ipsec/charon /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so /dev/net/tun; do
  [ -e "$NEEDED" ] || { echo "$LAB_NAME: left out: there is no $NEEDED"; exit 77; }
done

# Of front doors and agents. A gateway that dies is down after FALL bad rounds, the first of them within an interval. One that
# comes back has to have RISE good rounds of its agent, and then RISE of the front door.
INTERVAL=${INTERVAL:-0.5} RISE=2 FALL=3
SLACK=${SLACK:-0.7}       # for asking (a question every 0.1 s, lost ones take 0.3 s); more of it on a machine that is busy
DEAD_WITHIN=$(awk -v i=$INTERVAL -v f=$FALL -v s=$SLACK 'BEGIN { print f * i + s }')
BACK_WITHIN=$(awk -v i=$INTERVAL -v r=$RISE -v s=$SLACK 'BEGIN { print 2 * r * i + s }')
AT_ONCE=$SLACK           # what is ordered at one front door, and known at both
TAKEOVER=2.5             # announcements come every 0.1 s; how long takeovers take is measured by takeover.sh
LEASE=3                  # seconds, of blocks
VIRTUAL=10.99.0.10
INNER=10.100.0.1

lab_switch
lab_host fa 10.99.0.2/24
lab_host fb 10.99.0.3/24
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host client 10.99.0.50/24
lab_host watcher 10.99.0.51/24
lab_host crowd 10.99.0.53/24
lab_knockers crowd
declare -A NAME=([fa]=front-a [fb]=front-b) ADDRESS=([fa]=10.99.0.2 [fb]=10.99.0.3 [gw1]=10.99.0.11 [gw2]=10.99.0.12)
declare -A OTHER=([fa]=fb [fb]=fa) FRONTS KEPT AGENTS
# keepalived runs no script that others than root may write to, nor one in a folder like that
install -m 755 "$VESTIBULE" "$WORK/vestibule" && VESTIBULE=$WORK/vestibule

web_ca
web_certificate front "IP:$VIRTUAL,IP:10.99.0.2,IP:10.99.0.3"
heartbeat_certificates front-a=10.99.0.2,front-b=10.99.0.3 gw1=10.99.0.11 gw2=10.99.0.12
openssl pkey -in "$WORK/certs/dve.key" -pubout -out "$WORK/dve.pub" 2>/dev/null || fail "vestibule certs init makes a key for DVE"

# rounds FILE : INTERVAL for health checks there, in milliseconds
rounds() {
  sed -i -e "s/^interval = .*/interval = \"$(awk -v i="$INTERVAL" 'BEGIN { print 1000 * i }')ms\"/" \
    -e "s/^timeout = .*/timeout = \"$(awk -v i="$INTERVAL" 'BEGIN { print 900 * i }')ms\"/" "$WORK/$1"
}

# agent GATEWAY
agent() {
  agent_config "$1" "${ADDRESS[$1]}" "{ source = \"file\", path = \"$WORK/$1.tunnels\" }"
  rounds "$1.heartbeat.toml"
  agent_start "$1"
  AGENTS[$1]=$STARTED
}

# front_file HOST : its front door's; FAILBACK and FENCE say more
front_file() {
  local name=${NAME[$1]} own=${ADDRESS[$1]} other=${ADDRESS[${OTHER[$1]}]} gateway role=backup
  [ "$1" = fb ] || role=master
  front_config "$name"
  rounds "$name.toml"
  sed -i "s/^\[balance\]/[balance]\nmode = \"failsafe\"\nfailback = $FAILBACK/" "$WORK/$name.toml"
  front_listener "$name" portal $VIRTUAL:443
  front_listener "$name" own "$own:443"
  for gateway in gw1 gw2; do front_gateway "$name" $gateway "${ADDRESS[$gateway]}" "${ADDRESS[$gateway]}"; done
  front_dve "$name" $VIRTUAL:4463 "$own:4463"
  front_ike "$name" $VIRTUAL:500 "$own:500"
  front_fence "$name" "${FENCE[@]}"
  front_vrrp "$name" $role "$other" $VIRTUAL/24 100ms
  front_peers "$name" "$own" "$other"
}

# front HOST : starts its front door
front() { FRONT_HOST=$1 front_start "${NAME[$1]}"; FRONTS[$1]=$FRONT; }

# keep HOST : starts its keepalived
keep() { keepalived_start "$1" "${NAME[$1]}"; KEPT[$1]=$STARTED; }

# changed : both front doors go over to what is configured now
changed() {
  local host
  for host in fa fb; do
    front_file $host
    "$VESTIBULE" reload --admin "$WORK/${NAME[$host]}.admin.sock" >"$WORK/reload.log" 2>&1 || { lab_log reload.log; fail "the new configuration is refused"; }
  done
}

# ask HOST METRIC [LABEL...] : what its front door says
ask() { local host=$1; shift; FRONT_HOST=$host metric "$@"; }

# knows HOST GATEWAY up|down : its front door has found out
knows() { [ "$(ask "$1" vestibule_gateway_state "gateway=\"$2\"" "state=\"$3\"")" = 1 ]; }

# of HOST EXPRESSION : of what the status of its front door says, as d
of() { front_status "${NAME[$1]}" --format json 2>/dev/null | json "$2"; }
of_is() { [ "$(of "$1" "$2")" = "$3" ]; }

# drained HOST : which gateways are drained by order, as its status says
drained() { of "$1" "[g['name'] for g in d['gateways'] if g['drain']]"; }
drained_are() { [ "$(drained fa)" = "$1" ] && [ "$(drained fb)" = "$1" ]; }

# is_active HOST : its front door says so
is_active() { [ "$(ask "$1" vestibule_vrrp_active)" = 1 ]; }

# says HOST WORDS... : `vestibule status` of its front door has a line with each of these
says() {
  local text words; text=$(front_status "${NAME[$1]}" 2>/dev/null); shift
  for words; do grep -q -- "$words" <<<"$text" || return 1; done
}

# is_whole [OR] : one front door is active, and the other one could take over, and they hear each other; OR: what else
# keepalived may have said than what it is
is_whole() {
  local host active= master="keepalived \(says MASTER${1:+\|$1}\)" backup="keepalived \(says BACKUP${1:+\|$1}\)"
  for host in fa fb; do
    if is_active $host; then active=$active$host; fi
  done
  case $active in fa | fb) ;; *) return 1 ;; esac
  has_address "$active" $VIRTUAL && ! has_address "${OTHER[$active]}" $VIRTUAL &&
    says "$active" "^ *31  active .*$master" "^${NAME[${OTHER[$active]}]}  *standby " &&
    says "${OTHER[$active]}" "^ *31  standby .*$backup" "^${NAME[$active]}  *active "
}

# who : which host is the active one, in $ACTIVE, and the other one in $STANDBY
who() {
  # one that is started anew between two looks of its keepalived is told nothing, now or later: nothing has changed for that
  wait_for 6 is_whole || wait_for 6 is_whole 'has said nothing' || { front_status front-a; front_status front-b; fail "one front door is active, and the other one is ready to be"; }
  if is_active fa; then ACTIVE=fa; else ACTIVE=fb; fi
  STANDBY=${OTHER[$ACTIVE]}
}

# ---- whom the doors name ---------------------------------------------------------------------------

doors() { python3 "$LAB_DIR/doors.py" "$1" "$WORK/doors.log" "${@:2}"; }
SHARED=(v-https v-dve v-ike)

# named_since SINCE BEFORE NOW TEXT [DOOR...] : nobody has named anybody else, and from the one to the other nobody has
# gone more than once; or none of these doors
named_since() {
  local histories others
  histories=$(doors named "$1" "${@:5}")
  others=$(grep -v "^\(${ADDRESS[$2]}>\)\?${ADDRESS[$3]} " <<<"$histories" | grep -v "^${ADDRESS[$2]} ")
  [ -z "$others" ] || { printf '%s\n' "$histories"; fail "$4: nobody is named but $3${2:+, and $2 before}"; }
}

# shellcheck disable=SC2059
# names GATEWAY SECONDS TEXT COMMAND... : does that, whereupon the doors at the virtual address name that gateway within so
# many seconds; whoever has named another one before does not go to and fro. ALSO: further doors that have to
TABLE=() NAMED=gw1 ALSO=()
names() {
  local wanted=$1 within=$2 text=$3 begun shown settled; shift 3
  running "$WATCH" || fail "the doors are asked all the time"
  begun=$(now)
  "$@" || fail "$text: $*"
  settled=$(doors settled "$begun" "$(awk -v w="$within" 'BEGIN { print w + 3 }')" "${ADDRESS[$wanted]}" "${SHARED[@]}" "${ALSO[@]}") ||
    { doors named "$begun"; tail -n 20 "$WORK/doors.log"; fail "$text: all doors name $wanted"; }
  shown=$wanted; [ "$wanted" = "$NAMED" ] || shown="$NAMED>$wanted"
  expect_at_most "$text: $shown after seconds" "$within" "${settled% *}"
  named_since "$begun" "$NAMED" "$wanted" "$text"
  TABLE+=("$(printf "$ROW" "$text" "$shown" "$within" "${settled% *}" "${settled#* }")")
  NAMED=$wanted SINCE=$(now)
}
ROW='%-72s %-8s %6s %6s %6s'

# stays TEXT : whatever was asked since the last change has been told the same gateway, by both front doors
stays() {
  local host own=()
  for host in fa fb; do own+=("$host-https"); done
  ! is_active fa || own+=(fa-dve fa-ike)
  ! is_active fb || own+=(fb-dve fb-ike)
  doors answers "$SINCE" 3 "${SHARED[@]}" "${own[@]}" || { tail -n 20 "$WORK/doors.log"; fail "$1: all doors name a gateway"; }
  named_since "$SINCE" "$NAMED" "$NAMED" "$1"
  pass "$1: all doors of both front doors name $NAMED"
  SINCE=$(now)
}

# ---- what is done to them --------------------------------------------------------------------------

# comes_back GATEWAY : its ocserv
comes_back() { ocserv_start "$1"; }

# both_know GATEWAY up|down
both_know() { knows fa "$1" "$2" && knows fb "$1" "$2"; }

# lost WAY : the active front door is lost in that way (its keepalived ends, it is killed, or its link is lost); the other
# one, which takes over, is $ACTIVE from then on
lost() {
  LOST=$ACTIVE
  case $1 in
    keepalived) stop "${KEPT[$LOST]}" ;;
    killed) stop "${FRONTS[$LOST]}" KILL ;;
    link) ip -n "$LAB_PREFIX-sw" link set "p-$LOST" down ;;
  esac
  ACTIVE=${OTHER[$LOST]} STANDBY=$LOST
}

# again WAY TEXT : what was lost is there again, and nobody notices
again() {
  case $1 in
    keepalived) keep "$LOST" ;;
    killed) front "$LOST" ;;
    link) ip -n "$LAB_PREFIX-sw" link set "p-$LOST" up ;;
  esac
  local wanted=$ACTIVE
  who
  [ "$ACTIVE" = "$wanted" ] || fail "$2: $wanted stays the active one"
  if [ "$1" = link ]; then
    # who was cut off has decided for himself, until he hears the others again
    named_since "$SINCE" "$NAMED" "$NAMED" "$2" "${SHARED[@]}" "$ACTIVE-https" "$ACTIVE-dve" "$ACTIVE-ike"
    SINCE=$(now)
  fi
  stays "$2"
}

# both SIGNAL : both front doors are ended at once, and started anew
both() {
  local host
  for host in fa fb; do kill "-$1" "${FRONTS[$host]}"; done
  for host in fa fb; do stop "${FRONTS[$host]}" "$1"; done
  for host in fa fb; do front $host; done
}

# real_clients GATEWAY TEXT : openconnect, strongSwan and vestibule resolve are sent there, and get their tunnels
real_clients() {
  local gateway=$1 peer kind port
  login client client.openconnect.log "https://$VIRTUAL/"
  expect_equal "$2: openconnect logs in at" "$gateway" "$LANDED"
  expect "ping goes through its tunnel" ping_through client
  logout client "$STARTED"
  swan_initiate client vpn || fail "$2: strongSwan gets a tunnel"
  peer=$(swan_peer client)
  expect_equal "strongSwan has its tunnel with" "${ADDRESS[$gateway]}" "${peer% *}"
  swan_terminate client vpn
  for kind in native ssl; do
    port=443; [ $kind = ssl ] || port=500
    expect_equal "vestibule resolve --vpn $kind says" "${ADDRESS[$gateway]}:$port" \
      "$(on client timeout 5 "$VESTIBULE" resolve --key "$WORK/dve.pub" --server $VIRTUAL --vpn $kind 2>>"$WORK/resolve.log")"
  done
}

# severs HOST WHAT... / reconnects HOST : what matches is lost there, in and out, and nothing else any more; several are parted
# by `drop;`
severs() {
  local host=$1; shift
  ip netns exec "$LAB_PREFIX-$host" nft -f - <<RULES || fail "the way cannot be cut"
table inet cut
delete table inet cut
table inet cut {
  chain in { type filter hook input priority 0; $* drop; }
  chain out { type filter hook output priority 0; $* drop; }
}
RULES
}
reconnects() { ip netns exec "$LAB_PREFIX-$1" nft delete table inet cut || fail "the way cannot be restored"; }

part "two front doors, one address, two gateways"
FAILBACK=true FENCE=("lease = \"${LEASE}s\"" 'keep_at_least = 1')
for GATEWAY in gw1 gw2; do
  web_certificate $GATEWAY "IP:${ADDRESS[$GATEWAY]}"
  ocserv_config $GATEWAY 10.10${GATEWAY#gw}.0.0
  ocserv_start $GATEWAY
  swan_gateway $GATEWAY $INNER 10.20${GATEWAY#gw}.0.0/24
  tunnels $GATEWAY 100
  agent $GATEWAY
done
swan_client client $INNER
swan_connection client vpn $VIRTUAL
charon_start client
swan_load client
for HOST in fa fb; do front_file $HOST; front $HOST; done
for HOST in fa fb; do
  # in the order of the services: keepalived does not look again for a fifo whose folder was not there when it started
  wait_for 10 eval "knows $HOST gw1 up && knows $HOST gw2 up" && [ -p "$WORK/${NAME[$HOST]}.run/fifo" ] || fail "the front door of $HOST is ready for keepalived"
  keep $HOST
done
who
pass "$ACTIVE is active, $STANDBY stands by"
WATCHED=()
for DOOR in https dve ike; do
  WATCHED+=("v-$DOOR=$DOOR:$VIRTUAL" "fa-$DOOR=$DOOR:${ADDRESS[fa]}" "fb-$DOOR=$DOOR:${ADDRESS[fb]}")
done
SINCE=$(now)
start watcher doors.log python3 "$LAB_DIR/doors.py" watch "$WORK/web/ca.pem" "${WATCHED[@]}"; WATCH=$STARTED
names gw1 3 "at the start" true
stays "gw1 comes first in the file"
real_clients gw1 "at the virtual address"

part "failback = true: it dies, and comes back"
names gw2 "$DEAD_WITHIN" "failback: the primary dies" ocserv_kill gw1
wait_for 3 both_know gw1 down || fail "both front doors find it down"
stays "then"
real_clients gw2 "while the primary is dead"
names gw1 "$BACK_WITHIN" "failback: it comes back" comes_back gw1
stays "then"

part "failback = true, and a takeover in between"
names gw2 "$DEAD_WITHIN" "failback: the primary dies" ocserv_kill gw1
names gw2 "$TAKEOVER" "failback: the active one's keepalived ends" lost keepalived
names gw1 "$BACK_WITHIN" "failback: the primary comes back at the other front door" comes_back gw1
again keepalived "keepalived is there again"
names gw2 "$DEAD_WITHIN" "failback: the primary dies" ocserv_kill gw1
names gw2 "$TAKEOVER" "failback: kill -9 of the active front door" lost killed
names gw1 "$BACK_WITHIN" "failback: the primary comes back at the other front door" comes_back gw1
again killed "it is started again"
at_once() { ocserv_kill gw1; lost link; }
names gw2 "$(awk -v a="$DEAD_WITHIN" -v b="$TAKEOVER" 'BEGIN { print a + b }')" "failback: the primary dies as the active one's link is lost" at_once
names gw1 "$BACK_WITHIN" "failback: the primary comes back at the other front door" comes_back gw1
again link "its link is there again"
names gw2 "$DEAD_WITHIN" "failback: the primary dies" ocserv_kill gw1
back_at_once() { comes_back gw1; lost killed; }
names gw1 "$BACK_WITHIN" "failback: it comes back as the active front door is killed" back_at_once
again killed "it is started again"

part "failback = false"
FAILBACK=false
changed
stays "gw1 goes on"
names gw2 "$DEAD_WITHIN" "no failback: the primary dies" ocserv_kill gw1
comes_back gw1
wait_for 5 both_know gw1 up || fail "both front doors find it up again"
sleep 1  # for what would follow
stays "it comes back, and waits for its turn"

part "failback = false, and a takeover"
names gw2 "$TAKEOVER" "no failback: the active one's keepalived ends" lost keepalived
again keepalived "keepalived is there again"
names gw2 "$TAKEOVER" "no failback: kill -9 of the active front door" lost killed
again killed "it is started again"
names gw2 "$TAKEOVER" "no failback: the active one's link is lost" lost link
again link "its link is there again"
at_once() { lost link; ocserv_kill gw2; }
names gw1 "$(awk -v a="$DEAD_WITHIN" -v b="$TAKEOVER" 'BEGIN { print a + b }')" "no failback: gw2 dies as the active one's link is lost" at_once
comes_back gw2
wait_for 5 knows $ACTIVE gw2 up || fail "it is up again"
again link "its link is there again, and it has missed that"
# what it remembers is not what has been chosen meanwhile
LOST=$STANDBY
stop "${FRONTS[$LOST]}" KILL
names gw2 "$DEAD_WITHIN" "no failback: the primary dies while the standby is dead" ocserv_kill gw1
comes_back gw1
wait_for 5 knows $ACTIVE gw1 up || fail "it is up again"
again killed "both gateways are up, and the standby, which remembers gw1, is started"
names gw2 "$TAKEOVER" "no failback: kill -9 of the active front door" lost killed
again killed "it is started again"

part "failback = false, and both front doors are started anew"
for SIGNAL in TERM KILL; do
  SINCE=$(now)
  both $SIGNAL
  who
  stays "both at once, SIG$SIGNAL"
done

part "a drain"
FAILBACK=true
names gw1 "$BACK_WITHIN" "failback from now on" changed
# vestibule ACTION ... : asked of the active front door
asked() { "$VESTIBULE" "$@" --admin "$WORK/${NAME[$ACTIVE]}.admin.sock" >"$WORK/order.log" 2>&1 || { lab_log order.log; return 1; }; }
names gw2 "$AT_ONCE" "drain on the active front door" asked drain gw1 --reason "new kernel"
expect_soon 1 "both know of it" drained_are gw1
expect_equal "and why" "new kernel" "$(of "$STANDBY" "d['gateways'][0]['drain']['reason']")"
stays "then"
names gw2 "$TAKEOVER" "drained: the active one's keepalived ends" lost keepalived
expect "it holds after the takeover" of_is $ACTIVE "[g['name'] for g in d['gateways'] if g['drain']]" gw1
again keepalived "keepalived is there again"
for SIGNAL in TERM KILL; do
  SINCE=$(now)
  both $SIGNAL
  who
  stays "both front doors are started anew at once, SIG$SIGNAL"
  expect "it holds" drained_are gw1
done
for HOST in fa fb; do
  SINCE=$(now)
  stop "${FRONTS[$HOST]}"
  front $HOST
  who
  stays "the front door of $HOST is started anew"
done
expect "it holds" drained_are gw1
who
names gw2 "$TAKEOVER" "drained: kill -9 of the active front door" lost killed
again killed "it is started again"
names gw1 "$AT_ONCE" "resume on the one that is active now" asked resume gw1
expect_soon 1 "both know of it" drained_are ''
names gw1 "$TAKEOVER" "resumed: kill -9 of the active front door" lost killed
again killed "it is started again"
expect "nothing is drained" drained_are ''

part "drains of which the other one learns later"
LOST=$STANDBY
stop "${FRONTS[$LOST]}" KILL
names gw2 "$AT_ONCE" "drain while the standby is dead" asked drain gw1 --reason "new kernel"
again killed "it is started"
expect "and knows" drained_are gw1
LOST=$STANDBY
stop "${FRONTS[$LOST]}" KILL
names gw1 "$AT_ONCE" "resume while the standby, which remembers the drain, is dead" asked resume gw1
again killed "it is started"
expect "and knows that it is over" drained_are ''

part "fences: the active one alone"
for GATEWAY in gw1 gw2; do
  agent_fence $GATEWAY 'engine = "nftables"' 'ports = ["tcp/443"]' "lease = \"${LEASE}s\""
  kill -HUP "${AGENTS[$GATEWAY]}"
done
# holders : who has gw1 blocked, by the report of its agent
holders() { FRONT_HOST=watcher report gw1 "${ADDRESS[gw1]}" 2>/dev/null | json "sorted(h['by'] for h in d['fence']['holders'])"; }
held_by() { [ "$(holders)" = "$1" ]; }
expect_soon 5 "its agent can fence gw1, and nobody asks for it" held_by ''
wait_for 5 both_know gw1 up && wait_for 5 both_know gw2 up || fail "both gateways are up"
stays "with other agents"
# stays_held BY SECONDS TEXT : and that by nobody else at any time
stays_held() {
  local end seen; end=$(awk -v n="$(now)" -v s="$2" 'BEGIN { print n + s }')
  while at_most "$(now)" "$end"; do
    seen=$(holders)
    [ "$seen" = "$1" ] || fail "$3: gw1 is held by $1 alone (saw '$seen')"
    sleep 0.1
  done
  pass "$3: for $2 s gw1 is held by $1 alone"
}
watch_start crowd crowd.log 0.1 tcp/10.99.0.11:443; CROWD=$STARTED
cut_off() { severs fa ip daddr "${ADDRESS[gw1]}" tcp dport 443; severs fb ip daddr "${ADDRESS[gw1]}" tcp dport 443; }
names gw2 "$(awk -v d="$DEAD_WITHIN" 'BEGIN { print d + 0.4 }')" "no front door reaches the primary" cut_off
expect_soon 2 "the active one has it blocked" held_by "${NAME[$ACTIVE]}"
wait_for 2 both_know gw1 down || fail "both front doors find it down"
stays_held "${NAME[$ACTIVE]}" $((LEASE + 1)) "the standby, which sees the same, leaves that to it"
BLOCKED=$(now)
stays "then"

part "fences: its host is lost"
names gw2 "$TAKEOVER" "fenced: the active one's link is lost" lost link
expect_soon 2 "its successor has it blocked as well" eval "holders | grep -q ${NAME[$ACTIVE]}"
expect_soon $((LEASE + 1)) "the one before it no longer" held_by "${NAME[$ACTIVE]}"
again link "its link is there again"
# cut off, it saw to the fences itself; its agents may answer it before the other front door does
expect_soon 3 "it stands by: it lets go" held_by "${NAME[$ACTIVE]}"
stays_held "${NAME[$ACTIVE]}" 1.5 "then"

part "fences: front doors that do not hear each other, though VRRP does"
for HOST in fa fb; do
  severs $HOST tcp dport 9465 drop\; ip daddr "${ADDRESS[gw1]}" tcp dport 443
done
expect_soon 5 "then both have it blocked" held_by "front-a front-b"
for HOST in fa fb; do
  expect "vestibule_peer_up at $HOST" eval "[ \"\$(ask $HOST vestibule_peer_up)\" = 0 ]"
  expect "vestibule status at $HOST says so" of_is $HOST "'is silent' in d['summary'] and d['peers'][0]['state']" silent
done
stays_held "front-a front-b" $LEASE "nothing flaps"
expect "the active one stays so" is_active $ACTIVE
stays "whoever is asked"
for HOST in fa fb; do severs $HOST ip daddr "${ADDRESS[gw1]}" tcp dport 443; done
expect_soon $((LEASE + 3)) "when they hear each other again, the standby lets go" held_by "${NAME[$ACTIVE]}"
who
stays "then"
expect_equal "and newcomers were refused there all the time" 0 \
  "$(awk -v s="$BLOCKED" '$1 >= s && $2 == "open"' "$WORK/crowd.log" | wc -l)"
watch_goes_on crowd.log
give_back() { reconnects fa; reconnects fb; }
names gw1 "$(awk -v b="$BACK_WITHIN" -v i=$INTERVAL 'BEGIN { print b + i }')" "they reach the primary again" give_back
expect_soon 2 "nobody has it blocked" held_by ''
watch_stop "$CROWD" crowd.log

part "both are active"
who
BEGUN=$(now)
severs fa meta l4proto 112
severs fb meta l4proto 112
expect_soon 3 "they do not hear each other's VRRP: both are active" eval 'is_active fa && is_active fb'
for HOST in fa fb; do
  wait_for 5 eval "[ \"\$(ask $HOST vestibule_vrrp_conflict)\" = 1 ]" || fail "vestibule_vrrp_conflict at $HOST"
  says $HOST "^$VIRTUAL (vrrp_id 31) is on ${NAME[${OTHER[$HOST]}]} as well" || { front_status "${NAME[$HOST]}"; fail "vestibule status at $HOST says so"; }
  grep -q "ERROR another front door has the virtual address as well.*by=\"${NAME[${OTHER[$HOST]}]}\"" "$WORK/${NAME[$HOST]}.log" || fail "the log of $HOST says so"
done
TOLD=$(since "$BEGUN")
note "$(of fa "d['summary']")"
expect_at_most "both say so, in metric, status and log, after seconds" 5 "$TOLD"
SINCE=$(now)
stays "both are asked"
ALSO=(fa-https fa-dve fa-ike fb-https fb-dve fb-ike)
names gw2 "$DEAD_WITHIN" "both active: the primary dies" ocserv_kill gw1
names gw1 "$(awk -v b="$BACK_WITHIN" -v i=$INTERVAL 'BEGIN { print b + 2 * i }')" "both active: it comes back" comes_back gw1
stays "then"
# one that does not lead; it has the gateway fenced, by which the one that leads chooses another one
sees_another() { severs fb meta l4proto 112 drop\; ip daddr "${ADDRESS[gw1]}" tcp dport 443; }
names gw2 "$(awk -v d="$DEAD_WITHIN" -v i=$INTERVAL 'BEGIN { print d + 3 * i }')" "both active: one of them does not reach the primary" sees_another
stays "then"
sees_again() { severs fb meta l4proto 112; }
names gw1 "$(awk -v b="$BACK_WITHIN" -v i=$INTERVAL 'BEGIN { print b + 2 * i }')" "both active: it reaches it again" sees_again
ALSO=()
reconnects fa
reconnects fb
who
# that there was a conflict is told for half a minute more
pass "when they hear each other one is active: $ACTIVE"
stays "then"

part "when all doors at the virtual address named it, seconds: at most, seen, and between the first door and the last"
# shellcheck disable=SC2059
printf "$ROW\n" event named limit seen spread
printf '%s\n' "${TABLE[@]}"

running "$WATCH" || fail "the doors were asked all the time"
ocserv_kill gw1
ocserv_kill gw2
lab_done
