use std::net::IpAddr;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use vestibule::net::firewall::{
    Block, Connections, Done, Engine, Fence, Firewall, FirewallError, RejectWith,
};

use super::inventory::vestibule;
use super::network::{Client, GATEWAY, Outcome, Tools, alone, lives, run, until};

pub fn fence(ports: &[&str], connections: Connections, reject_with: RejectWith) -> Fence {
    Fence {
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        connections,
        reject_with,
        exempt: vec!["127.0.0.0/8".parse().unwrap(), "fd09::3/128".parse().unwrap()],
        spare: Vec::new(),
    }
}

pub fn block(lease: Duration) -> Block {
    Block { until: Instant::now() + lease, holders: "self, front-a".into() }
}

pub const LONG: Duration = Duration::from_secs(60);

pub fn engine(tools: Tools) -> Engine {
    if tools == Tools::Nft { Engine::Nftables } else { Engine::Iptables }
}

/// One test for each engine.
macro_rules! for_each_engine {
    ($($name:ident: $body:path;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn nftables() {
                alone(concat!("fence::", stringify!($name), "::nftables"), Tools::Nft, async || $body(Tools::Nft).await);
            }

            #[test]
            fn iptables() {
                let name = concat!("fence::", stringify!($name), "::iptables");
                alone(name, Tools::Iptables, async || $body(Tools::Iptables).await);
            }

            #[test]
            fn iptables_legacy() {
                let name = concat!("fence::", stringify!($name), "::iptables_legacy");
                alone(name, Tools::Legacy, async || $body(Tools::Legacy).await);
            }
        }
    )*};
}

for_each_engine! {
    a_fence_refuses_newcomers_and_lets_living_connections_be: newcomers_alone;
    a_fence_of_all_connections_cuts_them: all_connections;
    what_comes_to_another_services_address_passes: spared;
    the_kernel_ends_a_block_that_nobody_renews: the_kernels_end;
    what_others_have_broken_is_repaired: repairs;
    a_rule_before_ours_lets_nobody_in_for_longer_than_until_the_next_renewal: overtaken;
    no_rule_but_our_own_ever_changes: foreign_rules;
    a_block_may_end_while_it_is_renewed: renewals;
    a_call_that_is_broken_off_does_no_harm: broken_off;
    what_another_process_has_left_is_found_and_goes_on: left_behind;
}

async fn newcomers_alone(tools: Tools) {
    let client = Client::new();
    let ports = ["tcp/443", "udp/443", "udp/500", "udp/4500"];
    let mut firewall = Firewall::new(engine(tools), fence(&ports, Connections::New, RejectWith::TcpReset));
    let mut living = GATEWAY.map(|gateway| client.connect(gateway, 443));
    assert_eq!(firewall.set(None, &[]).await.unwrap(), Done::Written);
    assert_eq!(firewall.set(None, &[]).await.unwrap(), Done::AsItWas);
    for gateway in GATEWAY {
        assert_eq!(client.tcp(gateway, 443), Outcome::Open);
    }
    let exempt = ["10.9.0.3".parse().unwrap()];
    let block = block(LONG);
    assert_eq!(firewall.set(Some(&block), &exempt).await.unwrap(), Done::Written);
    assert_eq!(firewall.set(Some(&block), &exempt).await.unwrap(), Done::AsItWas);
    for (gateway, exempt) in GATEWAY.into_iter().zip(["10.9.0.3", "fd09::3"]) {
        assert_eq!(client.tcp(gateway, 443), Outcome::Refused, "{gateway}");
        assert_eq!(client.tcp(gateway, 8080), Outcome::Open, "{gateway}");
        assert_eq!(client.tcp_from(exempt, gateway, 443), Outcome::Open, "{gateway}");
        // DTLS: who comes anew has opened a TCP connection before
        assert_eq!(client.udp(gateway, 443, b"x"), Outcome::Open, "{gateway}");
        assert_eq!(client.udp(gateway, 500, &ike(false, 0)), Outcome::Refused, "{gateway}");
        assert_eq!(client.udp(gateway, 500, &ike(false, 1)), Outcome::Open, "{gateway}");
        assert_eq!(client.udp(gateway, 4500, &ike(true, 0)), Outcome::Refused, "{gateway}");
        assert_eq!(client.udp(gateway, 4500, &ike(true, 1)), Outcome::Open, "{gateway}");
        // an ESP packet, whose SPI is no marker, and a keepalive (RFC 3948 §2.2, §2.3)
        assert_eq!(client.udp(gateway, 4500, &[1; 100]), Outcome::Open, "{gateway}");
        assert_eq!(client.udp(gateway, 4500, &[0xff]), Outcome::Open, "{gateway}");
        assert!(std::net::TcpStream::connect((gateway, 443)).is_ok(), "this host itself");
    }
    assert!(living.iter_mut().all(lives));
    assert_eq!(firewall.set(None, &exempt).await.unwrap(), Done::Written);
    for gateway in GATEWAY {
        assert_eq!(client.tcp(gateway, 443), Outcome::Open);
        assert_eq!(client.udp(gateway, 500, &ike(false, 0)), Outcome::Open);
    }
    assert!(living.iter_mut().all(lives));
}

