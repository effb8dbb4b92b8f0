//! One rank of a group for tests; see [`hcrun_tests::ranks`].

fn main() -> anyhow::Result<()> {
    hcrun_tests::ranks::main()
}
