//! The `hcrun` command for tests; see [`hcrun::main`].

fn main() -> std::process::ExitCode {
    hcrun::main()
}