/// The beginning of an IKE message: SPIs, next payload 33, version 2.0, IKE_SA_INIT, initiator, message 0, length 28.
fn ike(marker: bool, responder: u8) -> Vec<u8> {
    let mut message = if marker { vec![0; 4] } else { Vec::new() };
    message.extend([0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x07, 0x18]);
    message.extend([0, 0, 0, 0, 0, 0, 0, responder]);
    message.extend([33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 28]);
    message
}

async fn all_connections(tools: Tools) {
    let client = Client::new();
    for reject_with in [RejectWith::TcpReset, RejectWith::IcmpPortUnreachable] {
        let fence = fence(&["tcp/443", "udp/443"], Connections::All, reject_with);
        let mut firewall = Firewall::new(engine(tools), fence);
        firewall.set(None, &[]).await.unwrap();
        let mut living = GATEWAY.map(|gateway| client.connect(gateway, 443));
        let mut elsewhere = client.connect(GATEWAY[0], 8080);
        assert!(living.iter_mut().all(lives));
        firewall.set(Some(&block(LONG)), &[]).await.unwrap();
        for (connection, gateway) in living.iter_mut().zip(GATEWAY) {
            assert!(!lives(connection), "{gateway}");
            let outcome = client.tcp(gateway, 443);
            let icmpv6 = gateway.contains(':') && reject_with == RejectWith::IcmpPortUnreachable;
            let expected = if icmpv6 { Outcome::RefusedLate } else { Outcome::Refused };
            assert!(outcome == Outcome::Refused || outcome == expected, "{gateway}: {outcome:?}");
            assert_eq!(client.udp(gateway, 443, b"x"), Outcome::Refused, "{gateway}");
        }
        assert!(lives(&mut elsewhere));
        firewall.remove().await.unwrap();
        firewall.remove().await.unwrap();
        for gateway in GATEWAY {
            assert_eq!(client.tcp(gateway, 443), Outcome::Open, "{gateway}");
        }
    }
}

