//! What `HCRUN_CUBINS` puts into the library, by the build script's own function and the compiler.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

#[path = "../embedding.rs"]
mod embedding;

use embedding::write_list;

/// What a program sees that has the list as `code.rs` has it: name and content, a line each.
fn compiled(list: &Path) -> String {
    let (source, program) = (list.with_file_name("main.rs"), list.with_file_name("main"));
    let text = format!(
        "const EMBEDDED: &[(&str, &[u8])] = include!({list:?});\n\
         fn main() {{ for (name, bytes) in EMBEDDED {{ println!(\"{{name}} {{bytes:?}}\"); }} }}\n"
    );
    fs::write(&source, text).unwrap();
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition", "2024", "-o"]).arg(&program).arg(&source);
    assert!(rustc.status().unwrap().success());
    String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap()
}

#[test]
fn every_cubin_of_the_folder_and_nothing_else_is_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let cubins = folder.path().join("a \"folder\"");
    fs::create_dir(&cubins).unwrap();
    for (name, content) in [
        ("update.sm_90.00ff.cubin", &[1, 2, 255][..]),
        ("norm.sm_80.ab.cubin", &[7]),
        ("norm.sm_80.ab.cubin.tmp", &[8]),
        ("resources.txt", &[9]),
    ] {
        fs::write(cubins.join(name), content).unwrap();
    }
    let list = folder.path().join("cubins.rs");
    write_list(Some(&cubins), &list).unwrap();
    assert_eq!(compiled(&list), "norm.sm_80.ab.cubin [7]\nupdate.sm_90.00ff.cubin [1, 2, 255]\n");
    write_list(None, &list).unwrap();
    assert_eq!(compiled(&list), "");
}

#[test]
fn a_folder_without_cubins_stops_the_build_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("cubins.rs");
    let error = write_list(Some(folder.path()), &list).unwrap_err();
    assert!(error.contains(&format!("no cubins in {}", folder.path().display())), "{error}");
    let absent = folder.path().join("absent");
    let error = write_list(Some(&absent), &list).unwrap_err();
    assert!(error.starts_with(&format!("HCRUN_CUBINS: {}: No such file", absent.display())), "{error}");
    assert!(!list.exists());
}
