#!/bin/bash
# Shows: the three scenarios of docs/deployment.md, with the files of config/scenarios as they are, at the paths and
#        addresses that they name. Failsafe + VRRP: strongSwan that supports no redirect reaches whichever gateway has the
#        pair's address, before and after that gateway's IKE daemon dies, and then the other host. Load balancing + DVE:
#        openconnect goes where either front door sends it. Load balancing + redirect: browsers and openconnect go by the
#        virtual address to a gateway, also when the gateway dies that is on the host with the address, and the whole host.
#        Other than in the documents: processes are begun here and not by systemd; charon does ESP by itself
#        (kernel-libipsec); only tunnels count in the choice, as all hosts share one processor.
# Needs: root; keepalived ocserv openconnect vpnc-scripts strongswan-charon strongswan-swanctl libcharon-extra-plugins
#        nftables iproute2 iputils-ping curl openssl, /dev/net/tun
# Takes: about 90 s
# Runs: beside others: it mostly waits for rounds, advertisements and retransmissions, and its bounds are in seconds
. "$(dirname "$0")/lib.sh"

for NEEDED in /usr/lib/ipsec/charon /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so /dev/net/tun; do
  [ -e "$NEEDED" ] || { echo "$LAB_NAME: left out: there is no $NEEDED"; exit 77; }
done
SCENARIOS=$LAB_DIR/../../config/scenarios

# ---- hosts -----------------------------------------------------------------------------------------

# plug HOST INTERFACE BRIDGE ADDRESS/LENGTH... : one more interface of that host
plug() {
  local host=$1 interface=$2 bridge=$3 address; shift 3
  ip -n "$LAB_PREFIX-sw" link add "$interface-$host" type veth peer name "$interface" netns "$LAB_PREFIX-$host"
  ip -n "$LAB_PREFIX-sw" link set "$interface-$host" master "$bridge" up
  ip -n "$LAB_PREFIX-$host" link set "$interface" up
  for address in "$@"; do ip -n "$LAB_PREFIX-$host" address add "$address" dev "$interface"; done
}

# forwards HOST : it is a router
forwards() { ip netns exec "$LAB_PREFIX-$1" sysctl -q -w net.ipv4.ip_forward=1; }

# What a host has of its own: /etc, in which the files of the scenario are, /run, /var/lib, and vestibule where it is installed.
# shellcheck disable=SC2016
ITS_OWN='cd / && mount --bind "$0/etc" /etc && mount --bind "$0/run" /run && mount --bind "$0/lib" /var/lib &&
  mount --bind "$0/bin" /usr/local/bin && mount --bind "$1" /usr/local/bin/vestibule && shift && exec "$@"'

# as HOST COMMAND... : runs it on that host, which has its own files
as() { local host=$1; shift; ip netns exec "$LAB_PREFIX-$host" sh -c "$ITS_OWN" "$WORK/$host" "$VESTIBULE" "$@"; }

# start_as HOST LOG COMMAND... : the same in the background; its pid in $STARTED
start_as() {
  local host=$1 log=$2; shift 2
  ip netns exec "$LAB_PREFIX-$host" sh -c "$ITS_OWN" "$WORK/$host" "$VESTIBULE" "$@" >>"$WORK/$log" 2>&1 <"${STDIN:-/dev/null}" &
  STARTED=$!
  LAB_PIDS+=("$STARTED")
  lab_log "$log"
}

