#!/bin/bash
# Shows: the units of config/systemd under a real systemd, in a closed room of its own (namespaces for processes, mounts and
#        network, a control group): both services start with the rights that they are to have; while the front door is started
#        anew again and again, also with another binary, nobody who comes is refused and everybody is answered; a reload
#        that is refused fails; a front door that is killed, or hangs, comes back by itself; the agent sets its fence.
# Needs: root; systemd, a control group hierarchy of version 2 that can be written, nft, python3
# Takes: about 45 s
. "$(dirname "$0")/lib.sh"

UNITS=$LAB_DIR/../../config/systemd
# left_out REASON
left_out() { echo "$LAB_NAME: left out: $1"; exit 77; }
[ -x /lib/systemd/systemd ] || left_out "systemd is not installed"
GROUPS_AT=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$GROUPS_AT" ] || left_out "there are no control groups of version 2"
GROUP=$GROUPS_AT/$LAB_PREFIX
mkdir "$GROUP" 2>/dev/null || left_out "no control group can be made"
trap 'lab_cleanup; group_away' EXIT

# group_away : the control group of the room, from the innermost outwards, once its last process is gone
group_away() { wait_for 5 find "$GROUP" -depth -type d -exec rmdir {} +; }

ADDRESS=127.9.9.9
mkdir -p "$WORK/units" "$WORK/config"
"$VESTIBULE" certs init --dir "$WORK/certs" --name vpn.lab --name $ADDRESS --front front-a --gateway gw1=$ADDRESS >/dev/null
install -m 755 -s "$VESTIBULE" "$WORK/vestibule"
cp "$UNITS"/*.service "$UNITS"/vestibule-fence-local.conf "$UNITS"/vestibule.sysusers "$WORK/units/"
{ sed '/^Listen/d' "$UNITS/vestibule.socket"; printf '%s\n' '[Socket]' "ListenStream=$ADDRESS:80" \
  "ListenStream=$ADDRESS:443" "ListenDatagram=$ADDRESS:4463"; } >"$WORK/units/vestibule.socket"
cat >"$WORK/config/vestibule.toml" <<END
[node]
name = "front-a"
workers = 2
[health]
interval = "200ms"
timeout = "150ms"
[[listener]]
name = "portal"
address = "$ADDRESS:443"
mode = "redirect"
certificates = [{ certificate = "../certs/portal.pem", key = "../certs/portal.key" }]
[[listener]]
name = "portal-http"
address = "$ADDRESS:80"
mode = "https-upgrade"
[dve]
listen = ["$ADDRESS:4463"]
keys = ["../certs/dve.key"]
answers_per_second_per_source = 100000
[[gateway]]
name = "gw1"
ssl_endpoint = "$ADDRESS:8999"
[[gateway.check]]
kind = "tcp"
address = "$ADDRESS:8999"
END
cat >"$WORK/config/heartbeat.toml" <<END
[agent]
name = "gw1"
listen = "127.0.0.1:9464"
[[check]]
name = "portal"
kind = "tcp"
address = "$ADDRESS:9"
[fence]
engine = "nftables"
ports = ["tcp/8998"]
END
cat >"$WORK/gateway.py" <<END
import socket
gateway = socket.create_server(("$ADDRESS", 8999))
while True:
    gateway.accept()[0].close()
END

# The room: this machine's files, read-only, with a few places of its own. Nothing in it outlives its first process.
cat >"$WORK/room.sh" <<'END'
set -e
mount --make-rprivate /
mount --bind "$WORK" /mnt
mount -t proc proc /proc
umount /sys/fs/cgroup 2>/dev/null || umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for place in /run /tmp /var/tmp /var/lib /usr/local/bin; do mount -t tmpfs tmpfs $place; done
mkdir /run/etc /run/etc.work /run/units
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work /etc
mount -o remount,bind,ro /
install -m 755 /mnt/vestibule /usr/local/bin/vestibule
mkdir -p /etc/vestibule /etc/sysusers.d
cp -r /mnt/certs /mnt/config /etc/vestibule/
cp /mnt/units/vestibule.sysusers /etc/sysusers.d/vestibule.conf
systemd-sysusers /etc/sysusers.d/vestibule.conf
# as README.md says
chown -R root:vestibule /etc/vestibule
chmod -R u=rwX,g=rX,o= /etc/vestibule
cp /mnt/units/*.service /mnt/units/*.socket /run/units/
for target in network nss-lookup network-online sockets sysinit basic shutdown umount; do
  cp /lib/systemd/system/$target.target /run/units/
done
printf '[Unit]\nDescription=The lab\n' >/run/units/lab.target
ip link set lo up
exec env -i PATH="$PATH" container=lab SYSTEMD_UNIT_PATH=/run/units /lib/systemd/systemd --system \
  --unit=lab.target --log-target=console --log-level=info --show-status=no
END
(
  echo $BASHPID >"$GROUP/cgroup.procs" || exit 1
  exec env WORK="$WORK" unshare --fork --kill-child --pid --mount --net --cgroup --ipc --uts bash "$WORK/room.sh"
) >"$WORK/systemd.log" 2>&1 &
OUTER=$!
LAB_PIDS+=("$OUTER")
lab_log systemd.log

# first_process : of the room, as this machine numbers it
first_process() { cut -d' ' -f1 "/proc/$OUTER/task/$OUTER/children"; }
# in_room COMMAND...
in_room() { nsenter -t "$(first_process)" -m -u -i -n -p -- "$@"; }
# main_pid UNIT : of its main process, as the room numbers it
main_pid() { in_room systemctl show -p MainPID --value "$1"; }
# right UNIT FIELD : a field of its status in /proc
right() { in_room sed -n "s/^$2:[[:space:]]*//p" "/proc/$(main_pid "$1")/status"; }
# came_back PID : the front door is there again, as another process
came_back() { [ "$(main_pid vestibule)" != "$1" ] && [ "$(main_pid vestibule)" != 0 ] && in_room systemctl is-active -q vestibule && answers; }
# refuses COMMAND... : it fails
refuses() { ! "$@" >/dev/null 2>&1; }
# answers : somebody who comes now is redirected
answers() { in_room curl -sf -o /dev/null --noproxy '*' -m 2 "http://$ADDRESS/"; }
# says UNIT WORDS : its status in systemd
says() { in_room systemctl show -p StatusText --value "$1" | grep -q "$2"; }
fenced() { in_room vestibule fence list | grep -q 'held by self'; }

