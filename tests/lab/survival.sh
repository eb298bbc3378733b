#!/bin/bash
# Shows: the front door outlives what the open network does to it, with real sockets: no file descriptor
#        left (it does not spin meanwhile, and answers again as soon as there are some), slow clients (cut
#        at the handshake and header timeouts, not before), one source that wants everything (the surplus
#        is refused, others get in), bodies that it need not read (the answer arrives whole, and no reset
#        follows it), and its own orderly end.
# Needs: root; tcpdump iproute2 curl openssl python3
# Takes: about 45 s
. "$(dirname "$0")/lib.sh"

lab_switch
lab_host front 10.99.0.2/24 10.99.0.10/24
lab_host gw1 10.99.0.11/24
lab_host client 10.99.0.50/24
lab_host other 10.99.0.51/24
lab_names '10.99.0.10 vpn.lab'

web_ca
web_certificate front DNS:vpn.lab,IP:10.99.0.10
web_certificate gw1 DNS:gw1.lab,IP:10.99.0.11
heartbeat_certificates front-a gw1=10.99.0.11
web_start gw1
tunnels gw1 100
agent_config gw1 10.99.0.11 "{ source = \"file\", path = \"$WORK/gw1.tunnels\" }"
agent_start gw1

# front LIMIT... : a fresh front door whose listener has these lines in its limits; OPEN_FILES: its ulimit -n
front() {
  [ -z "${FRONT:-}" ] || stop "$FRONT"
  front_config front-a
  front_listener front-a portal 10.99.0.10:443 redirect '' '[listener.limits]' "$@"
  front_gateway front-a gw1 10.99.0.11 10.99.0.11
  front_start front-a "${OPEN_FILES:-}"
  wait_for 10 is_up gw1 || fail "the gateway is not up"
}

# hold HOST COUNT : that many idle connections from there, until let_go; how many came about in $HELD
hold() {
  rm -f "$WORK/hold"; mkfifo "$WORK/hold"
  exec 5<>"$WORK/hold"
  exec 6>"$WORK/hold"
  STDIN=$WORK/hold start "$1" hold.log python3 "$LAB_DIR/clients.py" hold 10.99.0.10:443 "$2" 5>&- 6>&-
  HOLDER=$STARTED
  exec 5>&-
  wait_for 20 grep -q held "$WORK/hold.log" || fail "the idle connections come about"
  HELD=$(sed -n 's/^held //p' "$WORK/hold.log")
}

# let_go : the idle connections end
let_go() {
  exec 6>&-
  wait_for 5 ended "$HOLDER" || stop "$HOLDER"
}

# gets_in HOST : a request from there is redirected to the gateway
gets_in() { [ "$(CLIENT=$1 location https://10.99.0.10/)" = https://10.99.0.11/ ]; }

# clock_ticks PID : processor time that it has used, in 1/100 s
clock_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

part "no file descriptor left"
OPEN_FILES=100 front 'handshake_timeout = "60s"' 'connections_per_source = 1000'
expect "a client gets in" gets_in client
hold other 300
note "$HELD idle connections, 100 files at most"
BEGUN=$(clock_ticks "$FRONT")
sleep 2   # a span to measure in, nothing is waited for
USED=$(($(clock_ticks "$FRONT") - BEGUN))
expect "the front door still runs" running "$FRONT"
expect_equal "it really has none left: a newcomer gets no answer" 000 "$(status https://10.99.0.10/ -m 1)"
expect_at_most "its processor time meanwhile, in percent of one core" 25 "$((USED / 2))"
let_go
expect_soon 3 "a newcomer gets in once the others have gone" gets_in client
expect "the gateway has not been taken for dead meanwhile" is_up gw1
unset OPEN_FILES

part "slow clients"
front 'handshake_timeout = "1s"' 'header_timeout = "2s"' 'idle_timeout = "2s"'
# is_cut TEXT KIND SECONDS : the server closes then, not much earlier or later
is_cut() {
  local after; after=$(on client python3 "$LAB_DIR/clients.py" slow 10.99.0.10:443 "$2" 8 2>&1)
  [ "$after" != open ] || fail "$1 is never cut"
  at_most "$after" "$(awk -v s="$3" 'BEGIN { print s + 0.7 }')" || fail "$1 is cut only after $after s, not $3"
  at_most "$(awk -v s="$3" 'BEGIN { print s - 0.15 }')" "$after" || fail "$1 is cut after $after s already, not $3"
  pass "$1 is cut after $after s (limit $3)"
}
is_cut "a connection without a byte" idle 1
is_cut "half a ClientHello" hello 1
is_cut "a ClientHello byte by byte" drip 1
is_cut "a TLS session without a request" silent 2
is_cut "a request head byte by byte" header 2
expect "and others get in as ever" gets_in other

part "one source that wants everything"
front 'handshake_timeout = "60s"' 'connections_per_source = 8'
hold client 8
expect_equal "the ninth connection of a source gets no answer" 000 "$(status https://10.99.0.10/ -m 2)"
expect "while another source gets in" gets_in other
let_go
expect_soon 3 "the first source gets in once it has let go" gets_in client

part "an answer before the whole question"
front 'header_timeout = "5s"'
start front capture.log tcpdump --immediate-mode -lnni eth0 'src host 10.99.0.10 and src port 443 and tcp[tcpflags] & tcp-rst != 0'
CAPTURE=$STARTED
wait_for 5 grep -q 'listening on' "$WORK/capture.log" || fail "tcpdump does not start"
# is_answered KIND TEXT
is_answered() {
  expect_equal "$2: answered, and read to the end" "302 https://10.99.0.11/ body sent, clean end" \
    "$(on client python3 "$LAB_DIR/clients.py" post 10.99.0.10:443 "$1" 2>&1)"
}
is_answered small "300 bytes that come with the head"
is_answered large "64 KiB that come with the head"
is_answered late "64 KiB that come after the answer"
# what the capture has seen up to here is written at once (--immediate-mode, -l); one more exchange flushes it
expect "one more client" gets_in other
expect_equal "resets sent by the front door" 0 "$(grep -c 'Flags \[R' "$WORK/capture.log")"
stop "$CAPTURE" INT

part "an orderly end"
BEGUN=$(now)
hold other 20
kill -TERM "$FRONT"
expect_soon 10 "it ends on SIGTERM although idle clients are there" ended "$FRONT"
note "after $(since "$BEGUN") s"
wait "$FRONT"
expect_equal "with exit status" 0 $?
let_go

lab_done
