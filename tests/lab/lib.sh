# shellcheck shell=bash disable=SC2015,SC2034
# Shared by the lab tests: source it, do not run it.
#
# It gives: a private switch (a bridge in a network namespace of its own) with any number of hosts
# (namespaces) on it, certificates, ocserv gateways, heartbeat agents, front doors and clients, people who
# knock at doors and measure the refusals (knock.py), firewalls with rules of others that must stay as they
# are, and assertions. Every process is ended by its pid; the namespaces and the temporary folder are deleted
# however the test ends. The machine's own network namespace is never touched.
#
# Needs: root; bash, iproute2, openssl, curl; what the single tests name.
# Env:   VESTIBULE=PATH   the binary under test (default: target/debug/vestibule)
#        LAB_KEEP=1       keeps the temporary folder with all logs and names it at the end

set -u
export PYTHONDONTWRITEBYTECODE=1       # the repository stays as it is
LAB_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_NAME=$(basename "$0" .sh)
VESTIBULE=$(realpath -m "${VESTIBULE:-$LAB_DIR/../../target/debug/vestibule}")
LAB_PREFIX=vl$$                      # of the namespaces; unique while this test runs
LAB_PASSED=0
LAB_PIDS=() LAB_HOSTS=() LAB_LOGS=()

[ "$(id -u)" = 0 ] || { echo "error: $LAB_NAME needs root, for network namespaces" >&2; exit 2; }
[ -x "$VESTIBULE" ] || { echo "error: no binary at $VESTIBULE; cargo build, or set VESTIBULE" >&2; exit 2; }
WORK=$(mktemp -d -t vestibule-lab.XXXXXX) || exit 2

# lab_cleanup : ends our processes, deletes our namespaces and our folder
lab_cleanup() {
  trap '' INT TERM
  trap - EXIT
  local pid host
  for pid in "${LAB_PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null; done
  wait_for 2 lab_all_ended
  for pid in "${LAB_PIDS[@]}"; do kill -KILL "$pid" 2>/dev/null; done
  for host in "${LAB_HOSTS[@]}"; do
    # what those processes have forked, inside the namespace that we made
    for pid in $(ip netns pids "$LAB_PREFIX-$host" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
    ip netns del "$LAB_PREFIX-$host" 2>/dev/null
  done
  wait 2>/dev/null
  if [ "${LAB_KEEP:-0}" = 1 ]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
}
trap lab_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# lab_all_ended : no process of ours is left
lab_all_ended() {
  local pid
  for pid in "${LAB_PIDS[@]}"; do kill -0 "$pid" 2>/dev/null && return 1; done
  return 0
}

# ---- results ---------------------------------------------------------------------------------------

# part TEXT : a heading
part() { printf '\n%s: %s\n' "$LAB_NAME" "$*"; }

# note TEXT : something measured, worth reading
note() { printf '        %s\n' "$*"; }

# pass TEXT : one test case has passed
pass() { LAB_PASSED=$((LAB_PASSED + 1)); printf '  ok    %s\n' "$*"; }

# fail TEXT : the test case has failed: shows every log and ends the test
fail() {
  printf '  FAIL  %s\n' "$*"
  local log
  for log in "${LAB_LOGS[@]}"; do
    [ -s "$WORK/$log" ] || continue
    printf '  ---- %s (its last lines)\n' "$log"
    tail -n "${LAB_LOG_LINES:-25}" "$WORK/$log" | sed 's/^/  | /'
  done
  printf '%s: %d passed, 1 failed\n' "$LAB_NAME" "$LAB_PASSED"
  exit 1
}

# lab_done : the last line of every test
lab_done() { printf '%s: %d passed, 0 failed\n' "$LAB_NAME" "$LAB_PASSED"; exit 0; }

# expect TEXT COMMAND... : passes if the command succeeds
expect() {
  local text=$1; shift
  if "$@"; then pass "$text"; else fail "$text (failed: $*)"; fi
}

# expect_soon SECONDS TEXT COMMAND... : passes as soon as the command succeeds
expect_soon() {
  local seconds=$1 text=$2; shift 2
  if wait_for "$seconds" "$@"; then pass "$text"; else fail "$text (not within $seconds s: $*)"; fi
}

# expect_equal TEXT WANTED SEEN
expect_equal() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1 (wanted '$2', saw '$3')"; fi; }

# expect_at_most TEXT LIMIT SEEN : decimal numbers
expect_at_most() {
  if at_most "$3" "$2"; then pass "$1: $3 (limit $2)"; else fail "$1: $3 is more than $2"; fi
}

# at_most A B : A <= B; what is no number, for nothing was measured, is not
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 == a && b + 0 == b && a <= b) }'; }

# now : seconds, with fractions, of a clock that nobody sets
now() { cut -d' ' -f1 /proc/uptime; }

# since START : seconds gone by
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }

# wait_for SECONDS COMMAND... : until the command succeeds; asked every 50 ms
wait_for() {
  local end; end=$(awk -v s="$1" -v n="$(now)" 'BEGIN { print n + s }'); shift
  while :; do
    "$@" >/dev/null 2>&1 && return 0
    at_most "$end" "$(now)" && return 1
    sleep 0.05
  done
}

# ---- hosts and processes ---------------------------------------------------------------------------

