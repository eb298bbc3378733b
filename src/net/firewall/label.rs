//! Texts on their way into firewall rules and back. Pure.

use std::time::Duration;

/// What may stand in a comment of a rule: printable ASCII without quotes and backslashes, which nft does not take or
/// iptables lists in another way, and no more than the kernel takes. Whatever else is in a name is a `?`.
pub fn label(text: &str) -> String {
    let plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\'' | '\\');
    text.chars().take(MAX_LABEL).map(|c| if plain(c) { c } else { '?' }).collect()
}

/// What a program has said, in one line that can be shown anywhere.
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if line.len() + word.len() > MAX_LINE {
            line.push_str(" …");
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// A number for a text, the same in every version and on every machine (FNV-1a).
pub fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The longest stretch that makes sense to write; nothing is ever blocked for longer at a time.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// nftables takes comments of 128 bytes, with the zero at their end.
const MAX_LABEL: usize = 120;
const MAX_LINE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_leave_its_quotes_and_fits_into_a_comment() {
        assert_eq!(label("self, front-a.example.com"), "self, front-a.example.com");
        assert_eq!(label("front-o'hara"), "front-o?hara");
        assert_eq!(label("a\" }; flush ruleset\n\\ü"), "a? }; flush ruleset???");
        assert_eq!(label(&"ü".repeat(1000)), "?".repeat(120));
    }

    #[test]
    fn what_a_program_says_becomes_one_short_line() {
        assert_eq!(one_line("Error: no\n  add x\n\t^^^\x1b[0m\n"), "Error: no add x ^^^ [0m");
        assert_eq!(one_line(" \n"), "");
        let long = one_line(&"word ".repeat(1000));
        assert!(long.len() < 310 && long.ends_with("word …"), "{long}");
        assert!(one_line(&"x".repeat(100_000)).len() < 310);
    }

    #[test]
    fn a_fingerprint_never_changes() {
        assert_eq!(fingerprint(""), 0x811c_9dc5);
        assert_eq!(fingerprint("foobar"), 0xbf9c_f968);
    }
}
