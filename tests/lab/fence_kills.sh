#!/bin/bash
# Shows: no block outlives its reason, whatever is killed. SIGKILL of the agent, of the front door and of both
#        while a block is up: it stays for what is left of its lease, the kernel ends it, and whoever starts
#        again takes over what is there. Tables deleted by somebody, before and after. Then a hundred SIGKILLs
#        at random in a loop, with starts, flushes, failures and recoveries between them: whenever everything runs,
#        newcomers are refused exactly while there is a reason, and one lease after everything is dead nobody is.
# Needs: root; nftables iptables iproute2 curl openssl python3
# Runs: beside others: it mostly waits for leases, which the kernel ends
# Takes: about 290 s
# Env:   SEED=NUMBER      of the random events, to see the same again
#        DEATHS=NUMBER    how many SIGKILLs (default: 100 with nftables), and two fifths of that with iptables
. "$(dirname "$0")/lib.sh"

FALL=3 INTERVAL=1 LEASE=4
SETTLED=$((FALL * INTERVAL + LEASE + 3))   # seconds until everything is as it is to be, whatever was before
DOOR=tcp/10.99.0.11:443
SEED=${SEED:-$(($(date +%s) % 32768))}
RANDOM=$SEED

lab_switch
lab_host front 10.99.0.2/24 10.99.0.10/24
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host crowd 10.99.0.53/24
lab_knockers crowd
lab_names '10.99.0.10 vpn.lab'

web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
web_certificate gw1 DNS:gw1.lab,IP:10.99.0.11
web_certificate gw2 DNS:gw2.lab,IP:10.99.0.12
heartbeat_certificates front-a gw1=10.99.0.11 gw2=10.99.0.12
for NAME in gw1 gw2; do
  web_start $NAME
  tunnels $NAME 100
done
foreign_rules gw1
foreign_rules gw2
foreign_noted gw1 gw2

front_config front-a
front_listener front-a portal 10.99.0.10:443
front_gateway front-a gw1 10.99.0.11 10.99.0.11
front_gateway front-a gw2 10.99.0.12 10.99.0.12
front_fence front-a "lease = \"${LEASE}s\""

# engine NAME : what the agents use when they start the next time
engine() {
  local name
  ENGINE=$1
  for name in gw1 gw2; do
    agent_config $name "10.99.0.1${name#gw}" "{ source = \"file\", path = \"$WORK/$name.tunnels\" }"
    agent_fence $name "engine = \"$ENGINE\"" 'ports = ["tcp/443"]' "lease = \"${LEASE}s\""
  done
}

AGENT='' AGENT2='' FRONT='' KILLS=0
agent_lives() { [ -n "$AGENT" ] || { agent_start gw1; AGENT=$STARTED; }; }
agent_dies() { [ -z "$AGENT" ] || { stop "$AGENT" KILL; KILLS=$((KILLS + 1)); }; AGENT=''; }
front_lives() { [ -n "$FRONT" ] || { start front front-a.log "$VESTIBULE" serve -c "$WORK/front-a.toml"; FRONT=$STARTED; }; }
front_dies() { [ -z "$FRONT" ] || { stop "$FRONT" KILL; KILLS=$((KILLS + 1)); }; FRONT=''; }
all_live() { agent_lives; front_lives; }
all_die() { agent_dies; front_dies; }

# cut_off / connected : the front door does not reach gw1's port, by a rule of somebody else's on its own host
cut_off() {
  CUT=yes
  ip netns exec "$LAB_PREFIX-front" nft -f - <<'RULES'
table ip cut
delete table ip cut
table ip cut { chain out { type filter hook output priority 0; ip daddr 10.99.0.11 tcp dport 443 drop; }; }
RULES
}
connected() {
  CUT=no
  ip netns exec "$LAB_PREFIX-front" nft -f - <<'RULES'
table ip cut
delete table ip cut
RULES
}
breaks() { BROKEN=yes; web_breaks gw1; }
works() { BROKEN=no; web_works gw1; }

is_refused() { knocks crowd refused $DOOR; }
is_open() { knocks crowd open $DOOR; }
# held_by NAMES : who holds the block, in order, with spaces between
held_by() { [ "$(report gw1 10.99.0.11 2>/dev/null | json "sorted(h['by'] for h in d['fence']['holders'])")" = "$1" ]; }

