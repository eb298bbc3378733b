#!/bin/bash
# Shows: two front doors with one address, keepalived with the configuration that `vestibule keepalived` prints, two ocserv
#        gateways: logins go on through every kind of takeover. While the active front door is killed, ends, loses its
#        keepalived by a kill or in order, its link, or its network, openconnect logs in at the virtual address every 50 ms, and a
#        browser loads it again and again. How long nobody gets in is measured with VRRP announcements every 0.1 s and every
#        second. Tunnels that were there before live through all of it, and the standby says that it is one.
# Needs: root; ocserv openconnect vpnc-scripts keepalived chromium libnss3-tools iproute2 iputils-ping curl openssl python3
# Takes: about 130 s
. "$(dirname "$0")/lib.sh"

GOOD=0.2                 # seconds until a login has its connection; one that takes longer was begun while nobody was there
BUSY=0.2                 # seconds in which nobody tries to log in, though somebody should every 0.05 s
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

# Where the front doors have their sockets, and keepalived its fifo. That of fb is a user's without rights, as the service is.
USER=daemon
AS_USER=(setpriv --reuid "$USER" --regid "$USER" --clear-groups --no-new-privs --inh-caps +net_bind_service --ambient-caps +net_bind_service)
chmod 711 "$WORK"
mkdir "$WORK/front-a.run" "$WORK/front-b.run" "$WORK/front-b.state"
chown "$USER:$USER" "$WORK/front-b.run" "$WORK/front-b.state" "$WORK/web/front.key" "$WORK/certs/front-b.key" "$WORK/certs/dve.key"
chmod 755 "$WORK/certs"

# front HOST : starts its front door
front() {
  local as=()
  [ "$1" = fa ] || as=("${AS_USER[@]}")
  start "$1" "${NAME[$1]}.log" "${as[@]}" "$VESTIBULE" serve -c "$WORK/${NAME[$1]}.toml"
  FRONTS[$1]=$STARTED
}

# keep HOST : starts its keepalived
keep() { keepalived_start "$1" "${NAME[$1]}"; KEPT[$1]=$STARTED; }

# ask HOST METRIC [LABEL...] : what its front door says
ask() { local host=$1; shift; FRONT_HOST=$host metric "$@"; }

# is_active HOST / is_standby HOST : its front door says so
is_active() { [ "$(ask "$1" vestibule_vrrp_active)" = 1 ]; }
is_standby() { [ "$(ask "$1" vestibule_vrrp_active)" = 0 ]; }

# is_warm HOST : its front door has found both gateways
is_warm() { FRONT_HOST=$1 is_up gw1 && FRONT_HOST=$1 is_up gw2; }

# status_of HOST / says HOST WORDS : `vestibule status` of its front door / has a line with these in it
status_of() { "$VESTIBULE" status --admin "$WORK/${NAME[$1]}.run/admin.sock"; }
says() { status_of "$1" 2>/dev/null | grep -q -- "$2"; }

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
    says "${OTHER[$active]}" "^ *31  standby .*keepalived says BACKUP"
}

# who : which host is the active one, in $ACTIVE, and the other one in $STANDBY
who() {
  wait_for 15 is_whole || { status_of fa; status_of fb; fail "one front door is active, and the other one is ready to be"; }
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

# event WHAT RESTORE COMMAND... : does that to the active host, while people log in; what they saw of it comes into the table,
# and the roles have changed. Once more, after `again RESTORE`, where it took too long and this machine had no time for those
# who try every 50 ms either: then it had none for keepalived, which says nothing of either.
TABLE=()
event() {
  local what=$1 restore=$2 try; shift 2
  for try in 1 2 3; do
    takeover "$what" "$@"
    at_most "$GAP" "${LIMITS[$INTERVAL]}" || at_most "$PAUSE" $BUSY || [ "$try" = 3 ] || {
      note "$GAP s without a login, but this machine is too busy to tell: for $PAUSE s nobody tried; once more"
      again "$restore"
      continue
    }
    break
  done
  expect_at_most "seconds in which nobody could log in" "${LIMITS[$INTERVAL]}" "$GAP"
  expect_equal "pages that a browser asked for after that and did not get" 0 "$LOST_PAGES"
  TABLE+=("$LINE")
}

# takeover WHAT COMMAND... : does that once: $GAP, $PAUSE, $LOST_PAGES and the line for the table, $LINE
takeover() {
  local what=$1 at end over logins late failed slowest pages lost page; shift
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
  read -r GAP over PAUSE logins late failed slowest < <(
    python3 "$LAB_DIR/logins.py" gap "$(awk -v a="$at" 'BEGIN { print a - 0.5 }')" "$end" $GOOD "$WORK/logins.log") ||
    fail "it is known who has logged in"
  # how many pages were under way, how many of these never came, how long the slowest took that did; none is lost
  # that was asked for when people could log in again
  read -r pages lost page LOST_PAGES < <(awk -v a="$at" -v e="$end" -v o="$over" '
    $1 + $2 > a && $1 < e { n++; if ($3 == "failed") { lost++; if ($1 > a && $1 > o) after++ } else if ($2 > most) most = $2 }
    END { print n + 0, lost + 0, most + 0, after + 0 }' "$WORK/browsing.log")
  # shellcheck disable=SC2059
  LINE=$(printf "$ROW" "$what" "$INTERVAL" "$GAP" "$PAUSE" "$logins" "$late" "$failed" "$slowest" "$pages" "$lost" "$page")
}
ROW='%-34s %8s %7s %6s %7s %5s %7s %8s %6s %7s %8s'

# again WHAT : what was ended on the host that was active is there again, and the farm is whole; the other host is active
again() {
  local next=$STANDBY
  case $1 in
    front)
      # who is being served has 5 s
      wait_for 10 ended "${FRONTS[$ACTIVE]}" || fail "the front door comes to its end"
      stop "${FRONTS[$ACTIVE]}"
      front "$ACTIVE"
      ;;
    keepalived) keep "$ACTIVE" ;;
    link) ip -n "$LAB_PREFIX-sw" link set "p-$ACTIVE" up ;;
    network) ip -n "$LAB_PREFIX-sw" link set "p-$ACTIVE" master br0 ;;
  esac
  who
  # of two that are active the one with the higher priority stays it, unless it has found meanwhile that it reaches no gateway
  [ "$1" = network ] || expect_equal "whole again, and $next is active" "$next" "$ACTIVE"
}

