//! The command line: one file a command, no logic.

mod call;
mod certs;
mod check;
mod completions;
mod demo;
mod drain;
mod fence;
mod heartbeat;
mod keepalived;
mod man;
mod output;
mod ready;
mod reload;
mod resolve;
mod resume;
mod running;
mod serve;
mod status;
mod terminal;
mod vpn;
mod watch;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The front door of SSL VPN gateway farms.
#[derive(Debug, Parser)]
#[command(
    name = "vestibule",
    version,
    about,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Example:\n  vestibule demo"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Heartbeat(heartbeat::Heartbeat),
    Demo(demo::Demo),
    Check(check::Check),
    Resolve(resolve::Resolve),
    Status(status::Status),
    Why(why::Why),
    Drain(drain::Drain),
    Resume(resume::Resume),
    Reload(reload::Reload),
    Ready(ready::Ready),
    Keepalived(keepalived::Keepalived),
    #[command(subcommand)]
    Fence(fence::Fence),
    #[command(subcommand)]
    Certs(certs::Certs),
    Completions(completions::Completions),
    Man(man::Man),
}

/// How a command ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Done, or yes.
    Yes,
    /// The answer is no.
    No,
}

/// Runs the program and tells how it ended: 0, 1 where the answer is "no", 2 on bad usage, bad
/// configuration or failure.
pub fn run() -> ExitCode {
    let CommandLine { command } = CommandLine::parse();
    let result = match command {
        Command::Serve(command) => command.run(),
        Command::Heartbeat(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Resolve(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Why(command) => command.run(),
        Command::Drain(command) => command.run(),
        Command::Resume(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Ready(command) => command.run(),
        Command::Keepalived(command) => command.run(),
        Command::Fence(command) => command.run(),
        Command::Certs(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    match result {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) if output::nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}
