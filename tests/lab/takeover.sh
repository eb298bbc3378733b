#!/bin/bash
# Shows: two front doors with one address, keepalived with the configuration that `vestibule keepalived` prints, two ocserv
#        gateways: logins go on through every kind of takeover. While the active front door is killed, ends, loses its
#        keepalived by a kill or in order, or its link, openconnect logs in at the virtual address every 50 ms, and a
#        browser loads it again and again. How long nobody gets in is measured with VRRP announcements every 0.1 s and every
#        second. Tunnels that were there before live through all of it, and the standby says that it is one.
# Needs: root; ocserv openconnect vpnc-scripts keepalived chromium libnss3-tools iproute2 iputils-ping curl openssl python3
# Takes: about 110 s
. "$(dirname "$0")/lib.sh"

GOOD=0.2                 # seconds until a login has its connection; one that takes longer was begun while nobody was there
# seconds from the first login that is not good to the next good one, by the interval of announcements
declare -A LIMITS=([100ms]=0.5 [1s]=3.5)
VIRTUAL=10.99.0.10

lab_switch
lab_host fa 10.99.0.2/24
lab_host fb 10.99.0.3/24
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host client 10.99.0.50/24
lab_host browser 10.99.0.51/24
lab_host tunnel1 10.99.0.61/24
lab_host tunnel2 10.99.0.62/24
lab_names "$VIRTUAL vpn.lab"
declare -A NAME=([fa]=front-a [fb]=front-b) ADDRESS=([fa]=10.99.0.2 [fb]=10.99.0.3) OTHER=([fa]=fb [fb]=fa) FRONTS KEPT
# keepalived runs no script that others than root may write to, nor one in a folder like that
install -m 755 "$VESTIBULE" "$WORK/vestibule" && VESTIBULE=$WORK/vestibule

web_ca
web_certificate front "DNS:vpn.lab,IP:$VIRTUAL"
heartbeat_certificates front-a,front-b gw1=10.99.0.11 gw2=10.99.0.12
# a hash that costs less to check than ocpasswd's: many log in
printf 'alice:*:%s\n' "$(openssl passwd -1 secret)" >"$WORK/passwd"
for GATEWAY in gw1 gw2; do
  web_certificate $GATEWAY "IP:10.99.0.1${GATEWAY#gw}"
  ocserv_config $GATEWAY 10.10${GATEWAY#gw}.0.0
  ocserv_start $GATEWAY
  tunnels $GATEWAY 100
  agent_config $GATEWAY 10.99.0.1${GATEWAY#gw} "{ source = \"file\", path = \"$WORK/$GATEWAY.tunnels\" }"
  agent_start $GATEWAY
done

# front HOST : starts its front door
front() { FRONT_HOST=$1 front_start "${NAME[$1]}"; FRONTS[$1]=$FRONT; }

# keep HOST : starts its keepalived
keep() { keepalived_start "$1" "${NAME[$1]}"; KEPT[$1]=$STARTED; }

# ask HOST METRIC [LABEL...] : what its front door says
ask() { local host=$1; shift; FRONT_HOST=$host metric "$@"; }

# is_active HOST / is_standby HOST : its front door says so
is_active() { [ "$(ask "$1" vestibule_vrrp_active)" = 1 ]; }
is_standby() { [ "$(ask "$1" vestibule_vrrp_active)" = 0 ]; }

# is_warm HOST : its front door has found both gateways
is_warm() { FRONT_HOST=$1 is_up gw1 && FRONT_HOST=$1 is_up gw2; }

# says HOST WORDS : `vestibule status` of its front door has a line with these in it
says() { front_status "${NAME[$1]}" 2>/dev/null | grep -q -- "$2"; }

# is_whole : one host has the address, its front door knows that it is the active one, and the other one could take over
is_whole() {
  local host active=
  for host in fa fb; do
    is_warm $host || return 1
    if is_active $host; then active=$active$host; fi
  done
  case $active in fa | fb) ;; *) return 1 ;; esac
  has_address "$active" $VIRTUAL && ! has_address "${OTHER[$active]}" $VIRTUAL &&
    says "$active" "^ *31  active .*keepalived says MASTER" &&
    says "${OTHER[$active]}" "^ *31  standby .*keepalived says BACKUP" &&
    [ "$(ask fa vestibule_vrrp_conflict)" = 0 ] && [ "$(ask fb vestibule_vrrp_conflict)" = 0 ]
}

# who : which host is the active one, in $ACTIVE, and the other one in $STANDBY
who() {
  wait_for 15 is_whole || { front_status front-a; front_status front-b; fail "one front door is active, and the other one is ready to be"; }
  if is_active fa; then ACTIVE=fa; else ACTIVE=fb; fi
  STANDBY=${OTHER[$ACTIVE]}
}