async fn spared(tools: Tools) {
    let client = Client::new();
    let others = ["10.9.0.9", "fd09::9"];
    run("ip addr add 10.9.0.9/24 dev v0");
    run("ip addr add fd09::9/64 dev v0 nodad");
    for other in others {
        until("the address is there", || client.tcp(other, 443) == Outcome::Open);
    }
    for connections in [Connections::New, Connections::All] {
        let mut fence = fence(&["tcp/443", "udp/500"], connections, RejectWith::TcpReset);
        fence.spare = others.map(|address| address.parse().unwrap()).into();
        let mut firewall = Firewall::new(engine(tools), fence);
        let block = block(LONG);
        assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::Written);
        assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::AsItWas);
        for (gateway, other) in GATEWAY.into_iter().zip(others) {
            assert_eq!(client.tcp(gateway, 443), Outcome::Refused, "{gateway}");
            assert_eq!(client.udp(gateway, 500, &ike(false, 0)), Outcome::Refused, "{gateway}");
            assert_eq!(client.tcp(other, 443), Outcome::Open, "{other}");
            // the answer leaves from the gateway's first address, and the client does not take it for one
            assert_ne!(client.udp(other, 500, &ike(false, 0)), Outcome::Refused, "{other}");
        }
        firewall.remove().await.unwrap();
    }
}

async fn the_kernels_end(tools: Tools) {
    let client = Client::new();
    let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(engine(tools), fence);
    let lease = Duration::from_secs(2);
    firewall.set(Some(&block(lease)), &[]).await.unwrap();
    let begun = Instant::now();
    // as if it had been killed
    drop(firewall);
    for gateway in GATEWAY {
        assert_eq!(client.tcp(gateway, 443), Outcome::Refused);
    }
    until("it is open again", || GATEWAY.iter().all(|gateway| client.tcp(gateway, 443) == Outcome::Open));
    let took = begun.elapsed();
    // iptables knows full seconds alone, and ends a block early rather than late
    let early = if engine(tools) == Engine::Iptables { 1000 } else { 0 } + 100;
    assert!(
        took > lease - Duration::from_millis(early) && took < lease + Duration::from_millis(300),
        "{took:?}"
    );
}

async fn repairs(tools: Tools) {
    let client = Client::new();
    let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(engine(tools), fence);
    let chain = "sslvpn-heartbeat-chain";
    let damages: Vec<String> = match tools {
        Tools::Nft => vec![
            "nft flush ruleset".into(),
            "nft insert rule inet vestibule refuse accept".into(),
            "nft add rule inet vestibule input drop".into(),
            "nft flush chain inet vestibule refuse".into(),
            "nft flush set inet vestibule fenced".into(),
            "nft flush set inet vestibule exempt_ipv6".into(),
            "nft add element inet vestibule fenced '{ tcp . 8080 timeout 60s }'".into(),
            "nft flush set inet vestibule fenced; nft add element inet vestibule fenced '{ tcp . 443 }'"
                .into(),
            "nft flush set inet vestibule fenced; \
             nft add element inet vestibule fenced '{ tcp . 443 timeout 9s comment \"self, front-a\" }'"
                .into(),
            "nft add element inet vestibule exempt_ipv4 '{ 10.0.0.0/8 }'".into(),
            // a rule that keeps its comment
            "rule=$(nft -a list chain inet vestibule refuse | grep tcp.reset); comment=${rule#*comment }; \
             nft \"replace rule inet vestibule refuse handle ${rule##* } tcp dport 8080 drop comment ${comment%% #*}\""
                .into(),
            "nft add set inet vestibule more '{ type ipv4_addr; }'".into(),
            "nft add chain inet vestibule more".into(),
            "nft add chain inet vestibule input '{ policy drop; }'".into(),
            "nft delete table inet vestibule; nft 'add table inet vestibule { flags dormant; }'".into(),
        ],
        Tools::Iptables | Tools::Legacy => ["iptables", "ip6tables"]
            .into_iter()
            .flat_map(|iptables| {
                [
                    format!("{iptables} -F"),
                    format!("{iptables} -F {chain}"),
                    format!("{iptables} -F; {iptables} -X"),
                    format!("{iptables} -D INPUT -j {chain}"),
                    format!("{iptables} -I INPUT -j {chain}; {iptables} -A INPUT -j {chain}"),
                    format!("{iptables} -I {chain} -j ACCEPT"),
                    format!("{iptables} -D {chain} 1"),
                    format!("{iptables} -D {chain} 2"),
                    format!("printf '*filter\nCOMMIT\n' | {iptables}-restore"),
                ]
            })
            .collect(),
    };
    let block = block(LONG);
    firewall.set(Some(&block), &[]).await.unwrap();
    for damage in damages {
        run(&damage);
        assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::Repaired, "{damage}");
        assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::AsItWas, "{damage}");
        for gateway in GATEWAY {
            assert_eq!(client.tcp(gateway, 443), Outcome::Refused, "{damage}");
            assert_eq!(client.tcp(gateway, 8080), Outcome::Open, "{damage}");
        }
    }
    // the same where nothing is blocked, and for one that comes later
    let mut later =
        Firewall::new(engine(tools), self::fence(&["tcp/443"], Connections::New, RejectWith::TcpReset));
    later.set(None, &[]).await.unwrap();
    assert_eq!(later.set(None, &[]).await.unwrap(), Done::AsItWas);
    for gateway in GATEWAY {
        assert_eq!(client.tcp(gateway, 443), Outcome::Open);
    }
    run(match tools {
        Tools::Nft => "nft flush ruleset",
        Tools::Iptables | Tools::Legacy => "iptables -F; iptables -X",
    });
    assert_eq!(later.set(None, &[]).await.unwrap(), Done::Repaired);
    assert_eq!(later.set(None, &[]).await.unwrap(), Done::AsItWas);
}

