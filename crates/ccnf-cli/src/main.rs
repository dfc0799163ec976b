//! The binary `ccnf`.

fn main() -> std::process::ExitCode {
    ccnf_cli::main()
}