# dve ADDRESS : how the front door there answers
dve() { on client python3 "$LAB_DIR/dve_probe.py" ask "$1" 4463 2>>"$WORK/probe.log" | cut -d' ' -f1; }

# roles : both front doors say what they are, natively too
roles() {
  expect_equal "DVE: the standby tells who asks it to ask the other one" standby "$(dve "${ADDRESS[$STANDBY]}")"
  expect_equal "DVE: the active one names a gateway" ok "$(dve $VIRTUAL)"
}

# tunnel_start HOST GATEWAY : a real tunnel from there, through which it pings all the time
tunnel_start() {
  tunnels gw1 500; tunnels gw2 500; tunnels "$2" 100
  wait_for 5 eval "FRONT_HOST=$ACTIVE has_tunnels $2 100 && FRONT_HOST=$ACTIVE has_tunnels gw$((3 - ${2#gw})) 500" || fail "the front door hears of the load"
  login "$1" "$1.openconnect.log" "https://$VIRTUAL/"
  expect_equal "a tunnel from $1" "$2" "$LANDED"
  TUNNELS+=("$STARTED")
  start "$1" "$1.ping" ping -D -i 0.2 -I tun0 "$(tunnel_address "$1" | sed 's/\.[0-9]*$/.1/')"
  PINGS+=("$STARTED")
}

# good_since SECONDS COUNT : so many good logins have begun since then
good_since() { awk -v s="$1" -v c="$2" -v g=$GOOD '$1 > s && $2 <= g && $4 != "failed" { n++ } END { exit n < c }' "$WORK/logins.log"; }

# pages_since SECONDS COUNT : the browser has begun to load so many pages since then and has got them
pages_since() { awk -v s="$1" -v c="$2" '$1 > s && $3 != "failed" { n++ } END { exit n < c }' "$WORK/browsing.log"; }

# shellcheck disable=SC2059
# event WHAT COMMAND... : does that to the active host, while people log in; what they saw of it comes into the table, and
# the roles have changed
TABLE=()
event() {
  local what=$1 at end gap over pause logins late failed slowest pages lost page after; shift
  who
  part "$what, announcements every $INTERVAL: $ACTIVE is active"
  start client logins.log python3 "$LAB_DIR/logins.py" run 0.05 $VIRTUAL "$WORK/web/ca.pem"; LOGINS=$STARTED
  at=$(now)
  wait_for 10 good_since "$at" 10 || fail "people log in"
  at=$(now)
  "$@"
  wait_for 10 is_active "$STANDBY" || fail "$STANDBY takes over"
  end=$(now)
  wait_for 10 good_since "$end" 20 && wait_for 10 pages_since "$end" 2 || fail "people log in again"
  end=$(now)
  stop "$LOGINS"
  # who has begun shortly before may have met it as well
  read -r gap over pause logins late failed slowest < <(
    python3 "$LAB_DIR/logins.py" gap "$(awk -v a="$at" 'BEGIN { print a - 0.5 }')" "$end" $GOOD "$WORK/logins.log")
  expect_at_most "seconds in which nobody could log in" "${LIMITS[$INTERVAL]}" "$gap"
  at_most "$pause" 1 || fail "somebody tries all the time; this machine is too busy to tell (nobody did for $pause s)"
  # how many pages were under way, how many of these never came, how long the slowest took that did; none is lost
  # that was asked for when people could log in again
  read -r pages lost page after < <(awk -v a="$at" -v e="$end" -v o="$over" '
    $1 + $2 > a && $1 < e { n++; if ($3 == "failed") { lost++; if ($1 > a && $1 > o) after++ } else if ($2 > most) most = $2 }
    END { print n + 0, lost + 0, most + 0, after + 0 }' "$WORK/browsing.log")
  expect_equal "pages that a browser asked for after that and did not get" 0 "$after"
  TABLE+=("$(printf "$ROW" "$what" "$INTERVAL" "$gap" "$pause" "$logins" "$late" "$failed" "$slowest" "$pages" "$lost" "$page")")
}
ROW='%-34s %8s %7s %6s %7s %5s %7s %8s %6s %7s %8s'

# again HOST : what was ended there is started again, and the farm is whole
again() {
  case $1 in front) front "$ACTIVE" ;; keepalived) keep "$ACTIVE" ;; link) ip -n "$LAB_PREFIX-sw" link set "p-$ACTIVE" up ;; esac
  BEFORE=$ACTIVE
  who
  expect_equal "whole again; active is" "${OTHER[$BEFORE]}" "$ACTIVE"
}

# front_ends SIGNAL / keepalived_ends / keepalived_is_killed / link_lost : what is done to the active host
front_ends() { stop "${FRONTS[$ACTIVE]}" "$1"; }
keepalived_ends() { stop "${KEPT[$ACTIVE]}"; }
keepalived_is_killed() { keepalived_kill "$ACTIVE"; stop "${KEPT[$ACTIVE]}" KILL; }
link_lost() { ip -n "$LAB_PREFIX-sw" link set "p-$ACTIVE" down; }