/// The clock of this machine is left alone; what is changed instead is where on it the block begins.
async fn clock_set_back() {
    let client = Client::new();
    let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(Engine::Iptables, fence.clone());
    let mut lasting = block(LONG);
    firewall.set(Some(&lasting), &[]).await.unwrap();
    let outcomes = || GATEWAY.map(|gateway| client.tcp(gateway, 443));
    assert_eq!(outcomes(), [Outcome::Refused; 2]);
    let first = beginnings();
    let now = OffsetDateTime::now_utc();
    for begun in first {
        assert!(begun > now - Duration::from_secs(10) && begun < now, "{begun}, and it is {now}");
    }
    // as if it were some seconds earlier than when the block was written
    let later = OffsetDateTime::now_utc() + Duration::from_secs(3);
    for (iptables, begun) in ["iptables", "ip6tables"].iter().zip(first) {
        let (was, is) = (date(begun), date(later));
        run(&format!(
            "{iptables}-save | sed 's/--datestop {was} -j/--datestop {is} -j/' | {iptables}-restore"
        ));
    }
    assert_eq!(outcomes(), [Outcome::Open; 2]);
    let mut next = Firewall::new(Engine::Iptables, fence);
    assert_eq!(next.find().await.unwrap(), None);
    let (_, listed, _) = vestibule("fence list");
    assert!(listed.contains("nothing is refused") && !listed.contains("refused: "), "{listed}");
    until("it begins", || outcomes() == [Outcome::Refused; 2]);
    assert!(OffsetDateTime::now_utc() > later);
    let (_, listed, _) = vestibule("fence list");
    assert!(listed.contains("refused: tcp/443, for "), "{listed}");
    assert_eq!(next.find().await.unwrap().unwrap().holders, "self, front-a");
    assert_eq!(firewall.set(Some(&lasting), &[]).await.unwrap(), Done::Repaired);
    // renewals move the beginning: what is in force is never more than a lease and a few seconds
    let begun = beginnings();
    assert!((0..2).all(|family| begun[family] >= first[family]));
    lasting.until += Duration::from_secs(2);
    firewall.set(Some(&lasting), &[]).await.unwrap();
    assert!((0..2).all(|family| beginnings()[family] > first[family]), "{first:?}, {:?}", beginnings());
    assert_eq!(outcomes(), [Outcome::Refused; 2]);
}