# lab_namespace NAME
lab_namespace() {
  ip netns add "$LAB_PREFIX-$1" || { echo "error: cannot make a network namespace" >&2; exit 2; }
  LAB_HOSTS+=("$1")
  ip -n "$LAB_PREFIX-$1" link set lo up
}

# lab_switch : the bridge that the hosts are plugged into
lab_switch() {
  lab_namespace sw
  ip -n "$LAB_PREFIX-sw" link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
  ip -n "$LAB_PREFIX-sw" link set br0 up
}

# lab_host NAME ADDRESS/LENGTH... : a host whose eth0 has these addresses
lab_host() {
  local host=$1 address; shift
  lab_namespace "$host"
  ip -n "$LAB_PREFIX-sw" link add "p-$host" type veth peer name eth0 netns "$LAB_PREFIX-$host"
  ip -n "$LAB_PREFIX-sw" link set "p-$host" master br0 up
  ip -n "$LAB_PREFIX-$host" link set eth0 up
  for address in "$@"; do lab_address "$host" "$address"; done
}

# lab_address HOST ADDRESS/LENGTH : one more address, usable at once
lab_address() {
  case $2 in
    *:*) ip -n "$LAB_PREFIX-$1" address add "$2" dev eth0 nodad ;;
    *) ip -n "$LAB_PREFIX-$1" address add "$2" dev eth0 ;;
  esac
}

# lab_route HOST NETWORK GATEWAY
lab_route() { ip -n "$LAB_PREFIX-$1" route add "$2" via "$3"; }

# lab_names LINE... : the hosts file that all hosts of the lab see
lab_names() {
  printf '127.0.0.1 localhost\n' >"$WORK/hosts"
  printf '%s\n' "$@" >>"$WORK/hosts"
}

# What runs inside a namespace sees the lab's hosts file, and a resolv.conf that VPN scripts may scribble on.
printf '127.0.0.1 localhost\n' >"$WORK/hosts"
printf '# none\n' >"$WORK/resolv.conf"
# shellcheck disable=SC2016
LAB_ENTER='mount --bind "$0/hosts" /etc/hosts; mount --bind "$0/resolv.conf" /etc/resolv.conf 2>/dev/null; exec "$@"'

# on HOST COMMAND... : runs it on that host
on() {
  local host=$1; shift
  ip netns exec "$LAB_PREFIX-$host" sh -c "$LAB_ENTER" "$WORK" "$@"
}

# start HOST LOG COMMAND... : the same in the background; its pid in $STARTED, its output in $WORK/LOG
start() {
  local host=$1 log=$2; shift 2
  ip netns exec "$LAB_PREFIX-$host" sh -c "$LAB_ENTER" "$WORK" "$@" >"$WORK/$log" 2>&1 <"${STDIN:-/dev/null}" &
  STARTED=$!
  LAB_PIDS+=("$STARTED")
  lab_log "$log"
}

# lab_log LOG : shown when a case fails; the one named last is shown last
lab_log() {
  local log kept=()
  for log in "${LAB_LOGS[@]}"; do [ "$log" = "$1" ] || kept+=("$log"); done
  LAB_LOGS=("${kept[@]}" "$1")
}

# running PID
running() { kill -0 "$1" 2>/dev/null; }

# ended PID
ended() { ! kill -0 "$1" 2>/dev/null; }

# stop PID [SIGNAL] : ends a process of ours and waits for it
stop() {
  local pid kept=()
  kill "-${2:-TERM}" "$1" 2>/dev/null
  # one that is killed is waited for at once, or the shell would tell of it
  [ "${2:-TERM}" = KILL ] || wait_for 5 ended "$1" || kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null
  for pid in "${LAB_PIDS[@]}"; do [ "$pid" = "$1" ] || kept+=("$pid"); done
  LAB_PIDS=("${kept[@]}")
}

# listens HOST ADDRESS:PORT : a TCP socket is bound there, as ss writes it (0.0.0.0:443, [fd99::10]:443, *:443)
listens() { ip netns exec "$LAB_PREFIX-$1" ss -Hltn | awk '{ print $4 }' | grep -qxF -- "$2"; }

# listens_on_port HOST PORT
listens_on_port() { ip netns exec "$LAB_PREFIX-$1" ss -Hltn | awk '{ print $4 }' | grep -q ":$2\$"; }

# ---- certificates ----------------------------------------------------------------------------------

# web_ca : the CA that the clients trust, in $WORK/web/ca.pem; it stands for a public one
web_ca() {
  mkdir -p "$WORK/web"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Vestibule lab" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$WORK/web/ca.key" -out "$WORK/web/ca.pem" 2>/dev/null
}

# web_certificate NAME SAN [USAGE] : e.g. web_certificate gw1 DNS:gw1.lab,IP:10.99.0.11; for a server, or clientAuth
web_certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
    -keyout "$WORK/web/$1.key" -out "$WORK/web/$1.csr" 2>/dev/null
  openssl x509 -req -in "$WORK/web/$1.csr" -CA "$WORK/web/ca.pem" -CAkey "$WORK/web/ca.key" -CAcreateserial \
    -days 2 -out "$WORK/web/$1.pem" 2>/dev/null \
    -extfile <(printf 'subjectAltName=%s\nkeyUsage=digitalSignature\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\n' "$2" "${3:-serverAuth}")
}

