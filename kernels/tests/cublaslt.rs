//! cuBLASLt that is missing, wrong or fake, each met by a process of its own: this test program once more, with the
//! fake's modes in its environment.

use std::fs;
use std::path::Path;

use hcrun_kernels::cublaslt::find;

#[path = "cublaslt/fake.rs"]
mod fake;

use fake::{FakeCublasLt, is_child, said};

#[test]
fn child_find() {
    if !is_child() {
        return;
    }
    match find() {
        Ok(cublaslt) => println!("said: {} in {}", cublaslt.version(), cublaslt.file().display()),
        Err(reason) => println!("said: {}: {reason}", reason.code()),
    }
}

#[test]
fn it_is_looked_for_where_it_was_named_then_where_the_system_toolkits_and_pythons_have_it() {
    let [named, of_system, of_toolkit, of_python] = [(); 4].map(|()| FakeCublasLt::new(&[]));
    let place = |fake: &FakeCublasLt, folder: &str, name: &str| {
        let folder = fake.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(fake.shared_object(), folder.join(name)).unwrap();
        folder.join(name)
    };
    let in_toolkit = place(&of_toolkit, "lib64", "libcublasLt.so.12");
    let in_python = place(&of_python, "lib/python3.11/site-packages/nvidia/cublas/lib", "libcublasLt.so.12");
    let newer = place(&of_python, "lib/python3.11/site-packages/nvidia/cu13/lib", "libcublasLt.so.13");
    let says = |name: Option<&Path>, system: Option<&FakeCublasLt>, toolkit: bool| {
        let mut child = of_python.child("child_find");
        child.env("VIRTUAL_ENV", of_python.path()).env_remove("HCRUN_CUBLASLT");
        if let Some(name) = name {
            child.env("HCRUN_CUBLASLT", name);
        }
        if let Some(system) = system {
            child.env("LD_LIBRARY_PATH", system.path());
        }
        if toolkit {
            child.env("CUDA_HOME", of_toolkit.path());
        }
        said(&child.output().unwrap())
    };
    let found = |file: &Path| format!("12.2.5 in {}", file.canonicalize().unwrap().display());
    assert_eq!(says(Some(named.path()), Some(&of_system), true), found(&named.shared_object()));
    assert_eq!(says(Some(&named.shared_object()), None, true), found(&named.shared_object()));
    assert_eq!(says(None, Some(&of_system), true), found(&of_system.shared_object()));
    // What cannot be opened is passed over.
    let broken = FakeCublasLt::with_file(b"no library");
    assert_eq!(says(None, Some(&broken), true), found(&in_toolkit));
    assert_eq!(says(None, None, false), found(&in_python));
    fs::remove_file(in_python).unwrap();
    assert_eq!(says(None, None, false), found(&newer));
    // What was named is not passed over.
    let text = says(Some(&broken.shared_object()), Some(&of_system), true);
    assert!(text.starts_with("no-cublaslt: no cuBLASLt that can be used: "), "{text}");
    assert!(text.contains(&format!("{} cannot be opened (", broken.shared_object().display())), "{text}");
    assert!(text.contains("HCRUN_CUBLASLT"), "{text}");
    assert_eq!(
        says(Some(Path::new("none")), Some(&of_system), true),
        "cublaslt-off: HCRUN_CUBLASLT is `none`"
    );
}

#[test]
fn a_library_that_cannot_be_used_says_why() {
    let whole = FakeCublasLt::new(&[]);
    let text = said(&whole.child("child_find").env("FAKE_CUBLASLT", "old").output().unwrap());
    let file = whole.shared_object().display().to_string();
    assert!(text.starts_with("old-cublaslt: "), "{text}");
    assert!(text.contains(&format!("{file} is cuBLASLt 11.11.3, and 12.0.0 or newer is needed")), "{text}");

    let lacking = FakeCublasLt::new(&["-DWITHOUT_HEURISTIC"]);
    let text = said(&lacking.child("child_find").output().unwrap());
    assert!(text.starts_with("missing-symbol: "), "{text}");
    let file = lacking.shared_object().display().to_string();
    assert!(text.contains(&format!("{file} lacks cublasLtMatmulAlgoGetHeuristic")), "{text}");
    // An old one that lacks it is called old.
    let text = said(&lacking.child("child_find").env("FAKE_CUBLASLT", "old").output().unwrap());
    assert!(text.starts_with("old-cublaslt: "), "{text}");
}