/// The second that our chain lets everything pass up to, in both families.
fn beginnings() -> [OffsetDateTime; 2] {
    ["iptables", "ip6tables"].map(|iptables| {
        let rules = run(&format!("{iptables} -S sslvpn-heartbeat-chain"));
        let begun = rules.split("-m time --datestop ").nth(1).unwrap_or_else(|| panic!("{rules}"));
        OffsetDateTime::parse(&format!("{}Z", begun.split(' ').next().unwrap()), &Rfc3339).unwrap()
    })
}

fn date(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap().replace('Z', "")
}

#[test]
fn a_clock_that_is_set_back_opens_a_block_and_does_not_prolong_it() {
    let test = "fence::a_clock_that_is_set_back_opens_a_block_and_does_not_prolong_it";
    alone(test, Tools::Iptables, clock_set_back);
}

#[test]
fn a_clock_that_is_set_back_opens_a_block_of_the_older_interface() {
    let test = "fence::a_clock_that_is_set_back_opens_a_block_of_the_older_interface";
    alone(test, Tools::Legacy, clock_set_back);
}

async fn overtaken(tools: Tools) {
    let client = Client::new();
    let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(engine(tools), fence);
    let outcomes = || GATEWAY.map(|gateway| client.tcp(gateway, 443));
    let accept = "-p tcp -m tcp --dport 443 -j ACCEPT";
    let mut block = block(LONG);
    firewall.set(Some(&block), &[]).await.unwrap();
    // with 2 s more the rules are others; one that ends at the same second has the same rules
    for more in [Duration::from_secs(2), Duration::from_nanos(1)] {
        run(&format!("iptables -I INPUT {accept}; ip6tables -I INPUT {accept}"));
        // two who both want to be first do not fight at every look
        assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::AsItWas);
        // a table of nftables goes before those of others, whatever they do
        let expected = if tools == Tools::Nft { Outcome::Refused } else { Outcome::Open };
        assert_eq!(outcomes(), [expected; 2]);
        block.until += more;
        let done = firewall.set(Some(&block), &[]).await.unwrap();
        if tools == Tools::Nft {
            assert_eq!(done, Done::Written);
        } else {
            assert_eq!(done, Done::Repaired);
            for iptables in ["iptables", "ip6tables"] {
                let rules = run(&format!("{iptables} -S INPUT"));
                let first = rules.lines().nth(1).unwrap();
                assert_eq!(first, "-A INPUT -j sslvpn-heartbeat-chain", "{rules}");
                assert!(rules.contains(accept), "{rules}");
            }
        }
        assert_eq!(outcomes(), [Outcome::Refused; 2]);
        assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::AsItWas);
        run(&format!("iptables -D INPUT {accept}; ip6tables -D INPUT {accept}"));
    }
    // where nothing is blocked there is no hurry
    firewall.set(None, &[]).await.unwrap();
    run(&format!("iptables -I INPUT {accept}; ip6tables -I INPUT {accept}"));
    assert_eq!(firewall.set(None, &[]).await.unwrap(), Done::AsItWas);
    block.until += Duration::from_secs(2);
    assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::Written);
    assert_eq!(outcomes(), [Outcome::Refused; 2]);
}

/// All rules of this host but ours, as they are listed.
fn others() -> String {
    let ours = ["sslvpn-heartbeat", "Generated", "Completed", "Warning"];
    let saved =
        run("iptables-save; ip6tables-save; nft list table inet foreign; nft list table ip filter || true");
    let mut lines: Vec<_> =
        saved.lines().filter(|line| !ours.iter().any(|word| line.contains(word))).collect();
    // counters of policies count
    lines.iter_mut().for_each(|line| *line = line.split(" [").next().unwrap());
    let table_of_iptables = lines.iter().position(|line| *line == "table ip filter {").unwrap_or(lines.len());
    lines.truncate(table_of_iptables);
    lines.join("\n")
}

