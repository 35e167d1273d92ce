//! `corelane`: the broker and its command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use broker::args::{Args, Command};
use broker::{cli, serve};
use clap::Parser as _;

fn main() -> ExitCode {
    let args = Args::parse();
    match &args.command {
        None => serve::run(&args.serve),
        Some(Command::Serve(serve)) => serve::run(serve),
        Some(command) => cli::run(command),
    }
}