# heartbeat_certificates FRONT[=ADDRESS][,FRONT...] NAME=ADDRESS... : what front doors and agents show each other, in
# $WORK/certs
heartbeat_certificates() {
  local name fronts arguments=()
  IFS=, read -r -a fronts <<<"$1"; shift
  for name in "${fronts[@]}"; do arguments+=(--front "$name"); done
  for name in "$@"; do arguments+=(--gateway "$name"); done
  "$VESTIBULE" certs init --dir "$WORK/certs" --name vpn.lab "${arguments[@]}" \
    >"$WORK/certs.log" 2>&1 || { lab_log certs.log; fail "vestibule certs init"; }
  for name in ca "${fronts[@]%%=*}" "${@%%=*}"; do
    [ -s "$WORK/certs/$name.pem" ] || { ls -l "$WORK/certs"; fail "vestibule certs init made no $name.pem"; }
  done
}

# ---- gateways --------------------------------------------------------------------------------------

# ocserv_config NAME NETWORK : $WORK/NAME.ocserv; user alice, password secret
ocserv_config() {
  [ -f "$WORK/passwd" ] || printf 'secret\nsecret\n' | ocpasswd -c "$WORK/passwd" alice >/dev/null 2>&1
  cat >"$WORK/$1.ocserv" <<CONFIG
auth = "plain[passwd=$WORK/passwd]"
tcp-port = 443
run-as-user = root
run-as-group = root
socket-file = $WORK/$1.sock
occtl-socket-file = $WORK/$1.occtl
use-occtl = true
pid-file = $WORK/$1.pid
isolate-workers = false
server-cert = $WORK/web/$1.pem
server-key = $WORK/web/$1.key
max-clients = 100
max-same-clients = 0
rate-limit-ms = 0
max-ban-score = 0
keepalive = 300
dpd = 20
cookie-timeout = 300
device = vpns
predictable-ips = true
ipv4-network = $2
ipv4-netmask = 255.255.255.0
ping-leases = false
cisco-client-compat = true
CONFIG
}

# ocserv_start NAME : ocserv on the host of that name
ocserv_start() {
  start "$1" "$1.ocserv.log" ocserv --foreground --debug 1 --config "$WORK/$1.ocserv"
  wait_for 5 test -S "$WORK/$1.occtl" && wait_for 5 listens_on_port "$1" 443 || fail "ocserv does not start on $1"
}

# ocserv_kill NAME : takes ocserv away at once, with all that it has forked, as a crash would
ocserv_kill() {
  local pid pids=()
  for pid in $(ip netns pids "$LAB_PREFIX-$1"); do
    case $(cat "/proc/$pid/comm" 2>/dev/null) in ocserv*) pids+=("$pid") ;; esac
  done
  [ ${#pids[@]} -gt 0 ] || fail "there is no ocserv to kill on $1"
  kill -KILL "${pids[@]}" 2>/dev/null
  wait "${pids[@]}" 2>/dev/null
  wait_for 2 no_process "$1" ocserv
  rm -f "$WORK/$1.occtl" "$WORK/$1.sock" "$WORK/$1.pid"
}

# ocserv_freezes NAME / ocserv_thaws NAME : it takes no newcomers, although its port is open: connections to it
# come about and nothing ever answers on them; the workers of the tunnels that are there work on
ocserv_freezes() { kill -STOP "$(ocserv_main "$1")"; }
ocserv_thaws() { kill -CONT "$(ocserv_main "$1")"; }
ocserv_main() {
  local pid
  for pid in $(ip netns pids "$LAB_PREFIX-$1"); do
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != ocserv-main ] || { echo "$pid"; return 0; }
  done
  return 1
}

# no_process HOST NAME : none on that host whose name begins so
no_process() {
  local pid
  for pid in $(ip netns pids "$LAB_PREFIX-$1"); do
    case $(cat "/proc/$pid/comm" 2>/dev/null) in "$2"*) return 1 ;; esac
  done
}

# ocserv_sessions NAME : how many sessions ocserv itself counts
ocserv_sessions() { on "$1" occtl -s "$WORK/$1.occtl" -j show status | sed -n 's/.*"Active sessions": *\([0-9]*\).*/\1/p'; }

# web_start NAME [PORT] : a small HTTPS server on that host whose page names it; requests in $WORK/NAME.requests;
# see web_breaks
web_start() {
  : >"$WORK/$1.requests"
  start "$1" "$1.web.log" python3 "$LAB_DIR/web_gateway.py" --name "$1" --port "${2:-443}" --broken "$WORK/$1.broken" \
    --certificate "$WORK/web/$1.pem" --key "$WORK/web/$1.key" --log "$WORK/$1.requests"
  wait_for 20 listens_on_port "$1" "${2:-443}" || fail "the web server does not start on $1"
}

# web_breaks NAME... / web_works NAME... : its web server answers nothing but 503 from now on / works again
web_breaks() { local name; for name in "$@"; do : >"$WORK/$name.broken"; done; }
web_works() { local name; for name in "$@"; do rm -f "$WORK/$name.broken"; done; }

