#!/bin/bash
# Shows: the status page in a real browser. Headless Chromium opens the page of a farm of real processes under load, sees a
#        gateway die and come back without loading the page again, drains and resumes one with the token, by mouse, by
#        keyboard alone, and without JavaScript; in both colour schemes, wide and at 390 px, axe-core finds nothing and nothing
#        is beyond the edge; the page says when the front door is away, and goes on when it is back. A visitor without the token
#        changes nothing, nor does a page of somebody else, nor a foreign name that leads here. Nobody but the front door is
#        asked for anything. The screenshots are in target/lab/page.
# Needs: root; chromium nodejs npm iproute2 curl openssl python3
# Runs: beside others: it measures no time
# Takes: about 80 s
. "$(dirname "$0")/lib.sh"

TARGET=$(realpath -m "${CARGO_TARGET_DIR:-$LAB_DIR/../../target}")
MODULES=$TARGET/tools/page
SHOTS=$TARGET/lab/page
# The lock file says which versions, and what they must be.
if ! cmp -s "$LAB_DIR/../page/package-lock.json" "$MODULES/node_modules/installed"; then
  mkdir -p "$MODULES"
  cp "$LAB_DIR/../page/package.json" "$LAB_DIR/../page/package-lock.json" "$MODULES/"
  (cd "$MODULES" && npm ci --ignore-scripts --no-audit --no-fund) >"$WORK/npm.log" 2>&1 ||
    { lab_log npm.log; fail "playwright-core and axe-core are installed"; }
  cp "$MODULES/package-lock.json" "$MODULES/node_modules/installed"
fi
mkdir -p "$SHOTS"
rm -f "$SHOTS"/*.png

lab_switch
lab_host front 10.99.0.2/24 10.99.0.10/24
lab_host gw1 10.99.0.11/24
lab_host gw2 10.99.0.12/24
lab_host gw3 10.99.0.13/24
lab_host client 10.99.0.50/24
lab_names '10.99.0.10 vpn.lab'
web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
heartbeat_certificates front-a,front-b gw1=10.99.0.11 gw2=10.99.0.12 gw3=10.99.0.13

PAGE_TOKEN=$(openssl rand -hex 16)
export PAGE_TOKEN
printf '%s\n' "$PAGE_TOKEN" >"$WORK/token"
chmod 600 "$WORK/token"

# gateway_starts NAME : its web server, and its agent
gateway_starts() {
  web_start "$1"; WEB[${1#gw}]=$STARTED
  agent_start "$1"; AGENT[${1#gw}]=$STARTED
}
# gateway_dies NAME : both at once
gateway_dies() { stop "${WEB[${1#gw}]}" KILL; stop "${AGENT[${1#gw}]}" KILL; }
WEB=() AGENT=()

for number in 1 2 3; do
  web_certificate gw$number DNS:gw$number.lab,IP:10.99.0.1$number
  tunnels gw$number $((number * 140))
  agent_config gw$number 10.99.0.1$number "{ source = \"file\", path = \"$WORK/gw$number.tunnels\" }"
  gateway_starts gw$number
done

# front-a is looked at from its own host; front-b from anywhere, with the token
for name in front-a front-b; do
  front_config $name
  sed -i "s|^\[admin\]|[admin]\ntoken_file = \"token\"|" "$WORK/$name.toml"
  for number in 1 2 3; do front_gateway $name gw$number 10.99.0.1$number 10.99.0.1$number; done
done
front_listener front-a portal 10.99.0.10:443
sed -i 's|^listen = "127.0.0.1:9463"|listen = "10.99.0.2:9463"|' "$WORK/front-b.toml"
front_listener front-b portal 10.99.0.10:8443
front_start front-b
front_start front-a
for number in 1 2 3; do expect_soon 20 "gw$number is up" is_up gw$number; done

# people who log in, one after the other, until the end; never more than so many
# shellcheck disable=SC2016
start client load.log sh -c 'for i in $(seq 3000); do
  curl -s -o /dev/null -m 3 --noproxy "*" --cacert "$0/web/ca.pem" --resolve vpn.lab:443:10.99.0.10 https://vpn.lab/; sleep 0.1; done' "$WORK"

# ---- the browser: a step is a line to it, and lines from it ----------------------------------------

mkfifo "$WORK/steps"
ip netns exec "$LAB_PREFIX-front" env -u http_proxy -u https_proxy HOME="$WORK/home" XDG_CONFIG_HOME="$WORK/home" \
  DBUS_SESSION_BUS_ADDRESS=disabled: node "$LAB_DIR/../page/page.mjs" "$MODULES" "$SHOTS" \
  <"$WORK/steps" >"$WORK/seen" 2>"$WORK/browser.log" &
BROWSER=$!
LAB_PIDS+=("$BROWSER")
lab_log browser.log
exec {STEPS}>"$WORK/steps"
HEARD=0

# browser STEP WORD... : has it done, and tells what was seen
browser() {
  local kind text
  echo "$*" >&"$STEPS"
  while wait_for 120 has_said_more; do
    HEARD=$((HEARD + 1))
    read -r kind text < <(sed -n "${HEARD}p" "$WORK/seen")
    case $kind in
      ok) pass "$text" ;;
      note) note "$text" ;;
      done) return 0 ;;
      *) fail "$text" ;;
    esac
  done
  fail "the browser does not answer: $*"
}
has_said_more() { [ "$(wc -l <"$WORK/seen")" -gt "$HEARD" ]; }

part "live"
browser begin
browser stays
browser crowded
browser reset
gateway_dies gw2
browser dies gw2
browser looks trouble / /gateways/gw2 /why
gateway_starts gw2
browser returns gw2

part "drain and resume"
browser drains gw1
expect "the log says who and why" grep -q 'alice at 127.0.0.1' "$WORK/front-a.log"
browser looks drained / /gateways/gw1/resume
browser resumes gw1
browser keyboard gw1
browser scriptless gw1

part "as it looks when all is well"
browser looks well / /gateways/gw1 /gateways/gw1/drain /why /why?source=nonsense /nothing-here

part "the front door is away, and comes back"
stop "$FRONT"
browser away
front_start front-a
browser back

part "who has no token changes nothing"
browser foreign gw1
browser rebinding gw1
browser end

exec {STEPS}>&-
lab_done
