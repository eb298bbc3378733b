#!/bin/bash
# Shows: the README's first deployment, step by step, with the files in config/ as they are: two ocserv
#        gateways with agents, one front door, its admin socket where it is by default; openconnect gets a
#        tunnel, a gateway whose ocserv stops is named by `vestibule status` and left out, and comes back.
#        What is not in the files is what the README says to fill in: gw2's own name, address, certificate.
# Needs: root; ocserv openconnect vpnc-scripts iproute2 iputils-ping curl openssl
# Runs: beside others: it measures no time (who else mounts on /etc/vestibule runs alone)
# Takes: about 20 s
. "$(dirname "$0")/lib.sh"

lab_switch
lab_host front 62.168.1.203/24
lab_host gw1 62.168.1.201/24
lab_host gw2 62.168.1.202/24
lab_host client 62.168.1.50/24
lab_address front 192.168.200.3/24
lab_address gw1 192.168.200.1/24
lab_address gw2 192.168.200.2/24
lab_names '62.168.1.203 vpn.example.com'

# a public authority would have signed these
web_ca
web_certificate front DNS:vpn.example.com,IP:62.168.1.203
for gateway in 1 2; do
  web_certificate gw$gateway IP:62.168.1.20$gateway
  ocserv_config gw$gateway 10.10$gateway.0.0
  # the example's agent asks ocserv where occtl does by default
  sed -i "s|^occtl-socket-file = .*|occtl-socket-file = $WORK/gw$gateway/run/occtl.socket|" "$WORK/gw$gateway.ocserv"
done

# etc HOST : that host's /etc/vestibule, and its /run, which the other hosts of the lab do not see
etc() { mkdir -p "$WORK/$1/etc/certs" "$WORK/$1/etc/config" "$WORK/$1/run"; echo "$WORK/$1/etc"; }
# on_its_own HOST COMMAND... : a shell line that runs a command with the host's own /etc/vestibule and /run
# shellcheck disable=SC2016
ITS_OWN='mkdir -p /etc/vestibule; mount --bind "$0/etc" /etc/vestibule; mount --bind "$0/run" /run; exec "$@"'
on_its_own() { local host=$1; shift; on "$host" sh -c "$ITS_OWN" "$WORK/$host" "$@"; }
start_on_its_own() { local host=$1 log=$2; shift 2; start "$host" "$log" sh -c "$ITS_OWN" "$WORK/$host" "$@"; }
# The mount point is on the machine itself; it goes again if it was not there.
[ -e /etc/vestibule ] || trap 'rmdir /etc/vestibule 2>/dev/null; lab_cleanup' EXIT

part "step 2: certificates"
expect "vestibule certs init, as in the README" "$VESTIBULE" certs init --dir "$WORK/certs" --name vpn.example.com \
  --name 62.168.1.203 --front front-a --gateway gw1=192.168.200.1 --gateway gw2=192.168.200.2

part "step 3: an agent on each gateway"
for gateway in gw1 gw2; do
  etc=$(etc $gateway)
  cp "$WORK/certs/ca.pem" "$WORK/certs/$gateway.pem" "$WORK/certs/$gateway.key" "$etc/certs/"
  sed "s/gw1/$gateway/; s/192\.168\.200\.1:/192.168.200.${gateway#gw}:/" config/heartbeat.toml >"$etc/config/heartbeat.toml"
  sed -i "s/\"..\/certs\/gw1/\"..\/certs\/$gateway/" "$etc/config/heartbeat.toml"
  start $gateway $gateway.ocserv.log ocserv --foreground --debug 1 --config "$WORK/$gateway.ocserv"
  wait_for 5 listens_on_port $gateway 443 || fail "ocserv does not start on $gateway"
  expect "vestibule check on $gateway" on_its_own $gateway "$VESTIBULE" check -c /etc/vestibule/config/heartbeat.toml
  start_on_its_own $gateway $gateway.heartbeat.log "$VESTIBULE" heartbeat -c /etc/vestibule/config/heartbeat.toml
  expect_soon 5 "the agent on $gateway listens" listens_on_port $gateway 9464
done

part "step 4: the front door"
etc=$(etc front)
cp "$WORK/certs/ca.pem" "$WORK/certs"/front-a.* "$WORK/certs/dve.key" "$etc/certs/"
cp "$WORK/web/front.pem" "$etc/certs/portal.pem"
cp "$WORK/web/front.key" "$etc/certs/portal.key"
cp config/vestibule.toml "$etc/config/"
expect "vestibule check on the front door" on_its_own front "$VESTIBULE" check -c /etc/vestibule/config/vestibule.toml
start_on_its_own front front.log "$VESTIBULE" serve -c /etc/vestibule/config/vestibule.toml
expect_soon 5 "it listens on the address that people type" listens front 62.168.1.203:443

part "step 5: look"
# says TEXT : vestibule status, without a word on where to ask, says so
says() { on_its_own front "$VESTIBULE" status >"$WORK/status.log" 2>&1; grep -qF -- "$1" "$WORK/status.log"; }
lab_log status.log
expect_soon 5 "vestibule status: all 2 gateways are up" says "All 2 gateways are up."
expect "curl is sent to a gateway" grep -qE '^https://62\.168\.1\.20[12]/$' <(location https://vpn.example.com/)
expect_equal "http:// is sent to https:// at the name in the certificate" https://vpn.example.com/ \
  "$(location http://vpn.example.com/)"
expect "vestibule resolve is, too" eval 'on client "$VESTIBULE" resolve --server vpn.example.com --key "$WORK/certs/dve.pub" --vpn ssl |
  grep -qE "^62\.168\.1\.20[12]:443\$"'
login client openconnect.log https://vpn.example.com/
[ "$LANDED" != none ] || fail "openconnect gets no tunnel"
expect "openconnect ends in a tunnel ($LANDED), and ping goes through it" ping_through client
USED=$LANDED
expect_soon 5 "the front door counts the tunnel on $USED" says " 1/1000 "
logout client "$STARTED"

part "step 6: try the failure"
STOPPED=$(now)
ocserv_kill gw1
expect_soon 6 "vestibule status: 1 of 2 gateways is down: gw1" says "1 of 2 gateways is down: gw1"
note "after $(since "$STOPPED") s (fall × interval is 3 s)"
login client openconnect.log https://vpn.example.com/
expect_equal "everybody is sent to gw2" gw2 "$LANDED"
logout client "$STARTED"
rm -f "$WORK"/gw1.sock "$WORK"/gw1.pid "$WORK"/gw1/run/occtl.socket
start gw1 gw1.ocserv.log ocserv --foreground --debug 1 --config "$WORK/gw1.ocserv"
expect_soon 10 "gw1 is back" says "All 2 gateways are up."
lab_done