# furnish HOST FILES : its own files: what this machine has in /etc, over it those of the scenario, its hosts file, and
# certificates as docs/deployment.md says
furnish() {
  local host=$1 etc=$WORK/$1/etc name number=${1#host-}
  rm -rf "${WORK:?}/$host"
  mkdir -p "$WORK/$host"/{run,lib,bin}
  cp -a /etc "$WORK/$host/"
  : >"$WORK/$host/bin/vestibule"
  [ ! -d "$2/etc" ] || cp -r "$2/etc" "$WORK/$host/"
  [ ! -d "$2/usr" ] || cp -r "$2/usr/local/bin" "$WORK/$host/"
  printf '127.0.0.1 localhost\n62.168.1.203 vpn.example.com\n' >"$etc/hosts"
  : >"$etc/resolv.conf"
  mkdir -p "$etc/vestibule/certs"
  case $host in
    host-*)
      cp "$WORK/certs/ca.pem" "$WORK/certs/gw$number".* "$WORK/certs/dve.key" "$etc/vestibule/certs/"
      case $host in host-1) name=front-a ;; host-2) name=front-b ;; *) name= ;; esac
      [ -z "$name" ] || cp "$WORK/certs/$name".* "$etc/vestibule/certs/"
      cp "$WORK/certs"/portal.* "$etc/vestibule/certs/"
      # what a public authority would have signed
      cp "$WORK/web/gw$number.pem" "$etc/ocserv/server.pem"
      cp "$WORK/web/gw$number.key" "$etc/ocserv/server.key"
      cp "$WORK/passwd" "$etc/ocserv/passwd"
      ;;
    *) cp "$WORK/certs/dve.pub" "$etc/vestibule/" ;;
  esac
}

