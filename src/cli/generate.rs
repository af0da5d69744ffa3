//! `gen`: shell completions and man pages, made from the definition that parses the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Subcommand, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Cli;
use super::{exit, say, talk};

/// The program's name, as people type it.
const NAME: &str = "namegate";

#[derive(Debug, Subcommand)]
pub(super) enum GenCommand {
    /// Print the completions of a shell
    ///
    ///   namegate gen completions bash > /usr/share/bash-completion/completions/namegate
    ///   namegate gen completions zsh > /usr/share/zsh/site-functions/_namegate
    ///   namegate gen completions fish > /usr/share/fish/vendor_completions.d/namegate.fish
    #[command(verbatim_doc_comment)]
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: ShellName,
    },
    /// Print the man page, or write a page for every command
    ///
    ///   namegate gen man --dir /usr/local/share/man/man1
    #[command(verbatim_doc_comment)]
    Man {
        /// Directory for namegate.1, namegate-run.1 and the others
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ShellName {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(command: &GenCommand) -> u8 {
    match command {
        GenCommand::Completions { shell } => say(&completions(*shell)),
        GenCommand::Man { dir: None } => say(&page(Cli::command().name(NAME))),
        GenCommand::Man { dir: Some(dir) } => return write_pages(dir),
    }
    exit::OK
}

fn completions(shell: ShellName) -> String {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn page(command: clap::Command) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    drop(Man::new(command).render(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

fn write_pages(dir: &Path) -> u8 {
    let mut command = Cli::command().name(NAME).disable_help_subcommand(true);
    command.build();
    match write_page(command, NAME, dir) {
        Ok(()) => exit::OK,
        Err(error) => {
            talk(&format!(
                "namegate: cannot write to {}: {error}",
                dir.display()
            ));
            exit::SYSTEM
        }
    }
}

/// The page of a command and those of the commands below it.
fn write_page(command: clap::Command, name: &str, dir: &Path) -> io::Result<()> {
    let below: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    fs::write(
        dir.join(format!("{name}.1")),
        page(command.name(name.to_owned())),
    )?;
    for command in below.into_iter().filter(|it| !it.is_hide_set()) {
        let name = format!("{name}-{}", command.get_name());
        write_page(command, &name, dir)?;
    }
    Ok(())
}