wait_for 20 in_room systemctl is-active lab.target || fail "systemd starts in the room"
in_room python3 /mnt/gateway.py >"$WORK/gateway.log" 2>&1 &
LAB_PIDS+=($!)

part "the front door as a service"
expect "it starts" in_room systemctl start vestibule.socket vestibule.service
expect_equal "its capabilities are CAP_NET_BIND_SERVICE" 0000000000000400 "$(right vestibule CapEff)"
expect_equal "and it cannot get others" "0000000000000400 1" "$(right vestibule CapBnd) $(right vestibule NoNewPrivs)"
expect_equal "system calls are filtered" 2 "$(right vestibule Seccomp)"
expect_soon 10 "its status is what 'vestibule status' says" says vestibule "The only gateway is up"
asks() { in_room "$@" vestibule status >"$WORK/status" 2>&1; }
expect "root may ask it" asks
expect "and a member of its group" asks setpriv --reuid 65534 --regid vestibule --clear-groups
expect "but nobody else" refuses asks setpriv --reuid 65534 --regid 65534 --clear-groups

part "another process, and another binary, take its place"
# the room has a /tmp of its own, and this checkout may be in the other one
cp "$LAB_DIR/restarts.py" "$WORK/"
in_room python3 /mnt/restarts.py $ADDRESS:80 $ADDRESS:4463 /mnt/enough >"$WORK/restarts" 2>"$WORK/restarts.log" &
PEOPLE=$!
LAB_PIDS+=("$PEOPLE")
lab_log restarts.log
for _ in 1 2 3 4 5 6 7 8; do
  before=$(main_pid vestibule)
  in_room install -m 755 /mnt/vestibule /usr/local/bin/vestibule
  in_room systemctl restart vestibule || fail "a restart"
  [ "$(main_pid vestibule)" != "$before" ] || fail "a restart makes another process"
  sleep 0.5
done
expect "a reload" in_room systemctl reload vestibule
in_room sh -c 'echo nonsense >>/etc/vestibule/config/vestibule.toml'
expect "one with a broken configuration fails" refuses in_room systemctl reload vestibule
in_room cp /mnt/config/vestibule.toml /etc/vestibule/config/vestibule.toml
expect "and the next one does not" in_room systemctl reload vestibule
touch "$WORK/enough"
wait "$PEOPLE"
read -r answered wrong longest <"$WORK/restarts"
note "$answered were answered, $wrong were not; nobody waited longer than $longest s"
expect_equal "nobody was refused, cut off, or left without an answer" 0 "$wrong"
expect "there were many of them" [ "$answered" -gt 500 ]
expect_at_most "the longest wait, in seconds" 5 "$longest"

part "it fails"
before=$(main_pid vestibule)
begun=$(now)
in_room kill -9 "$before"
expect_soon 10 "a front door that is killed comes back" came_back "$before"
note "after $(since "$begun") s"
before=$(main_pid vestibule)
begun=$(now)
in_room kill -STOP "$before"
expect_soon 30 "one that hangs is started anew" came_back "$before"
note "after $(since "$begun") s"

part "with fence = \"local\""
in_room sh -c 'mkdir /run/units/vestibule.service.d && cp /mnt/units/vestibule-fence-local.conf /run/units/vestibule.service.d/ &&
  systemctl daemon-reload && systemctl restart vestibule' || fail "a restart with the drop-in"
expect_equal "it has CAP_NET_ADMIN as well" 0000000000001400 "$(right vestibule CapEff)"

part "the agent as a service"
expect "it starts" in_room systemctl start vestibule-heartbeat
expect_equal "as root with three capabilities" 0000000000003002 "$(right vestibule-heartbeat CapEff)"
expect_soon 10 "its status says what is wrong with the gateway" says vestibule-heartbeat "This gateway is down: portal: connection refused"
expect_soon 10 "its fence is set" fenced
expect "it is reloaded" in_room systemctl reload vestibule-heartbeat
expect_soon 10 "and its fence stays" fenced

part "the end"
expect "they are stopped in order" in_room systemctl stop vestibule-heartbeat vestibule.socket vestibule.service
expect_equal "none has failed" "" "$(in_room systemctl --failed --no-legend --plain)"
expect "the fence is gone" refuses in_room nft list table inet vestibule
expect "whoever comes now is refused" refuses answers
lab_done
