//! The `hcrun` command; see [`hcrun::main`].

fn main() -> std::process::ExitCode {
    hcrun::main()
}