part "two front doors, one address"
for HOST in fa fb; do
  front_config "${NAME[$HOST]}"
  front_listener "${NAME[$HOST]}" portal $VIRTUAL:443
  for GATEWAY in gw1 gw2; do front_gateway "${NAME[$HOST]}" $GATEWAY 10.99.0.1${GATEWAY#gw} 10.99.0.1${GATEWAY#gw}; done
  front_dve "${NAME[$HOST]}" ${ADDRESS[$HOST]}:4463 $VIRTUAL:4463
  if [ $HOST = fa ]; then ROLE=master; else ROLE=backup; fi
  front_vrrp "${NAME[$HOST]}" $ROLE ${ADDRESS[${OTHER[$HOST]}]} $VIRTUAL/24 100ms
  front $HOST
done
for HOST in fa fb; do
  # in the order of the services: keepalived does not look again for a fifo whose folder was not there when it started
  wait_for 10 is_warm $HOST && [ -p "$WORK/${NAME[$HOST]}.run/fifo" ] || fail "the front door of $HOST is ready for keepalived"
  keep $HOST
done
who
roles
expect "the lab's CA is in the browser's trust store" browser_home
TUNNELS=() PINGS=()
tunnel_start tunnel1 gw1
tunnel_start tunnel2 gw2
tunnels gw1 100; tunnels gw2 100
start browser browsing.log python3 "$LAB_DIR/browsing.py" "$WORK/home" "$WORK/profile" https://vpn.lab/; BROWSING=$STARTED
expect_soon 30 "a browser gets the gateways' pages" pages_since 0 5

for INTERVAL in 100ms 1s; do
  if [ $INTERVAL = 1s ]; then
    part "announcements every second from now on"
    for HOST in fa fb; do
      sed -i 's/^advertisement_interval = .*/advertisement_interval = "1s"/' "$WORK/${NAME[$HOST]}.toml"
      "$VESTIBULE" reload --admin "$WORK/${NAME[$HOST]}.admin.sock" >"$WORK/reload.log" 2>&1 || { lab_log reload.log; fail "the new configuration is refused"; }
    done
    # those who announce themselves less often are lost by those who expect them more often
    for HOST in fa fb; do stop "${KEPT[$HOST]}"; done
    for HOST in fa fb; do keep $HOST; done
    who
  fi

  event "kill -9 of the active front door" front_ends KILL
  again front

  event "kill -9 of keepalived" keepalived_is_killed
  expect "both hosts have the address" eval 'has_address fa $VIRTUAL && has_address fb $VIRTUAL'
  expect_equal "that is told: vestibule_vrrp_conflict" 1 "$(ask "$ACTIVE" vestibule_vrrp_conflict)"
  expect "and by vestibule status" says "$ACTIVE" "left here by a keepalived that was killed"
  again keepalived

  event "link loss" link_lost
  again link

  event "keepalived ends in order" keepalived_ends
  expect "vestibule status says so" says "$ACTIVE" "^ *31  standby .*keepalived says STOP"
  again keepalived

  event "the front door ends in order" front_ends TERM
  again front
  roles
done

part "who was there before"
stop "$BROWSING"
expect_equal "the browser has ended nowhere but at the gateways" '' \
  "$(awk '$3 != "failed" && ($3 !~ /^10\.99\.0\.1[12]$/ || $4 != 200)' "$WORK/browsing.log" | head -n 3)"
for INDEX in 0 1; do
  HOST=tunnel$((INDEX + 1))
  expect "the tunnel of $HOST is there" running "${TUNNELS[INDEX]}"
  expect "and was never built up again" eval "[ \$(grep -c 'CSTP connected\|Connected as' $WORK/$HOST.openconnect.log) = 1 ] && ! grep -qi 'reconnect\|dead peer' $WORK/$HOST.openconnect.log"
  stop "${PINGS[INDEX]}" INT
  note "$(grep 'packets transmitted' "$WORK/$HOST.ping")"
  # the last one may be under way
  expect_at_most "pings that were lost" 1 "$(awk '/packets transmitted/ { print $1 - $4 }' "$WORK/$HOST.ping")"
  expect "it was asked all the time" [ "$(awk '/packets transmitted/ { print $1 }' "$WORK/$HOST.ping")" -gt 100 ]
  logout $HOST "${TUNNELS[INDEX]}"
done

part "the longest time in which nobody could log in, and in which nobody tried; how many tried, came late, failed; how long the slowest took; the same of pages"
# shellcheck disable=SC2059
printf "$ROW\n" event interval gap pause logins late failed slowest pages failed slowest
printf '%s\n' "${TABLE[@]}"

# they take their time over an end in order
ocserv_kill gw1
ocserv_kill gw2
lab_done