# last_refused SINCE : seconds from then until the last of those who knock all the time did not get in
last_refused() {
  watch_goes_on door.log
  awk -v since="$1" '$1 >= since && NF == 3 && $2 != "open" { last = $1 - since } END { printf "%.2f", last }' "$WORK/door.log"
}

# ends_within SECONDS TEXT : it is refused now, and nobody is refused any more that many seconds later at the most
ends_within() {
  local begun; begun=$(now)
  expect "$2: the block is still up" is_refused
  wait_for $(($1 + 6)) is_open || fail "$2: the block ends"
  expect_at_most "$2: seconds until the last newcomer was refused" "$1.3" "$(last_refused "$begun")"
}

# no_elements HOST : the kernel has taken every element of nftables away; the rules that iptables leaves in its chain
# match nothing any more, which only knocking can show
no_elements() {
  ! ip netns exec "$LAB_PREFIX-$1" nft list table inet vestibule 2>/dev/null | grep -q expires
}

# the_deaths : each on its own, while a block is up
the_deaths() {
  part "$ENGINE: the agent is killed"
  all_live
  wait_for 10 eval 'is_up gw1 && is_up gw2' || fail "the gateways are up"
  breaks
  expect_soon $SETTLED "both hold a block" held_by 'front-a self'
  agent_dies
  ends_within $LEASE "the agent is dead, the front door lives"
  agent_lives
  expect_soon $SETTLED "the agent is back, the reason is still there: blocked" is_refused
  agent_dies
  agent_lives
  works
  expect_soon $SETTLED "the agent takes over a block whose reason has gone, and frees the port" is_open
  expect_soon $SETTLED "nobody holds it" held_by ''

  part "$ENGINE: the front door is killed"
  wait_for 10 is_up gw1 || fail "gw1 is up"
  cut_off
  expect_soon $SETTLED "the front door alone holds a block" held_by front-a
  front_dies
  ends_within $LEASE "the front door is dead, the agent lives"
  front_lives
  expect_soon $SETTLED "the front door is back, its reason is still there: blocked" is_refused
  front_dies
  front_lives
  connected
  expect_soon $SETTLED "a front door that starts again gives up a block whose reason has gone" is_open

  part "$ENGINE: both are killed"
  wait_for 10 is_up gw1 || fail "gw1 is up"
  breaks
  expect_soon $SETTLED "both hold a block" held_by 'front-a self'
  all_die
  ends_within $LEASE "both are dead"
  works

  part "$ENGINE: somebody deletes the rules"
  all_live
  breaks
  expect_soon $SETTLED "both hold a block" held_by 'front-a self'
  delete_ours
  expect_soon 1 "it is back within a second" is_refused
  all_die
  expect "it is still there when both are dead" is_refused
  delete_ours
  expect "and gone when somebody deletes it then" is_open
  all_live
  expect_soon $SETTLED "both are back, and so is the block" is_refused
  works
  expect_soon $SETTLED "until its reason ends" is_open
  foreign_same "$ENGINE, after all this" gw1 gw2
}

# delete_ours : what somebody does who wants us gone from the firewall of gw1
delete_ours() {
  local command
  ip netns exec "$LAB_PREFIX-gw1" nft delete table inet vestibule 2>/dev/null
  for command in iptables ip6tables; do
    ip netns exec "$LAB_PREFIX-gw1" $command -w 2 -D INPUT -j sslvpn-heartbeat-chain 2>/dev/null
    ip netns exec "$LAB_PREFIX-gw1" $command -w 2 -F sslvpn-heartbeat-chain 2>/dev/null
    ip netns exec "$LAB_PREFIX-gw1" $command -w 2 -X sslvpn-heartbeat-chain 2>/dev/null
  done
  return 0
}

# a_moment : up to 0.6 s
a_moment() { sleep "0.$((RANDOM % 7))"; }

# an_event NUMBER : something happens to somebody; who is dead already lives a little before it is killed again
an_event() {
  local what
  case $((RANDOM % 10)) in
    0 | 1) what="the agent is killed"; [ -n "$AGENT" ] || { agent_lives; a_moment; }; agent_dies ;;
    2 | 3) what="the front door is killed"; [ -n "$FRONT" ] || { front_lives; a_moment; }; front_dies ;;
    4) what="both are killed"; all_die ;;
    5) what="the agent is killed and starts at once"; agent_dies; agent_lives ;;
    6) what="somebody deletes our rules"; delete_ours ;;
    7) if [ $BROKEN = no ]; then what="the service breaks"; breaks; else what="the service works"; works; fi ;;
    8) if [ $CUT = no ]; then what="the front door is cut off"; cut_off; else what="the front door is connected"; connected; fi ;;
    9) what="everything lives"; all_live ;;
  esac
  printf '%s %s: %s\n' "$(now)" "$1" "$what" >>"$WORK/events.log"
}

