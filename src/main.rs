//! namegate: the program. It calls the library and turns the result into an exit code.

fn main() -> std::process::ExitCode {
    namegate::cli::main()
}
