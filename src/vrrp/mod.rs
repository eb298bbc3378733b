//! Whether this front door is the active one: it follows the virtual addresses (VRRP, RFC 9568).