# agent_config NAME ADDRESS TUNNELS [LINE...] : $WORK/NAME.heartbeat.toml; TUNNELS is the inline table for [load]
# tunnels; its check is of https, or what the lines say
agent_config() {
  local check=('name = "portal"' 'kind = "https"' "address = \"$2:443\"")
  [ $# -le 3 ] || check=("${@:4}")
  cat >"$WORK/$1.heartbeat.toml" <<CONFIG
[agent]
name = "$1"
listen = "$2:9464"
certificate = "certs/$1.pem"
key = "certs/$1.key"
client_ca = "certs/ca.pem"

[health]
interval = "1s"
timeout = "800ms"
rise = 2
fall = 3

[[check]]
$(printf '%s\n' "${check[@]}")

[load]
interface = "eth0"
capacity = { throughput = "1Gbit", tunnels = 1000 }
tunnels = $3
CONFIG
}

# agent_start NAME : the heartbeat agent on the host of that name; its pid in $STARTED
agent_start() {
  start "$1" "$1.heartbeat.log" "$VESTIBULE" heartbeat -c "$WORK/$1.heartbeat.toml"
  wait_for 5 listens_on_port "$1" 9464 || fail "the heartbeat agent does not start on $1"
}

# agent_fence NAME LINE... : the agent of that gateway has a [fence] section with these lines
agent_fence() { printf '%s\n' '' '[fence]' "${@:2}" >>"$WORK/$1.heartbeat.toml"; }

# report NAME ADDRESS [FRONT] : what the agent of that gateway says to that front door (default: front-a), as JSON
report() {
  ip netns exec "$LAB_PREFIX-${FRONT_HOST:-front}" curl -sS --noproxy '*' -m 2 --cacert "$WORK/certs/ca.pem" \
    --cert "$WORK/certs/${3:-front-a}.pem" --key "$WORK/certs/${3:-front-a}.key" "https://$2:9464/v1/report"
}

# json EXPRESSION : of the JSON on standard input, as d; a list as its elements with spaces between
json() {
  /usr/bin/env python3 -c '
import json, sys
d = json.load(sys.stdin)
answer = eval(sys.argv[1])
print(*answer if isinstance(answer, list) else [answer])' "$1"
}

# tunnels NAME COUNT : what the agent of that gateway reads from its file (source = "file")
tunnels() { printf '%s\n' "$2" >"$WORK/$1.tunnels.new"; mv "$WORK/$1.tunnels.new" "$WORK/$1.tunnels"; }

# ---- front doors -----------------------------------------------------------------------------------

# front_config NAME : $WORK/NAME.toml but for listeners and gateways. Only tunnels count towards the load
# here: the hosts of the lab share one processor, whose load would decide otherwise.
front_config() {
  cat >"$WORK/$1.toml" <<CONFIG
[node]
name = "$1"
state_dir = "$1.state"

[admin]
listen = "127.0.0.1:9463"
socket = "$1.admin.sock"

[balance]
slow_start = "0s"
weights = { throughput = 0, tunnels = 1, pool = 0, cpu = 0 }

[health]
interval = "1s"
timeout = "800ms"
rise = 2
fall = 3

[heartbeat]
ca = "certs/ca.pem"
certificate = "certs/$1.pem"
key = "certs/$1.key"
CONFIG
}

# front_listener NAME LISTENER ADDRESS:PORT [MODE [LINE...]] : one more listener, and further lines of it
front_listener() {
  local name=$1 listener=$2 address=$3 mode=${4:-redirect}
  shift $(($# < 4 ? $# : 4))
  {
    printf '\n[[listener]]\nname = "%s"\naddress = "%s"\nmode = "%s"\n' "$listener" "$address" "$mode"
    case $mode in
      https-upgrade | passthrough) ;;
      *) printf 'certificates = [{ certificate = "web/front.pem", key = "web/front.key" }]\n' ;;
    esac
    [ $# = 0 ] || printf '%s\n' "$@"
  } >>"$WORK/$name.toml"
}

# front_gateway NAME GATEWAY ENDPOINT [AGENT ADDRESS] : one more gateway, checked from outside as well
front_gateway() {
  {
    printf '\n[[gateway]]\nname = "%s"\nssl_endpoint = "%s"\n' "$2" "$3"
    [ -z "${4:-}" ] || printf 'heartbeat = "https://%s:9464"\n' "$4"
    printf '\n[[gateway.check]]\nkind = "https"\n'
  } >>"$WORK/$1.toml"
}

# front_native NAME GATEWAY ENDPOINT AGENT : one more gateway, for native VPN clients alone, which only its agent looks at
front_native() {
  printf '\n[[gateway]]\nname = "%s"\nvpn_mode = "native"\nssl_endpoint = "%s"\nnative_endpoint = "%s"\nheartbeat = "https://%s:9464"\n' \
    "$2" "$4" "$3" "$4" >>"$WORK/$1.toml"
}

# quoted WORD... : "WORD", "WORD"
quoted() { printf ', "%s"' "$@" | cut -c3-; }

# front_dve NAME ADDRESS:PORT... / front_ike NAME ADDRESS:PORT... : it answers DVE / redirects IKEv2 there
front_dve() { printf '\n[dve]\nlisten = [%s]\nkeys = ["certs/dve.key"]\n' "$(quoted "${@:2}")" >>"$WORK/$1.toml"; }
front_ike() { printf '\n[ikev2_redirect]\nlisten = [%s]\n' "$(quoted "${@:2}")" >>"$WORK/$1.toml"; }

# front_fence NAME LINE... : it has a [fence] section with these lines
front_fence() { printf '%s\n' '' '[fence]' "${@:2}" >>"$WORK/$1.toml"; }

# front_start NAME [OPEN FILES] : a front door on host $FRONT_HOST, or else "front"; its pid in $FRONT
front_start() {
  local host=${FRONT_HOST:-front}
  on "$host" "$VESTIBULE" check -c "$WORK/$1.toml" >"$WORK/$1.check.log" 2>&1 ||
    { lab_log "$1.check.log"; fail "the configuration of the lab is refused"; }
  if [ -n "${2:-}" ]; then
    # shellcheck disable=SC2016
    start "$host" "$1.log" sh -c 'ulimit -n "$0"; exec "$@"' "$2" "$VESTIBULE" serve -c "$WORK/$1.toml"
  else
    start "$host" "$1.log" "$VESTIBULE" serve -c "$WORK/$1.toml"
  fi
  FRONT=$STARTED
}

# front_status NAME [ARGUMENT...] : what `vestibule status` says of that front door
front_status() { "$VESTIBULE" status --admin "$WORK/$1.admin.sock" "${@:2}"; }

# metric NAME [LABEL="VALUE"...] : the sum of what the front door (on $FRONT_HOST, or else "front") says of it;
# nothing where it says nothing
metric() {
  local name=$1; shift
  ip netns exec "$LAB_PREFIX-${FRONT_HOST:-front}" curl -sS --noproxy '*' -m 2 http://127.0.0.1:9463/metrics |
    awk -v name="$name" -v labels="$*" '
      BEGIN { n = split(labels, wanted, " ") }
      $1 == name || index($1, name "{") == 1 {
        for (i = 1; i <= n; i++) if (!index($1, wanted[i])) next
        sum += $NF; found = 1
      }
      END { if (found) print sum }'
}

# metric_is VALUE NAME [LABEL="VALUE"...]
metric_is() { local value=$1; shift; [ "$(metric "$@")" = "$value" ]; }

# is_native_up GATEWAY / is_native_down GATEWAY : in the eyes of the front door, for native VPN
is_native_up() { metric_is 1 vestibule_gateway_up "gateway=\"$1\"" 'vpn="native"'; }
is_native_down() { metric_is 0 vestibule_gateway_up "gateway=\"$1\"" 'vpn="native"'; }

# is_up GATEWAY / is_down GATEWAY : in the eyes of the front door, for SSL VPN
is_up() { metric_is 1 vestibule_gateway_up "gateway=\"$1\"" 'vpn="ssl"'; }
is_down() { metric_is 0 vestibule_gateway_up "gateway=\"$1\"" 'vpn="ssl"'; }

# has_tunnels GATEWAY COUNT : the front door has a report that says so
has_tunnels() { metric_is "$2" vestibule_gateway_tunnels "gateway=\"$1\""; }

# location URL [CURL OPTION...] : where the answer to a request from the client points; empty if nowhere
location() {
  local url=$1; shift
  on "${CLIENT:-client}" curl -sS --noproxy '*' -m 3 --cacert "$WORK/web/ca.pem" -o /dev/null -w '%{redirect_url}' "$@" "$url" 2>>"$WORK/curl.log"
}

# status URL [CURL OPTION...] : the status of the answer; 000 if there is none
status() {
  local url=$1; shift
  on "${CLIENT:-client}" curl -sS --noproxy '*' -m 3 --cacert "$WORK/web/ca.pem" -o /dev/null -w '%{http_code}' "$@" "$url" 2>>"$WORK/curl.log"
}

# ---- keepalived ------------------------------------------------------------------------------------

# front_vrrp NAME ROLE PEER ADDRESS/LENGTH INTERVAL : it shares that address with the front door on PEER
front_vrrp() {
  printf '\n[[vrrp]]\nvrrp_id = 31\nrole = "%s"\ninterface = "eth0"\naddresses = ["%s"]\npeers = ["%s"]\nadvertisement_interval = "%s"\nnotify_fifo = "%s"\n' \
    "$2" "$4" "$3" "$5" "$WORK/$1.run/fifo" >>"$WORK/$1.toml"
}

# front_peers NAME OWN-ADDRESS ADDRESS... : front doors on these addresses tell each other how things stand
front_peers() {
  local urls=("${@:3}")
  printf '\n[peers]\nlisten = "%s:9465"\nfront_doors = [%s]\n' "$2" "$(quoted "${urls[@]/#/https://}")" >>"$WORK/$1.toml"
}

# keepalived_start HOST NAME : keepalived on that host, with what `vestibule keepalived` prints for the front door NAME,
# unchanged; its pid in $STARTED
keepalived_start() {
  lab_log "$1.keepalived.warnings"
  on "$1" "$VESTIBULE" keepalived -c "$WORK/$2.toml" >"$WORK/$1.keepalived" 2>"$WORK/$1.keepalived.warnings" ||
    fail "vestibule keepalived on $1"
  # what it is killed over
  rm -f "$WORK/$1.keepalived.pid" "$WORK/$1.vrrp.pid"
  start "$1" "$1.keepalived.log" keepalived --dont-fork --vrrp --log-console --log-detail -f "$WORK/$1.keepalived" \
    -p "$WORK/$1.keepalived.pid" -r "$WORK/$1.vrrp.pid"
}

# keepalived_kill HOST : all of its processes at once, as the machine's OOM killer might; the addresses stay
keepalived_kill() {
  local pid pids=()
  for pid in $(ip netns pids "$LAB_PREFIX-$1" | sort -rn); do
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != keepalived ] || pids+=("$pid")
  done
  [ ${#pids[@]} -ge 2 ] || fail "there is no keepalived to kill on $1"
  # the child first: it takes the addresses away when it sees its parent gone
  kill -KILL "${pids[@]}"
  wait "${pids[@]}" 2>/dev/null
}

# has_address HOST ADDRESS
has_address() { ip -n "$LAB_PREFIX-$1" -brief address show dev eth0 | grep -qF " $2/"; }

# ---- a browser -------------------------------------------------------------------------------------

# browser_home : a home with the lab's CA in the NSS database that Chromium reads
browser_home() {
  mkdir -p "$WORK/home/.pki/nssdb"
  certutil -d "sql:$WORK/home/.pki/nssdb" -N --empty-password &&
    certutil -d "sql:$WORK/home/.pki/nssdb" -A -t C,, -n lab -i "$WORK/web/ca.pem"
}

# ---- strongSwan ------------------------------------------------------------------------------------

# ESP is done in charon itself (kernel-libipsec): the kernel of the machine need not have it, nor give it to namespaces.
CHARON_PLUGINS='random nonce aes sha1 sha2 hmac kdf drbg gmp pem pkcs1 x509 pubkey constraints
  kernel-libipsec kernel-netlink socket-default updown vici'

# charon_start HOST [LINE...] : strongSwan on that host, and further lines for its charon section; what it says of
# IKE is in $WORK/HOST.charon, its /run is $WORK/HOST.run; its pid in $STARTED
charon_start() {
  local host=$1; shift
  printf '%s\n' 'charon {' "load = ${CHARON_PLUGINS//$'\n'/ }" 'retransmit_tries = 3' 'retransmit_timeout = 1.0' "$@" \
    "filelog { f { path = $WORK/$host.charon" 'time_format = %H:%M:%S' 'default = 1' 'ike = 2' 'flush_line = yes } }' \
    '}' >"$WORK/$host.strongswan"
  : >"$WORK/$host.charon"
  mkdir -p "$WORK/$host.run"
  rm -f "$WORK/$host.run"/charon.*
  # shellcheck disable=SC2016
  start "$host" "$host.charon.out" sh -c 'mount --bind "$0.run" /run && STRONGSWAN_CONF="$0.strongswan" exec /usr/lib/ipsec/charon' \
    "$WORK/$host"
  lab_log "$host.charon"
  wait_for 5 test -S "$WORK/$host.run/charon.vici" || fail "charon does not start on $host"
}

# swan HOST ARGUMENT... : swanctl, asking the charon of that host
swan() { local host=$1; shift; timeout 30 swanctl "$@" --uri "unix://$WORK/$host.run/charon.vici"; }

# swan_load HOST : gives it $WORK/HOST.swanctl
swan_load() {
  swan "$1" --load-all --file "$WORK/$1.swanctl" >"$WORK/$1.load.log" 2>&1 || { lab_log "$1.load.log"; fail "charon on $1 takes its configuration"; }
}

# swan_gateway NAME INNER POOL : strongSwan as a gateway on the host of that name; clients with the right key get an
# address of POOL, and reach INNER through the tunnel
swan_gateway() {
  ip -n "$LAB_PREFIX-$1" address replace "$2/32" dev lo
  cat >"$WORK/$1.swanctl" <<CONFIG
connections { rw {
  version = 2
  proposals = aes128-sha256-modp2048
  pools = people
  local { auth = psk
    id = vpn.example.com }
  remote { auth = psk
    id = %any }
  children { net { local_ts = $2/32
    esp_proposals = aes128-sha256 } }
} }
pools { people { addrs = $3 } }
secrets { ike-1 { secret = "a key of the lab" } }
CONFIG
  charon_start "$1"
  swan_load "$1"
}

# swan_client HOST INNER : begins $WORK/HOST.swanctl; see swan_connection
swan_client() { printf 'secrets { ike-1 { secret = "a key of the lab" } }\n' >"$WORK/$1.swanctl"; SWAN_INNER=$2; }

# swan_connection HOST NAME ADDRESS [LINE...] : one more connection, to that address; its child is called NAME
swan_connection() {
  local host=$1 name=$2 address=$3; shift 3
  {
    printf 'connections { %s {\n version = 2\n proposals = aes128-sha256-modp2048\n remote_addrs = %s\n vips = 0.0.0.0\n' "$name" "$address"
    printf ' local { auth = psk\n id = %s }\n remote { auth = psk\n id = vpn.example.com }\n' "$host"
    printf ' children { %s { remote_ts = %s/32\n esp_proposals = aes128-sha256 } }\n' "$name" "$SWAN_INNER"
    [ $# = 0 ] || printf ' %s\n' "$@"
    printf '} }\n'
  } >>"$WORK/$host.swanctl"
}

# swan_initiate HOST NAME : brings that connection up, or says no; what happens is in $WORK/initiate.log
swan_initiate() {
  : >"$WORK/$1.charon"
  lab_log initiate.log
  swan "$1" --initiate --child "$2" --timeout 20 >"$WORK/initiate.log" 2>&1
}

# swan_peer HOST : the gateway that its established IKE_SA is with: address and port
swan_peer() { swan "$1" --list-sas --raw 2>/dev/null | sed -n 's/.* state=ESTABLISHED .*remote-host=\([^ ]*\) remote-port=\([0-9]*\) .*/\1 \2/p' | head -n 1; }

# swan_terminate HOST NAME
swan_terminate() { swan "$1" --terminate --ike "$2" --force --timeout 5 >/dev/null 2>&1; }

# ---- fences ----------------------------------------------------------------------------------------

# Sources for those who knock often: the kernel sends about one ICMP error a second to each.
KNOCKERS=10.99.0.60,10.99.0.61,10.99.0.62,10.99.0.63,10.99.0.64,10.99.0.65,10.99.0.66,10.99.0.67,10.99.0.68,10.99.0.69
KNOCKERS6=fd99::60,fd99::61,fd99::62,fd99::63,fd99::64,fd99::65,fd99::66,fd99::67,fd99::68,fd99::69

# lab_knockers HOST : it has those addresses
lab_knockers() {
  local address addresses
  IFS=, read -r -a addresses <<<"$KNOCKERS,$KNOCKERS6"
  for address in "${addresses[@]}"; do
    case $address in *:*) lab_address "$1" "$address/64" ;; *) lab_address "$1" "$address/24" ;; esac
  done
}

# knock HOST ADDRESS... : one attempt at each (tcp/10.99.0.11:443): open, refused or silent, with spaces between.
# Host "crowd" has lab_knockers.
knock() {
  local host=$1 from=(); shift
  [ "$host" != crowd ] || from=(--from "$KNOCKERS,$KNOCKERS6")
  ip netns exec "$LAB_PREFIX-$host" python3 "$LAB_DIR/knock.py" "${from[@]}" once "$@" | awk '{ printf "%s%s", sep, $1; sep = " " }'
}

# knocks HOST RESULT ADDRESS... : that is what all of these attempts come to
knocks() {
  local host=$1 result=$2 seen; shift 2
  for seen in $(knock "$host" "$@"); do [ "$seen" = "$result" ] || return 1; done
}

# watch_start HOST LOG EVERY ADDRESS... : attempts at each, all the time; its pid in $STARTED
watch_start() {
  local host=$1 log=$2; shift 2
  start "$host" "$log" python3 "$LAB_DIR/knock.py" --from "$KNOCKERS,$KNOCKERS6" watch "$@"
  wait_for 5 test -s "$WORK/$log" || fail "the knocking does not start"
}

# watch_stop PID LOG : ends it; a watch that has ended before, or has not seen anything of late, proves nothing
watch_stop() {
  running "$1" || { lab_log "$2"; fail "the knocking has gone on until now"; }
  watch_goes_on "$2"
  stop "$1"
}

# watch_goes_on LOG : it does a round from now on, at least
watch_goes_on() {
  wait_for 5 has_round "$1" "$(now)" || { lab_log "$1"; fail "the knocking has gone on until now"; }
}
has_round() { awk -v since="$2" '$1 + 0 == $1 && $1 >= since { found = 1 } END { exit !found }' "$WORK/$1"; }

# first RESULT LOG SINCE [COLUMN] : when the watch first saw that result (of its first address, or another), in
# seconds after SINCE; nothing if never
first() {
  awk -v result="$1" -v since="$3" -v c="$((2 * ${4:-1}))" \
    '$1 >= since && NF >= c && $c == result { printf "%.2f", $1 - since; exit }' "$WORK/$2"
}

# seen RESULT LOG SINCE [COLUMN] : the watch has seen it
seen() { [ -n "$(first "$@")" ]; }

# slowest RESULT LOG [COLUMN] : the most seconds that an attempt with that result has taken
slowest() {
  awk -v result="$1" -v c="$((2 * ${3:-1}))" \
    '$c == result && $(c + 1) > most { most = $(c + 1) } END { printf "%.3f", most }' "$WORK/$2"
}

# seconds_left HOST : until the kernel ends the last block in its nftables, if nobody renews it. Asked of the kernel, and not
# measured: on a busy machine that somebody knocks takes its time, too
seconds_left() {
  ip netns exec "$LAB_PREFIX-$1" nft -nj list ruleset | json "max(m['elem']['expires'] for i in d['nftables']
    for m in i.get('set', {}).get('elem', []) if isinstance(m, dict) and 'expires' in m.get('elem', {}))"
}

# nft_foreign HOST : everything in its nftables that is not Vestibule's, without counters and empty lines
nft_foreign() {
  ip netns exec "$LAB_PREFIX-$1" nft -s list ruleset 2>/dev/null | awk '
    /^table / { ours = $3 ~ /^vestibule/ }
    /^\tchain sslvpn-heartbeat-chain / { chain = 1 }
    !ours && !chain && NF && !/jump sslvpn-heartbeat-chain/ { print }
    /^\t}/ { chain = 0 }'
}

# iptables_foreign HOST : the same of iptables, both families
iptables_foreign() {
  local save
  for save in iptables-save ip6tables-save; do
    ip netns exec "$LAB_PREFIX-$1" $save 2>/dev/null |
      sed -e '/sslvpn-heartbeat-chain/d' -e '/^#/d' -e 's/\[[0-9]*:[0-9]*\]//'
  done
}

# foreign_rules HOST : loads what others may have in their firewall: tables of nftables of all kinds, and rules
# of iptables in filter, nat and mangle. Nothing that the lab sends meets any of it.
foreign_rules() {
  ip netns exec "$LAB_PREFIX-$1" nft -f - <<'RULES' || fail "the foreign tables cannot be loaded"
table inet site {
  set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 } }
  counter seen { }
  chain input { type filter hook input priority 0; policy accept; ip saddr @friends tcp dport 443 counter accept; tcp dport 4444 drop; }
  chain forward { type filter hook forward priority 0; policy accept; meta mark 0x77 drop; }
}
table ip site_nat {
  chain pre { type nat hook prerouting priority -100; policy accept; tcp dport 8081 redirect to :8080; }
  chain post { type nat hook postrouting priority 100; policy accept; ip saddr 203.0.113.0/24 masquerade; }
}
table ip6 site6 { chain input { type filter hook input priority -20; policy accept; tcp dport 4444 reject; }; }
RULES
  ip netns exec "$LAB_PREFIX-$1" iptables-restore <<'RULES' || fail "the foreign iptables rules cannot be loaded"
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:site - [0:0]
-A INPUT -j site
-A INPUT -p tcp --dport 4445 -j DROP
-A FORWARD -m mark --mark 0x78 -j DROP
-A OUTPUT -d 192.0.2.9/32 -p tcp --dport 443 -j REJECT --reject-with tcp-reset
-A site -s 192.0.2.1/32 -m comment --comment "a friend of the site" -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp --dport 8082 -j REDIRECT --to-ports 8080
-A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -s 203.0.113.0/24 -j MARK --set-xmark 0x1/0xffffffff
COMMIT
RULES
  ip netns exec "$LAB_PREFIX-$1" ip6tables-restore <<'RULES' || fail "the foreign ip6tables rules cannot be loaded"
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 2001:db8::1/128 -p tcp --dport 443 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 2001:db8:1::/64 -j MASQUERADE
COMMIT
RULES
}