async fn foreign_rules(tools: Tools) {
    let client = Client::new();
    run(
        "nft 'table inet foreign { set s { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }; chain c { type \
         filter hook input priority 0; policy accept; ip saddr @s drop; tcp dport 9999 drop comment \"theirs\"; }; }'",
    );
    for iptables in ["iptables", "ip6tables"] {
        run(&format!(
            "{iptables} -N theirs; {iptables} -A theirs -p tcp --dport 9998 -j DROP; {iptables} -A INPUT -j theirs"
        ));
        run(&format!("{iptables} -I INPUT -p udp --dport 9997 -j DROP; {iptables} -P FORWARD DROP"));
    }
    let before = others();
    assert!(before.contains("9997") && before.contains("9998") && before.contains("9999"), "{before}");
    let fence = fence(&["tcp/443", "udp/500"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(engine(tools), fence);
    for _ in 0..3 {
        for block in [None, Some(block(LONG)), Some(block(2 * LONG)), None] {
            firewall.set(block.as_ref(), &["10.9.0.3".parse().unwrap()]).await.unwrap();
            assert_eq!(others(), before);
            let expected = if block.is_some() { Outcome::Refused } else { Outcome::Open };
            assert_eq!(client.tcp(GATEWAY[0], 443), expected);
        }
    }
    firewall.set(Some(&block(LONG)), &[]).await.unwrap();
    firewall.remove().await.unwrap();
    assert_eq!(others(), before);
    assert!(!run("iptables-save; nft list ruleset").contains("vestibule"));
    assert!(!run("iptables-save; ip6tables-save").contains("sslvpn"));
}

async fn renewals(tools: Tools) {
    let client = Client::new();
    let fence = fence(&["tcp/443", "tcp/8080"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(engine(tools), fence);
    // leases about as long as it takes to write them
    for milliseconds in (0..60).chain((0..60).rev()) {
        firewall.set(Some(&block(Duration::from_millis(milliseconds))), &[]).await.unwrap();
    }
    firewall.set(Some(&block(LONG)), &[]).await.unwrap();
    assert_eq!(client.tcp(GATEWAY[0], 443), Outcome::Refused);
    // there is no moment without a block from one lease to the next, and counters go on
    let refused_before = if tools == Tools::Nft { refused() } else { 0 };
    let (begun, mut renewals) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(2) {
        let done = firewall.set(Some(&block(LONG)), &[]).await.unwrap();
        // iptables' blocks end at full seconds, and often at the same one as before
        assert!(done == Done::Written || (done == Done::AsItWas && tools != Tools::Nft), "{done:?}");
        assert_eq!(client.tcp(GATEWAY[0], 443), Outcome::Refused);
        renewals += 1;
    }
    assert!(renewals > 10);
    if tools == Tools::Nft {
        assert_eq!(refused(), refused_before + renewals);
    }
}

async fn broken_off(tools: Tools) {
    let client = Client::new();
    let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(engine(tools), fence);
    for milliseconds in (0..120).step_by(2) {
        let block = (milliseconds % 4 == 0).then(|| block(LONG));
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), firewall.set(block.as_ref(), &[]))
            .await;
    }
    for (block, expected) in [(Some(block(LONG)), Outcome::Refused), (None, Outcome::Open)] {
        firewall.set(block.as_ref(), &[]).await.unwrap();
        assert_eq!(GATEWAY.map(|gateway| client.tcp(gateway, 443)), [expected; 2]);
    }
    firewall.remove().await.unwrap();
    assert!(!run("nft list ruleset; iptables-save; ip6tables-save").contains("sslvpn"));
}

async fn left_behind(tools: Tools) {
    let client = Client::new();
    let new = || Firewall::new(engine(tools), fence(&["tcp/443"], Connections::New, RejectWith::TcpReset));
    assert_eq!(new().find().await.unwrap(), None);
    new().set(None, &[]).await.unwrap();
    assert_eq!(new().find().await.unwrap(), None);
    let (begun, lease) = (Instant::now(), Duration::from_secs(12));
    new().set(Some(&block(lease)), &[]).await.unwrap();
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        let mut firewall = new();
        let before = rules();
        let found = firewall.find().await.unwrap().unwrap();
        assert_eq!(rules(), before);
        assert_eq!(found.holders, "self, front-a");
        // of nftables whole seconds are told, rounded down; iptables' blocks end at full ones
        assert!(found.until <= begun + lease + second, "{:?}", found.until - begun);
        assert!(found.until + 5 * second > begun + lease, "{:?}", found.until - begun);
        firewall.set(Some(&found), &[]).await.unwrap();
        assert_eq!(client.tcp(GATEWAY[0], 443), Outcome::Refused);
    }
    until("it ends", || client.tcp(GATEWAY[0], 443) == Outcome::Open);
    let took = begun.elapsed();
    assert!(took < lease + second + second / 2, "it is never made longer: {took:?}");
    assert_eq!(new().find().await.unwrap(), None);
}

/// All rules of this host, without what is counted and how much time is left.
fn rules() -> String {
    let all = run("iptables-save; ip6tables-save; nft list ruleset");
    let changes = |word: &str| word.starts_with('[') || word.ends_with("ms") || word.ends_with('s');
    let words = all.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split(' '));
    words.filter(|word| !changes(word)).collect::<Vec<_>>().join(" ")
}

