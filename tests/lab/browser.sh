#!/bin/bash
# Shows: a browser that is given the one address lands on the page of the gateway that has room. Headless
#        Chromium, which trusts the lab's CA as it would trust a public one, types https:// and http://
#        (an https-upgrade listener on port 80); the page it ends on names the gateway.
# Needs: root; chromium libnss3-tools nftables iproute2 curl openssl python3
# Takes: about 25 s
. "$(dirname "$0")/lib.sh"

lab_switch
lab_host front 10.99.0.2/24 10.99.0.10/24
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host client 10.99.0.50/24
lab_names '10.99.0.10 vpn.lab' '10.99.0.11 gw1.lab' '10.99.0.12 gw2.lab'

web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
web_certificate gw1 DNS:gw1.lab,IP:10.99.0.11
web_certificate gw2 DNS:gw2.lab,IP:10.99.0.12
heartbeat_certificates front-a gw1=10.99.0.11 gw2=10.99.0.12

# The client's packets to port 80, counted by its kernel: a browser may go to https:// by itself.
on client nft -f - <<'RULES'
table inet lab {
  chain output {
    type filter hook output priority 0;
    ip daddr 10.99.0.10 tcp dport 80 tcp flags & (syn | ack) == syn counter
  }
}
RULES
# asked_port_80 : connections that the client has opened to port 80 of the virtual address
asked_port_80() { on client nft list chain inet lab output | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }

# browse URL : Chromium with a fresh profile; the page it ends on is in $WORK/page.html
browse() {
  rm -rf "$WORK/profile"
  lab_log browser.log
  lab_log page.html
  # HttpsUpgrades is switched off so that http:// really is tried; the rest keeps Chromium from calling home.
  on client env -u http_proxy -u https_proxy HOME="$WORK/home" XDG_CONFIG_HOME="$WORK/home" \
    DBUS_SESSION_BUS_ADDRESS=disabled: timeout -k 5 60 \
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage \
    --disable-background-networking --disable-component-update --disable-sync --disable-default-apps \
    --disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable --no-proxy-server \
    --user-data-dir="$WORK/profile" --timeout=20000 --dump-dom "$1" >"$WORK/page.html" 2>"$WORK/browser.log"
}

# shows GATEWAY URL : the browser ends on the page of that gateway and of no other
shows() {
  browse "$2"
  local status=$?
  grep -q "this is $1" "$WORK/page.html" || fail "$2 does not end on the page of $1 (chromium exits with $status)"
  pass "$2 ends on the page of $1"
}

# load GW1 GW2 : steers both, and waits until the front door has heard of it
load() {
  tunnels gw1 "$1"
  tunnels gw2 "$2"
  wait_for 5 has_tunnels gw1 "$1" && wait_for 5 has_tunnels gw2 "$2" || fail "the front door hears of the load"
}

# both_up : both gateways are available
both_up() { is_up gw1 && is_up gw2; }

part "two gateways behind one name"
expect "the lab's CA is in the browser's trust store" browser_home
web_start gw1; WEB1=$STARTED
web_start gw2; WEB2=$STARTED
tunnels gw1 100; tunnels gw2 500
agent_config gw1 10.99.0.11 "{ source = \"file\", path = \"$WORK/gw1.tunnels\" }"
agent_config gw2 10.99.0.12 "{ source = \"file\", path = \"$WORK/gw2.tunnels\" }"
agent_start gw1
agent_start gw2
front_config front-a
front_listener front-a portal 10.99.0.10:443
front_listener front-a plain 10.99.0.10:80 https-upgrade
front_gateway front-a gw1 gw1.lab 10.99.0.11
front_gateway front-a gw2 10.99.0.12 10.99.0.12
front_start front-a
expect_soon 10 "both gateways are up" both_up

part "https://"
load 100 500
shows gw1 https://vpn.lab/
load 500 100
shows gw2 https://vpn.lab/
shows gw2 'https://vpn.lab/bookmarked/page?lang=de'
expect_equal "and no one has used port 80 for that" 0 "$(asked_port_80)"

part "http://"
expect_equal "port 80 points to the same address with https://" https://vpn.lab/ "$(location http://vpn.lab/)"
BEFORE=$(asked_port_80)
load 100 500
shows gw1 http://vpn.lab/
load 500 100
shows gw2 http://vpn.lab/
expect "both times over port 80" [ "$(($(asked_port_80) - BEFORE))" -ge 2 ]

part "no gateway"
stop "$WEB1"
stop "$WEB2"
expect_soon 6 "both gateways are down" eval 'is_down gw1 && is_down gw2'
expect_equal "the answer is 503" 503 "$(status https://vpn.lab/)"
browse https://vpn.lab/
expect "the browser is sent to none of the gateways" eval '! grep -q "this is gw\|gw1\.lab\|10\.99\.0\.12" "$WORK/page.html"'

lab_done