# front_is_killed / front_ends / keepalived_ends / keepalived_is_killed / link_lost / cut_off : what is done to the active host
front_is_killed() { stop "${FRONTS[$ACTIVE]}" KILL; }
front_ends() { kill -TERM "${FRONTS[$ACTIVE]}"; }
keepalived_ends() { stop "${KEPT[$ACTIVE]}"; }
keepalived_is_killed() { keepalived_kill "$ACTIVE"; stop "${KEPT[$ACTIVE]}" KILL; }
link_lost() { ip -n "$LAB_PREFIX-sw" link set "p-$ACTIVE" down; }
cut_off() { ip -n "$LAB_PREFIX-sw" link set "p-$ACTIVE" nomaster; }

part "two front doors, one address"
for HOST in fa fb; do
  front_config "${NAME[$HOST]}"
  sed -i "s/^socket = .*/socket = \"${NAME[$HOST]}.run\/admin.sock\"/" "$WORK/${NAME[$HOST]}.toml"
  front_listener "${NAME[$HOST]}" portal $VIRTUAL:443
  for GATEWAY in gw1 gw2; do front_gateway "${NAME[$HOST]}" $GATEWAY 10.99.0.1${GATEWAY#gw} 10.99.0.1${GATEWAY#gw}; done
  front_dve "${NAME[$HOST]}" ${ADDRESS[$HOST]}:4463 $VIRTUAL:4463
  if [ $HOST = fa ]; then ROLE=master; else ROLE=backup; fi
  front_vrrp "${NAME[$HOST]}" $ROLE ${ADDRESS[${OTHER[$HOST]}]} $VIRTUAL/24 100ms
done
# one keepalived finds the fifo, the other one makes it
front fa
wait_for 10 is_warm fa || fail "a front door starts"
keep fa
keep fb
wait_for 5 test -p "$WORK/front-b.run/fifo" || fail "keepalived makes the fifo"
front fb
who
expect_equal "the fifos are the front doors'" "root $USER" "$(stat -c %U "$WORK/front-a.run/fifo" "$WORK/front-b.run/fifo" | xargs)"
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
      "$VESTIBULE" reload --admin "$WORK/${NAME[$HOST]}.run/admin.sock" >"$WORK/reload.log" 2>&1 || { lab_log reload.log; fail "the new configuration is refused"; }
    done
    # those who announce themselves less often are lost by those who expect them more often
    for HOST in fa fb; do stop "${KEPT[$HOST]}"; done
    # and now the other one is the first
    keep fb
    wait_for 10 has_address fb $VIRTUAL || fail "fb takes the address"
    keep fa
    who
  fi

  event "kill -9 of the active front door" front front_is_killed
  again front

  event "kill -9 of keepalived" keepalived keepalived_is_killed
  expect "both hosts have the address" eval 'has_address fa $VIRTUAL && has_address fb $VIRTUAL'
  # a second later, for it may have closed its fifo to read its configuration again
  expect_soon 3 "that is told: vestibule_vrrp_conflict" eval '[ "$(ask $ACTIVE vestibule_vrrp_conflict)" = 1 ]'
  expect "and by vestibule status" says "$ACTIVE" "left here by a keepalived that was killed"
  again keepalived
  expect_soon 2 "and is no longer so" eval '[ "$(ask $STANDBY vestibule_vrrp_conflict)" = 0 ]'

  event "link loss" link link_lost
  again link

  event "cut off, its link stays" network cut_off
  again network

  event "keepalived ends in order" keepalived keepalived_ends
  expect "vestibule status says so" says "$ACTIVE" "^ *31  standby .*keepalived says STOP"
  again keepalived

  event "the front door ends in order" front front_ends
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

# these take their time over an end in order
ocserv_kill gw1
ocserv_kill gw2
for HOST in fa fb; do stop "${KEPT[$HOST]}"; stop "${FRONTS[$HOST]}"; done
lab_done
