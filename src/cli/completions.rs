use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Answer, CommandLine, output};

/// Print the completions of the command line for a shell.
///
/// Every command, option and fixed word is completed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule completions bash > /etc/bash_completion.d/vestibule\n  \
                  vestibule completions zsh > /usr/local/share/zsh/site-functions/_vestibule\n  \
                  vestibule completions fish > /etc/fish/completions/vestibule.fish")]
pub struct Completions {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<Answer> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut CommandLine::command(), "vestibule", &mut text);
        output::print(&String::from_utf8(text)?)?;
        Ok(Answer::Yes)
    }
}