# foreign_noted HOST... / foreign_same TEXT HOST... : what is there now is what must be there from now on / it is
foreign_noted() {
  local host
  for host in "$@"; do
    { nft_foreign "$host"; iptables_foreign "$host"; } >"$WORK/$host.foreign"
    [ -s "$WORK/$host.foreign" ] || fail "there are no foreign rules on $host"
  done
}
foreign_same() {
  local text=$1 host; shift
  for host in "$@"; do
    { nft_foreign "$host"; iptables_foreign "$host"; } >"$WORK/$host.foreign.now"
    diff "$WORK/$host.foreign" "$WORK/$host.foreign.now" >"$WORK/$host.foreign.diff" ||
      { lab_log "$host.foreign.diff"; fail "$text: the rules of others on $host are as they were"; }
  done
  pass "$text: the rules of others on $* are as they were"
}

# ---- openconnect -----------------------------------------------------------------------------------

# openconnect_start HOST LOG ARGUMENT... : as alice, over TCP only unless DTLS=yes, trusting the lab's web CA; pid
# in $STARTED
openconnect_start() {
  local host=$1 log=$2 transport=(--no-dtls); shift 2
  [ "${DTLS:-no}" = no ] || transport=()
  printf 'secret\n' >"$WORK/password"
  STDIN=$WORK/password start "$host" "$log" openconnect --user=alice --passwd-on-stdin --non-inter "${transport[@]}" \
    --cafile "$WORK/web/ca.pem" --interface tun0 --timestamp "$@"
}