# as_it_must : refused while there is a reason, open while there is none
as_it_must() { if [ $BROKEN = yes ] || [ $CUT = yes ]; then is_refused; else is_open; fi; }

# stays_as_it_must : for a while
stays_as_it_must() {
  local begun; begun=$(now)
  while at_most "$(since "$begun")" 1.5; do as_it_must || return 1; sleep 0.1; done
}

# deaths COUNT : that many SIGKILLs of the agent and of the front door
deaths() {
  local i=0 checked=0 ended=0 begun most=0
  part "$ENGINE: $1 random SIGKILLs (SEED=$SEED)"
  lab_log events.log
  all_live
  KILLS=0
  while [ $KILLS -lt "$1" ]; do
    i=$((i + 1))
    an_event $i
    a_moment
    if [ $((i % 10)) = 0 ]; then
      all_live
      printf '%s everything lives, broken: %s, cut off: %s\n' "$(now)" $BROKEN $CUT >>"$WORK/events.log"
      wait_for $SETTLED stays_as_it_must ||
        fail "event $i, SEED=$SEED: it becomes as it must be (broken: $BROKEN, cut off: $CUT)"
      checked=$((checked + 1))
    fi
    if [ $((i % 30)) = 0 ]; then
      breaks
      wait_for $SETTLED is_refused || fail "event $i, SEED=$SEED: a broken gateway blocks"
      printf '%s all die\n' "$(now)" >>"$WORK/events.log"
      all_die
      begun=$(now)
      wait_for $((LEASE + 6)) is_open || fail "event $i, SEED=$SEED: no block is there one lease after everything is dead"
      most=$(awk -v a="$most" -v b="$(last_refused "$begun")" 'BEGIN { print (a > b) ? a : b }')
      no_elements gw1 || fail "event $i, SEED=$SEED: something is left"
      ended=$((ended + 1))
      works; connected
    fi
  done
  note "$i events, $KILLS SIGKILLs"
  pass "$checked times everything ran again, and newcomers were refused exactly while there was a reason"
  expect_at_most "$ended times everything was dead; seconds until the last newcomer was refused, at the most" \
    "$LEASE.3" "$most"
  works
  connected
  all_live
  expect_soon $SETTLED "in the end everything lives and nobody is refused" is_open
  foreign_same "$ENGINE, after all these deaths" gw1 gw2
}

# Meanwhile people knock at gw1, and at gw2, which nothing ever happens to.
watch_start crowd door.log 0.1 $DOOR
DOOR_WATCH=$STARTED
watch_start crowd gw2.log 0.25 tcp/10.99.0.12:443
WATCH=$STARTED
BROKEN=no CUT=no
note "SEED=$SEED"
for NAME in nftables iptables; do
  engine $NAME
  all_die
  [ -z "$AGENT2" ] || stop "$AGENT2"
  agent_start gw2; AGENT2=$STARTED
  the_deaths
  COUNT=${DEATHS:-100}
  [ $NAME = nftables ] || COUNT=$((COUNT * 2 / 5))
  deaths "$COUNT"
done
watch_stop "$DOOR_WATCH" door.log
watch_stop "$WATCH" gw2.log
expect "nobody was ever refused at the gateway that nothing happened to" eval '! seen refused gw2.log 0'

part "nothing is left after an orderly end"
stop "$FRONT"; FRONT=''
stop "$AGENT"; AGENT=''
stop "$AGENT2"; AGENT2=''
delete_ours_on_gw2() { ip netns exec "$LAB_PREFIX-gw2" iptables-save | grep -q sslvpn-heartbeat-chain; }
expect "no chain of ours" eval '! delete_ours_on_gw2'
expect "no table of ours" eval '! ip netns exec "$LAB_PREFIX-gw2" nft list table inet vestibule 2>/dev/null'
foreign_same "in the end" gw1 gw2

lab_done
