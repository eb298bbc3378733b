//! See the library's documentation for the map, and `vestibule --help` for the commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    vestibule::cli::run()
}