# tunnel_address HOST : the address that a gateway has given it
tunnel_address() { ip -n "$LAB_PREFIX-$1" -4 -brief address show dev tun0 2>/dev/null | awk '{ sub("/.*", "", $3); print $3 }'; }

# tunnel_is_up HOST
tunnel_is_up() { [ -n "$(tunnel_address "$1")" ]; }

# tunnel_up_or_ended HOST PID : openconnect has come to a result
tunnel_up_or_ended() { tunnel_is_up "$1" || ended "$2"; }

# landed_on HOST : the gateway whose network the tunnel address of HOST is from (see NETWORKS in the tests)
landed_on() {
  case $(tunnel_address "$1") in
    10.101.*) echo gw1 ;;
    10.102.*) echo gw2 ;;
    *) echo none ;;
  esac
}

# login HOST LOG ARGUMENT... : openconnect until the tunnel is up or it gives up; gateway in $LANDED, pid in $STARTED
login() {
  local host=$1
  openconnect_start "$@"
  wait_for 10 tunnel_up_or_ended "$host" "$STARTED"
  LANDED=$(landed_on "$host")
}

# logout HOST PID : an orderly end of the session
logout() {
  stop "$2" INT
  wait_for 3 no_tunnel "$1"
}

# no_tunnel HOST
no_tunnel() { ! tunnel_is_up "$1"; }

# ping_through HOST : the gateway's inner address answers through the tunnel
ping_through() {
  local inner; inner=$(tunnel_address "$1" | sed 's/\.[0-9]*$/.1/')
  on "$1" ping -n -q -c 3 -i 0.2 -W 2 -I tun0 "$inner" >"$WORK/ping.log" 2>&1
}