# checked HOST : vestibule check has nothing to say of its files
checked() {
  local file
  for file in "$WORK/$1"/etc/vestibule/config/*.toml; do
    as "$1" vestibule check -c "/etc/vestibule/config/$(basename "$file")" >"$WORK/check.log" 2>&1 &&
      grep -q 'no errors, no warnings' "$WORK/check.log" || { lab_log check.log; return 1; }
  done
}

# agent HOST / front HOST : begun as the documents say; the pid in $STARTED
agent() {
  start_as "$1" "$1.heartbeat.log" vestibule heartbeat -c /etc/vestibule/config/heartbeat.toml
  wait_for 5 listens_on_port "$1" 9464 || fail "the agent starts on $1"
}
front() {
  start_as "$1" "$1.front.log" vestibule serve -c /etc/vestibule/config/vestibule.toml
  wait_for 5 test -S "$WORK/$1/run/vestibule/admin.sock" || fail "the front door starts on $1"
}

# keep HOST FILE : keepalived with what `vestibule keepalived` makes of that file; its pid in $STARTED
keep() {
  as "$1" sh -c "vestibule keepalived -c /etc/vestibule/config/$2 >/etc/keepalived/keepalived.conf" 2>"$WORK/$1.made.log"
  [ ! -s "$WORK/$1.made.log" ] || { lab_log "$1.made.log"; fail "vestibule keepalived has nothing to warn of on $1"; }
  as "$1" keepalived -t >"$WORK/$1.tried.log" 2>&1 || { lab_log "$1.tried.log"; fail "keepalived -t on $1"; }
  start_as "$1" "$1.keepalived.log" keepalived --dont-fork --log-console --log-detail
}

# has HOST ADDRESS : it is there
has() { ip -n "$LAB_PREFIX-$1" -4 -oneline address show | grep -qF " $2/"; }

# status_says HOST TEXT : vestibule status there
status_says() { as "$1" vestibule status >"$WORK/status.log" 2>&1; grep -qF -- "$2" "$WORK/status.log"; }
lab_log status.log

# asks ARGUMENT... : what vestibule resolve prints on the client
asks() { as client timeout 10 vestibule resolve --key /etc/vestibule/dve.pub "$@" 2>"$WORK/resolve.log"; }

# links HOST up|down : both of its links
links() { ip -n "$LAB_PREFIX-sw" link set "eth0-$1" "$2"; ip -n "$LAB_PREFIX-sw" link set "eth1-$1" "$2"; }

# reaches ADDRESS : the client reaches that host of the office, through its tunnel
reaches() { on client ping -n -q -c 2 -i 0.2 -W 1 "$1" >"$WORK/ping.log" 2>&1; }

# stays SECONDS COMMAND... : it holds all that time
stays() {
  local begun; begun=$(now)
  while at_most "$(since "$begun")" "$1"; do "${@:2}" || return 1; sleep 0.2; done
}

# over : ends all that runs, for the next scenario
over() { local pid; for pid in "${LAB_PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null; done; for pid in "${LAB_PIDS[@]}"; do stop "$pid"; done; }

lab_namespace sw
for BRIDGE in external internal internet; do
  ip -n "$LAB_PREFIX-sw" link add $BRIDGE type bridge stp_state 0 forward_delay 0 mcast_snooping 0
  ip -n "$LAB_PREFIX-sw" link set $BRIDGE up
done
for HOST in host-1 host-2 host-3 router office client; do lab_namespace $HOST; done
plug router eth0 external 10.1.1.254/24 62.168.1.1/24
plug router eth1 internet 198.51.100.1/24
forwards router
plug client eth0 internet 198.51.100.50/24
lab_route client default 198.51.100.1
plug office eth0 internal 192.168.200.10/24
plug host-1 eth0 external 10.1.1.1/24
plug host-1 eth1 internal 192.168.200.1/24
plug host-2 eth0 external 10.1.1.2/24
plug host-2 eth1 internal 192.168.200.2/24
plug host-3 eth0 external 62.168.1.204/24
plug host-3 eth1 internal 192.168.200.4/24
lab_route host-1 default 10.1.1.254
lab_route host-2 default 10.1.1.254
lab_route host-3 default 62.168.1.1
web_ca
web_certificate gw1 IP:62.168.1.201
web_certificate gw2 IP:62.168.1.202
web_certificate gw3 IP:62.168.1.204
printf 'secret\nsecret\n' | ocpasswd -c "$WORK/passwd" alice >/dev/null 2>&1
printf 'secret\n' >"$WORK/password"
"$VESTIBULE" certs init --dir "$WORK/certs" --name vpn.example.com \
  --name 62.168.1.203 --front front-a=192.168.200.1 --front front-b=192.168.200.2 \
  --gateway gw1=192.168.200.1 --gateway gw2=192.168.200.2 --gateway gw3=192.168.200.4 >"$WORK/certs.log" || fail "vestibule certs init, as in the document"
cat "$WORK/certs/ca.pem" "$WORK/web/ca.pem" >"$WORK/trusted.pem"

# ---- failsafe + VRRP -------------------------------------------------------------------------------

# charon HOST : strongSwan there; what it says is in $WORK/HOST/charon; its pid in $STARTED
charon() {
  printf '%s\n' 'charon {' "load = ${CHARON_PLUGINS//$'\n'/ }" "${@:2}" "filelog { f { path = $WORK/$1/charon" \
    'time_format = %H:%M:%S' 'default = 1' 'ike = 2' 'flush_line = yes } } }' 'include strongswan.d/*.conf' \
    >"$WORK/$1/etc/strongswan.conf"
  rm -f "$WORK/$1"/run/charon.*
  start_as "$1" "$1.charon.log" /usr/lib/ipsec/charon
  lab_log "$1/charon"
  wait_for 5 test -S "$WORK/$1/run/charon.vici" || fail "charon starts on $1"
  as "$1" swanctl --load-all >"$WORK/$1.load.log" 2>&1 || { lab_log "$1.load.log"; fail "charon on $1 takes its configuration"; }
}

# has_both HOST : both addresses of the pair
has_both() { has "$1" 62.168.1.201 && has "$1" 192.168.200.3; }

# has_none HOST
has_none() { ! has "$1" 62.168.1.201 && ! has "$1" 192.168.200.3; }

# serves HOST : the client has its tunnel with the gateway there
serves() { as "$1" swanctl --list-sas 2>/dev/null | grep -q "remote 'alice@example.com'"; }

# named : both front doors are asked, and one names the pair's address
named() { [ "$(asks --server 10.1.1.1 --server 10.1.1.2)" = 62.168.1.201:500 ]; }

part "failsafe + VRRP"
for HOST in host-1 host-2 client; do furnish $HOST "$SCENARIOS/failsafe-vrrp/$HOST"; done
lab_route office 192.168.201.0/24 192.168.200.3
for HOST in host-1 host-2; do
  expect "vestibule check on $HOST" checked $HOST
  as $HOST sysctl -q -p /etc/sysctl.d/60-gateway.conf
  charon $HOST; [ $HOST = host-2 ] || CHARON_1=$STARTED
  agent $HOST
  front $HOST
done
keep host-1 heartbeat.toml
keep host-2 heartbeat.toml
expect_soon 15 "host-1 has both addresses" has_both host-1
expect "host-2 has neither" has_none host-2
expect_soon 5 "front-a is the active one" status_says host-1 'keepalived says MASTER'
expect_soon 5 "and says that all gateways are up" status_says host-1 'All 2 gateways are up'
expect_soon 5 "front-b is the standby" status_says host-2 'keepalived says BACKUP'
expect "a DVE client that asks both is named the pair's address" named
expect "also when it asks the standby first" [ "$(asks --server 10.1.1.2 --server 10.1.1.1)" = 62.168.1.201:500 ]
expect "and at that address itself" [ "$(asks --server 62.168.1.201)" = 62.168.1.201:500 ]
charon client 'follow_redirects = no'
expect_soon 10 "strongSwan, which supports no redirect, has a tunnel to the pair's address" reaches 192.168.200.10
expect "it is with host-1" serves host-1

# changes FROM TO COMMAND... : with that, the gateway on FROM is no longer fit, and the client comes to TO
changes() {
  local from=$1 to=$2 begun moved; shift 2
  begun=$(now)
  "$@"
  wait_for 10 has_both "$to" || fail "$to takes the addresses"
  moved=$(since "$begun")
  expect "$from has let go of both addresses" has_none "$from"
  expect_at_most "seconds until $to had them" 4.5 "$moved"
  expect_soon 25 "the client has a tunnel again, by itself" eval "serves $to && reaches 192.168.200.10"
  note "after $(since "$begun") s"
  expect_soon 5 "the front door there is the active one" status_says "$to" 'keepalived says MASTER'
  expect "DVE clients are named the pair's address" named
}

part "failsafe + VRRP: the IKE daemon on host-1 dies"
changes host-1 host-2 stop "$CHARON_1" KILL
expect_soon 3 "front-b says which gateway is down" status_says host-2 '1 of 2 gateways is down: gw1'
charon host-1
expect_soon 10 "it comes back: all gateways are up" status_says host-2 'All 2 gateways are up'
expect "the addresses stay where they are (preempt = false)" stays 3 has_both host-2
expect "and the tunnel" reaches 192.168.200.10

part "failsafe + VRRP: host-2 dies"
changes host-2 host-1 links host-2 down
links host-2 up
over

# ---- load balancing --------------------------------------------------------------------------------

# serves_ssl HOST : ocserv there
serves_ssl() {
  rm -f "$WORK/$1"/run/oc*
  start_as "$1" "$1.ocserv.log" ocserv --foreground --config /etc/ocserv/ocserv.conf
  wait_for 5 test -S "$WORK/$1/run/occtl.socket" || fail "ocserv starts on $1"
}

# balanced SCENARIO : three gateways with it, of which two are front doors as well
balanced() {
  local host number
  # what is left of the scenario before
  for host in host-1 host-2 host-3; do
    ip -n "$LAB_PREFIX-$host" -4 address flush dev eth0
    number=${host#host-}
    case $number in 3) number=4 ;; esac
    ip -n "$LAB_PREFIX-$host" address add "62.168.1.20$number/24" dev eth0
    ip -n "$LAB_PREFIX-$host" route replace default via 62.168.1.1
    ip -n "$LAB_PREFIX-office" route replace "192.168.20$number.0/24" via "192.168.200.$number"
    furnish "$host" "$SCENARIOS/$1/$host"
    [ "$host" = host-3 ] ||
      printf '\n[balance]\nweights = { throughput = 0, tunnels = 1, pool = 0, cpu = 0 }\n' >>"$WORK/$host/etc/vestibule/config/vestibule.toml"
    expect "vestibule check on $host" checked "$host"
    as "$host" sysctl -q -p /etc/sysctl.d/60-gateway.conf
    serves_ssl "$host"
    agent "$host"
  done
  furnish client "$SCENARIOS/$1/client"
  # what is left to people: who they are, and whom they trust
  printf '#!/bin/sh\nexec /usr/sbin/openconnect --user=alice --passwd-on-stdin --non-inter --no-dtls --cafile %s --interface tun0 "$@"\n' \
    "$WORK/trusted.pem" >"$WORK/client/bin/openconnect"
  chmod 755 "$WORK/client/bin/openconnect"
  front host-1
  front host-2
  for host in host-1 host-2; do
    wait_for 10 status_says "$host" 'All 3 gateways are up' || fail "all gateways are up for the front door on $host"
  done
}

# gateway_of ADDRESS : of which gateway it is, as clients know it, or as it gives clients theirs
gateway_of() {
  case $1 in
    62.168.1.201* | 192.168.201.*) echo gw1 ;;
    62.168.1.202* | 192.168.202.*) echo gw2 ;;
    62.168.1.204* | 192.168.204.*) echo gw3 ;;
    *) echo none ;;
  esac
}

# dials COMMAND... : openconnect on the client, until the tunnel is up; the gateway in $LANDED, its pid in $STARTED
dials() {
  STDIN=$WORK/password start_as client openconnect.log "$@"
  wait_for 15 tunnel_up_or_ended client "$STARTED"
  LANDED=$(gateway_of "$(tunnel_address client)")
  [ "$LANDED" != none ] || fail "openconnect has a tunnel ($*)"
  wait_for 5 reaches 192.168.200.10 || fail "the office is reached through the tunnel"
}

# hangs_up : the session ends
hangs_up() { stop "$STARTED" INT; wait_for 3 no_tunnel client; }

# counts HOST GATEWAY : the front door there counts one tunnel on it, and none on the others; $EMPTIEST are those with the
# fewest, whoever is on the way counted as well. For a moment ocserv counts whoever looks whether it works.
counts() {
  EMPTIEST=$(as "$1" vestibule status --format json | json "[g['name'] for all in [d['gateways']] for g in all
    if g['load']['tunnels'] + g['pending'] == min(o['load']['tunnels'] + o['pending'] for o in all)
    and {o['name']: o['load']['tunnels'] for o in all} == {'gw1': 0, 'gw2': 0, 'gw3': 0} | {'$2': 1}]") && [ -n "$EMPTIEST" ]
}

# spares HOST GATEWAY : and it is not one of the emptiest
spares() { counts "$@" && case " $EMPTIEST " in *" $2 "*) return 1 ;; esac; }

# avoids HOST GATEWAY COMMAND... : the gateway that this command tells is one of the emptiest, where the front door there counts
# the tunnel, before it was asked and after that
avoids() {
  local host=$1 used=$2 seen emptiest tries=0; shift 2
  while :; do
    wait_for 30 spares "$host" "$used" || fail "the front door on $host counts the tunnel on $used"
    emptiest=$EMPTIEST
    seen=$(gateway_of "$("$@")")
    ! counts "$host" "$used" || break
    tries=$((tries + 1))
    [ $tries -lt 10 ] || fail "the front door on $host counts the tunnel on $used all the time"
  done
  case " $emptiest " in *" $seen "*) ;; *) fail "the front door on $host names one of the emptiest ($emptiest) and not $seen" ;; esac
  pass "the front door on $host counts the tunnel on $used, and names one of the others to the next who asks ($seen)"
}
# asked_there HOST : what the front door there answers over DVE
asked_there() { asks --server "62.168.1.20${1#host-}" --vpn ssl; }

part "load balancing + DVE"
balanced load-balancing-dve
dials office-vpn
pass "office-vpn: a tunnel to $LANDED, and the office is reached"
USED=$LANDED
for HOST in host-1 host-2; do avoids $HOST "$USED" asked_there $HOST; done
hangs_up
CUT=$(now)
links host-1 down
SEEN=$(asks --server 62.168.1.201 --server 62.168.1.202 --vpn ssl)
[ -n "$SEEN" ] || fail "host-1 dies: the front door on host-2 answers"
pass "host-1 dies: the front door on host-2 answers ($SEEN), $(since "$CUT") s later"
expect_soon 6 "it says that gw1 is unreachable" status_says host-2 '1 of 3 gateways is unreachable: gw1'
note "after $(since "$CUT") s"
dials office-vpn
expect "office-vpn lands on another one ($LANDED)" [ "$LANDED" != gw1 ]
hangs_up
links host-1 up
over

part "load balancing + SSL VPN redirect"
balanced load-balancing-redirect
keep host-1 vestibule.toml
keep host-2 vestibule.toml
expect_soon 15 "host-1 has the virtual address" has host-1 62.168.1.203
expect "host-2 has not" eval '! has host-2 62.168.1.203'
expect_soon 5 "front-a is the active one" status_says host-1 'keepalived says MASTER'
expect_soon 5 "front-b is the standby" status_says host-2 'keepalived says BACKUP'
# browses : where the virtual address sends a browser, in $LOCATION; the page there is a gateway's
browses() {
  LOCATION=$(as client curl -sS -m 3 --cacert "$WORK/trusted.pem" -o /dev/null -w '%{redirect_url}' https://vpn.example.com/ 2>>"$WORK/curl.log")
  case $LOCATION in https://62.168.1.20[124]/) ;; *) return 1 ;; esac
  as client curl -sS -m 3 --cacert "$WORK/trusted.pem" -o "$WORK/page" -f "$LOCATION" 2>>"$WORK/curl.log" && grep -q '<config-auth' "$WORK/page"
}
lab_log curl.log
expect "a browser is sent to a gateway, and has its login page" browses
note "$LOCATION"
expect_equal "http:// is sent to https://" https://vpn.example.com/ \
  "$(as client curl -sS -m 3 -o /dev/null -w '%{redirect_url}' http://62.168.1.203/)"
dials openconnect https://vpn.example.com/
pass "openconnect: a tunnel to $LANDED, and the office is reached"
USED=$LANDED
# browsed : where a browser is sent
browsed() { browses && echo "${LOCATION#https://}"; }
avoids host-1 "$USED" browsed
hangs_up
ocserv_kill host-1
expect_soon 6 "the VPN service on host-1 dies: front-a says so" status_says host-1 '1 of 3 gateways is down: gw1'
# refuses : the gateway on host-1 refuses newcomers in its firewall
refuses() { as host-1 vestibule fence list 2>/dev/null | grep -q '443'; }
expect_soon 3 "its firewall refuses newcomers" refuses
for NEWCOMER in 1 2 3 4; do
  browses && [ "$LOCATION" != https://62.168.1.201/ ] || fail "newcomer $NEWCOMER is sent by front-a, on the same host, to another gateway ($LOCATION)"
done
pass "the front door on the same host sends newcomers to the others"
expect "and still has the address" has host-1 62.168.1.203
serves_ssl host-1
expect_soon 10 "it is back: all gateways are up" status_says host-1 'All 3 gateways are up'
as host-1 vestibule drain gw3 --reason 'new kernel' >"$WORK/drain.log" 2>&1 || { lab_log drain.log; fail "gw3 is drained on host-1"; }
expect_soon 3 "gw3 is drained on host-1, and front-b knows" status_says host-2 'new kernel'
CUT=$(now)
links host-1 down
expect_soon 15 "host-1 dies: a browser is sent to a gateway at the same address" browses
note "$LOCATION, $(since "$CUT") s later"
expect "host-2 has the virtual address" has host-2 62.168.1.203
expect_soon 6 "front-b is active, and says that gw1 is unreachable" eval \
  'status_says host-2 "1 of 3 gateways is unreachable: gw1" && status_says host-2 "keepalived says MASTER"'
for NEWCOMER in 1 2 3 4; do
  browses && [ "$LOCATION" = https://62.168.1.202/ ] || fail "newcomer $NEWCOMER is sent to gw2 ($LOCATION)"
done
pass "nobody is sent to gw1, nor to gw3, which is still drained"
dials openconnect https://vpn.example.com/
expect_equal "openconnect lands there" gw2 "$LANDED"
links host-1 up
as host-2 vestibule resume gw3 >>"$WORK/drain.log" 2>&1
expect_soon 10 "host-1 is back: gw1 is up" status_says host-2 'All 3 gateways are up'
expect "the address stays where it is (preempt = false)" stays 3 has host-2 62.168.1.203
expect "on one host alone" eval '! has host-1 62.168.1.203'
expect "and so does the tunnel" reaches 192.168.200.10
lab_done
