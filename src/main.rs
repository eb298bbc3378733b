//! See the library's documentation for the map, and `vestibule --help` for the commands.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request is a few dozen small pieces of memory that are gone a moment later; with the C library's
/// allocator a quarter of the time of a proxied request goes into those.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    vestibule::cli::run()
}