#[test]
fn whatever_a_holder_is_called_the_block_is_in_force() {
    alone("fence::whatever_a_holder_is_called_the_block_is_in_force", Tools::Iptables, async || {
        for engine in [Engine::Nftables, Engine::Iptables] {
            let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
            let mut firewall = Firewall::new(engine, fence);
            for name in ["o'hara", "a\"b", "a\\", "$(x) `y` ${z}", "#;,{}", " a  -j DROP ", "ä\n!", "-"] {
                let block = Block { until: Instant::now() + LONG, holders: name.into() };
                assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::Written, "{name:?}");
                assert_eq!(firewall.set(Some(&block), &[]).await.unwrap(), Done::AsItWas, "{name:?}");
            }
            firewall.remove().await.unwrap();
        }
    });
}

/// How many packets were refused.
fn refused() -> u64 {
    let rules = run("nft list chain inet vestibule refuse");
    let counted = rules.split("counter packets ").nth(1).unwrap();
    counted.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_seeds_listing_is_reproduced() {
    alone("fence::the_seeds_listing_is_reproduced", Tools::Iptables, async || {
        let mut fence = fence(&["tcp/8080"], Connections::All, RejectWith::IcmpPortUnreachable);
        fence.exempt.clear();
        let mut firewall = Firewall::new(Engine::Iptables, fence);
        let listing = || {
            let listing = run("iptables -L sslvpn-heartbeat-chain");
            let words = listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            words.collect::<Vec<_>>()
        };
        let (head, columns) =
            ("Chain sslvpn-heartbeat-chain (1 references)", "target prot opt source destination");
        firewall.set(None, &[]).await.unwrap();
        assert_eq!(listing(), [head, columns]);
        firewall.set(Some(&block(LONG)), &[]).await.unwrap();
        let blocked = listing();
        assert_eq!(blocked[..2], [head, columns]);
        let reject = "REJECT tcp -- anywhere anywhere tcp dpt:http-alt reject-with icmp-port-unreachable";
        assert_eq!(blocked.last().unwrap(), reject, "{blocked:?}");
        firewall.set(None, &[]).await.unwrap();
        assert_eq!(listing(), [head, columns]);
    });
}

/// For some commands nft reads all that there is on a host, which may be a list of whole countries.
#[test]
fn other_peoples_large_sets_do_not_slow_us_down() {
    alone("fence::other_peoples_large_sets_do_not_slow_us_down", Tools::Nft, async || {
        let addresses: Vec<_> =
            (0..100_000_u32).map(|i| std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string()).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = format!("set s {{ type ipv4_addr; elements = {{ {} }}; }}", addresses.join(","));
        std::fs::write(file.path(), format!("table inet foreign {{ {set}; }}")).unwrap();
        run(&format!("nft -f {}", file.path().display()));
        let begun = Instant::now();
        run("nft -j list ruleset >/dev/null");
        let all = begun.elapsed();

        let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
        let mut firewall = Firewall::new(Engine::Nftables, fence);
        let exempt = ["10.9.0.3".parse().unwrap()];
        let mut took = Vec::new();
        for (block, exempt) in [
            (None, &[][..]),
            (Some(block(LONG)), &[]),
            (Some(block(2 * LONG)), &[]),
            (Some(block(2 * LONG)), &exempt),
            (None, &exempt),
        ] {
            let begun = Instant::now();
            firewall.set(block.as_ref(), exempt).await.unwrap();
            took.push(begun.elapsed());
        }
        let begun = Instant::now();
        firewall.remove().await.unwrap();
        took.push(begun.elapsed());
        assert!(took.iter().all(|took| *took < all / 2), "{took:?}, where all of it takes {all:?}");
    });
}

/// Prints what a call takes in each state; what is asserted is only that it fits into a round of an agent.
#[test]
fn a_call_fits_into_a_second_in_every_state() {
    alone("fence::a_call_fits_into_a_second_in_every_state", Tools::Iptables, async || {
        for engine in [Engine::Nftables, Engine::Iptables] {
            let fence = fence(&["tcp/443", "udp/443"], Connections::New, RejectWith::TcpReset);
            let exempt: Vec<_> = (0..64).map(|i| IpAddr::from([198, 51, 100, 2 * i])).collect();
            let mut firewall = Firewall::new(engine, fence);
            for state in ["first", "free", "blocked", "held", "renewed"] {
                let mut took = Vec::new();
                let mut lasting = block(LONG);
                for _ in 0..if state == "first" || state == "blocked" { 1 } else { 21 } {
                    if state == "renewed" {
                        lasting.until += Duration::from_secs(2);
                    }
                    let block = matches!(state, "blocked" | "held" | "renewed").then_some(&lasting);
                    let begun = Instant::now();
                    firewall.set(block, &exempt).await.unwrap();
                    took.push(begun.elapsed());
                }
                took.sort();
                eprintln!("{} {state}: {:?}", engine.as_str(), took[took.len() / 2]);
                assert!(took[took.len() / 2] < Duration::from_secs(1));
            }
        }
    });
}

#[test]
fn whoever_else_changes_rules_at_the_start_is_not_taken_for_a_kernel_that_cannot() {
    let test = "fence::whoever_else_changes_rules_at_the_start_is_not_taken_for_a_kernel_that_cannot";
    alone(test, Tools::Legacy, async || {
        // the first program on the path holds the lock for longer than anybody waits, once, while abilities are tried
        let folder = std::env::var("PATH").unwrap().split(':').next().unwrap().to_owned();
        let script = format!(
            "#!/bin/sh\nexport XTABLES_LOCKFILE={folder}/lock\necho >> {folder}/calls\n\
             if [ $(wc -l < {folder}/calls) = 2 ]; then\n flock {folder}/lock sleep 3 > /dev/null 2>&1 &\n sleep 0.3\nfi\n\
             exec /usr/sbin/iptables-legacy-restore \"$@\"\n"
        );
        let program = format!("{folder}/iptables-restore");
        std::fs::remove_file(&program).unwrap();
        std::fs::write(&program, script).unwrap();
        run(&format!("chmod 755 {program}"));
        let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
        let mut firewall = Firewall::new(Engine::Iptables, fence);
        let error = firewall.set(Some(&block(LONG)), &[]).await.unwrap_err();
        assert!(matches!(&error, FirewallError::Failed(said) if said.contains("xtables lock")), "{error}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(firewall.set(Some(&block(LONG)), &[]).await.unwrap(), Done::Written);
    });
}
