//! Files and components that must not get through: each gives its documented error, and no crash.

use crate::builds::{for_aarch64, with_another_layout, with_own_core};
use crate::sdk::{built, ccnf, failed, said, sdk, written};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Uses the core, and registers nothing.
const NOTHING: &str =
    "ccnf::plugin!();\n#[unsafe(no_mangle)]\npub fn components() -> usize { ccnf::core::list_all().len() }\n";
pub(crate) const HOSTILE: &str = include_str!("fixtures/hostile.rs");

/// The section's bytes of a plugin's stamp with one text for another of the same length.
fn patched(file: &Path, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(file).unwrap();
    let begin = bytes.windows(8).position(|w| w == b"CCNFABI1").expect("the file has a stamp");
    let at = bytes[begin..].windows(from.len()).position(|w| w == from.as_bytes()).expect(from) + begin;
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    // As somebody who builds such a file would leave it.
    ccnf_loader::sealed(bytes).unwrap()
}

/// A file's stamp.
fn stamp(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap();
    let begin = bytes.windows(8).position(|w| w == b"CCNFABI1").expect("the file has a stamp");
    bytes[begin..begin + 2048].to_vec()
}

/// `key=value` of a file's stamp.
fn fact(file: &Path, key: &str) -> String {
    let text = String::from_utf8_lossy(&stamp(file)).into_owned();
    let pair = text.split([';', '\0']).find(|p| p.starts_with(&format!("{key}="))).expect(key);
    pair.to_owned()
}

#[test]
fn files_that_do_not_fit_are_refused_before_any_of_their_code_runs() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let good = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE);
    let bytes = std::fs::read(&good).unwrap();
    let changed = |range: std::ops::Range<usize>, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[range].copy_from_slice(to);
        bytes
    };
    let other = |pair: String| {
        let (key, value) = pair.split_once('=').unwrap();
        (
            pair.clone(),
            format!("{key}={}", value.chars().map(|c| if c == 'x' { 'y' } else { 'x' }).collect::<String>()),
        )
    };
    let stamped = |key: &str| {
        let (from, to) = other(fact(&good, key));
        patched(&good, &from, &to)
    };
    let silent = HOSTILE.replace("ccnf::plugin!();\n", "");
    let crate_of = folder.path().join("silent");
    written(&crate_of, "silent", &silent);
    let (_, text) = failed(ccnf(&sdk, &["plugin", "build", "--debug"]).arg(&crate_of).output().unwrap());
    assert!(
        text.contains("error[C0014]: the library has no stamp") && text.contains("ccnf::plugin!();"),
        "{text}"
    );
    let without_entry = crate_of.join("target/debug/libsilent.so");
    let own_core = with_own_core(folder.path(), "own", 1);
    let other_level = with_own_core(folder.path(), "level", 2);
    let other_layout = with_another_layout(fact(&good, "sdk").trim_start_matches("sdk="));
    let nothing = built(&sdk, &folder.path().join("nothing"), "nothing", NOTHING);
    let libstd = std::fs::read_dir(sdk.join("lib/ccnf"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .find(|p| p.to_string_lossy().contains("libstd"));
    let mut cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a text", b"not a library".to_vec(), "no ELF file"),
        ("an empty file", vec![], "no ELF file"),
        (
            "a header of aarch64",
            changed(18..20, &183u16.to_le_bytes()),
            "built for aarch64; this program runs on x86_64",
        ),
        ("32 bits", changed(4..5, &[1]), "a 32-bit or big-endian file"),
        ("big-endian", changed(5..6, &[2]), "a 32-bit or big-endian file"),
        ("an executable", changed(16..18, &2u16.to_le_bytes()), "not a shared library"),
        (
            "another library",
            std::fs::read(libstd.unwrap()).unwrap(),
            "no plugin of ccnf: it has no section `.ccnf.abi`",
        ),
        (
            "no entry",
            std::fs::read(without_entry).unwrap(),
            "no plugin of ccnf: it has no section `.ccnf.abi`",
        ),
        ("no component", std::fs::read(nothing).unwrap(), "registers no component"),
        (
            "another layout of a struct",
            std::fs::read(other_layout).unwrap(),
            "`layout` 0.1.0 was built for another ccnf: source: the core has other sources\n",
        ),
        ("another compiler", stamped("rustc"), "rustc: "),
        ("another opt-level", std::fs::read(other_level).unwrap(), "opt-level: 2 there, 1 here"),
        ("another profile", stamped("profile"), "profile: "),
        ("other processor features", stamped("cpu"), "cpu: "),
        ("another panic strategy", stamped("panic"), "panic: "),
        ("another backend", stamped("cuda"), "cuda: "),
        ("another SDK", stamped("sdk"), "was built against another shared core: SDK "),
        ("another form of stamp", patched(&good, "CCNFABI1", "CCNFABI2"), "is not a stamp of ccnf"),
        (
            "its own copy of the core",
            std::fs::read(own_core).unwrap(),
            "does not use the shared core, libccnf_dylib.so: it carries its own copy",
        ),
    ];
    if let Some(file) = for_aarch64(folder.path(), &stamp(&good)) {
        cases.push((
            "built for aarch64",
            std::fs::read(file).unwrap(),
            "built for aarch64; this program runs on x86_64",
        ));
    }
    for (case, bytes, expected) in cases {
        let file = folder.path().join("case.so");
        std::fs::write(&file, bytes).unwrap();
        let path = file.display().to_string();
        let (code, text) = failed(ccnf(&sdk, &["--plugin", &path, "plugin", "list"]).output().unwrap());
        assert_eq!(code, Some(2), "{case}: {text}");
        assert!(text.contains("error[C0014]") && text.contains(expected), "{case}: {text}");
        assert!(text.contains(&format!("at plugin `{path}`")) && text.contains("help: "), "{case}: {text}");
    }
    let (code, text) = failed(ccnf(&sdk, &["--plugin", "missing.so", "plugin", "list"]).output().unwrap());
    assert!(code == Some(4) && text.contains("cannot read the plugin `missing.so`"), "{text}");
    for no_file in [".", "/dev/zero"] {
        let (code, text) = failed(ccnf(&sdk, &["plugin", "check", no_file]).output().unwrap());
        assert!(code == Some(2) && text.contains("error[C0014]: not a file"), "{no_file}: {text}");
    }
    let not_text = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.so"));
    std::fs::copy(&good, &not_text).unwrap();
    let (code, text) = failed(ccnf(&sdk, &["plugin", "check"]).arg(&not_text).output().unwrap());
    assert!(code == Some(2) && text.contains("error[C0014]: the file's path is not UTF-8"), "{text}");
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let good = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE);
    let bytes = std::fs::read(good).unwrap();
    let file = folder.path().join("cut.so");
    for length in (0..bytes.len()).step_by(64 << 10) {
        std::fs::write(&file, &bytes[..length]).unwrap();
        let (code, text) = failed(ccnf(&sdk, &["plugin", "check"]).arg(&file).output().unwrap());
        assert!(code == Some(2) && text.contains("error[C0014]"), "{length}: {text}");
    }
}

/// Bytes anywhere in a file: the system's loader would trust most of them, and end the process.
#[test]
fn a_file_with_a_wrong_byte_anywhere_is_refused() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let good = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE);
    let bytes = std::fs::read(good).unwrap();
    let file = folder.path().join("wrong.so");
    // Densely in the headers and tables at the beginning, then here and there.
    let places = (64..0x800).step_by(61).chain((0x800..bytes.len()).step_by(bytes.len() / 40));
    for place in places {
        let mut wrong = bytes.clone();
        wrong[place] ^= 0x41;
        std::fs::write(&file, wrong).unwrap();
        let path = file.display().to_string();
        let (code, text) = failed(ccnf(&sdk, &["--plugin", &path, "plugin", "list"]).output().unwrap());
        assert!(code == Some(2) && text.contains("error[C0014]"), "{place}: {code:?} {text}");
    }
    std::fs::write(
        &file,
        std::fs::read(&folder.path().join("hostile/target/debug/deps/libhostile.so")).unwrap(),
    )
    .unwrap();
    let (_, text) = failed(ccnf(&sdk, &["plugin", "check"]).arg(&file).output().unwrap());
    assert!(text.contains("it has no seal"), "{text}");
}

#[test]
fn names_are_taken_once_and_a_file_named_twice_is_one_plugin() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let one = built(&sdk, &folder.path().join("one"), "one", HOSTILE).display().to_string();
    let two = built(&sdk, &folder.path().join("two"), "two", HOSTILE).display().to_string();
    let (code, text) =
        failed(ccnf(&sdk, &["--plugin", &one, "--plugin", &two, "plugin", "list"]).output().unwrap());
    assert!(
        code == Some(2)
            && text.contains("error[C0014]: two components of kind coupling are called `hostile-"),
        "{text}"
    );
    assert!(text.contains("crate `one` 0.1.0") && text.contains("crate `two` 0.1.0"), "{text}");
    let affine = HOSTILE.replace("hostile-none", "affine");
    let affine = built(&sdk, &folder.path().join("three"), "three", &affine).display().to_string();
    let (_, text) = failed(ccnf(&sdk, &["--plugin", &affine, "plugin", "list"]).output().unwrap());
    assert!(
        text.contains("are called `affine`")
            && text.contains("`ccnf-plugin-couplings`")
            && text.contains("`three`"),
        "{text}"
    );
    let copy = folder.path().join("copy.so");
    std::fs::copy(&one, &copy).unwrap();
    let link = folder.path().join("link.so");
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let (copy, link) = (copy.display().to_string(), link.display().to_string());
    let args = ["--plugin", &one, "--plugin", &copy, "--plugin", &link, "plugin", "list"];
    let text = said(ccnf(&sdk, &args).env("CCNF_PLUGINS", &one).output().unwrap());
    assert_eq!(text.matches(", loaded from ").count(), 1, "{text}");
}

#[test]
fn a_pin_is_compared_before_the_file_is_opened_as_code() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let file = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE);
    let text =
        said(ccnf(&sdk, &["--plugin", &file.display().to_string(), "plugin", "list"]).output().unwrap());
    let hash = text.lines().find_map(|l| l.strip_prefix("  sha256 ")).unwrap().to_owned();
    let config = folder.path().join("model.toml");
    let write = |hash: &str| {
        let text = format!(
            "[plugins]\npaths = [{{ path = {file:?}, sha256 = \"{hash}\" }}]\n[detector]\nkind = \"ccnf\"\ncoupling = {{ kind = \"hostile-none\" }}\n"
        );
        std::fs::write(&config, text).unwrap();
    };
    write(&hash);
    let text = said(ccnf(&sdk, &["check"]).arg(&config).output().unwrap());
    assert!(text.contains("hostile-none") && text.contains(&hash), "{text}");
    write(&"0".repeat(64));
    let (code, text) = failed(ccnf(&sdk, &["check"]).arg(&config).output().unwrap());
    assert!(
        code == Some(2) && text.contains("the file is not the pinned one") && text.contains(&hash),
        "{text}"
    );
    assert!(text.contains("at key `plugins.paths`"), "{text}");
}

#[test]
fn a_component_that_breaks_its_contract_fails_the_check_with_what_it_does() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let file = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE);
    let set = "coupling/hostile-memory.bytes=1125899906842624";
    let (code, text) = failed(ccnf(&sdk, &["plugin", "check", "--set", set]).arg(&file).output().unwrap());
    assert_eq!(code, Some(70), "{text}");
    let section = |name: &str| {
        let from =
            text.find(&format!("coupling/hostile-{name}: FAILS")).unwrap_or_else(|| panic!("{name}: {text}"));
        let rest = &text[from..];
        let end = rest[1..].find("coupling/hostile-").map_or(rest.len(), |at| at + 1);
        rest[..end].to_owned()
    };
    for (name, expected) in [
        ("log-det", "log-det"),
        ("not-finite", "finite"),
        ("panic-build", "this constructor gives up"),
        ("panic-forward", "this forward gives up"),
        ("panic-backward", "this backward gives up"),
        ("panic-drop", "this destructor gives up"),
        ("exit", "its process was ended before the check was done"),
        ("memory", "memory allocation of 1125899906842624 bytes failed"),
    ] {
        assert!(section(name).contains(expected), "{name}: {}", section(name));
    }
}

#[test]
fn keys_of_a_check_are_those_of_a_run_and_only_for_the_plugin() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let file = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE);
    for (set, code, expected) in [
        (
            "coupling/hostile-nine.bytes=1",
            2,
            "error[C0003]: `--set coupling/hostile-nine.bytes=1`: the plugin brings no",
        ),
        ("coupling.bytes=1", 2, "is not KIND/NAME.KEY=VALUE"),
        ("coupling/hostile-none.bytes={ a = 1", 2, "is no value in TOML"),
        ("coupling/hostile-none.bytes.more=1", 70, "bytes"),
    ] {
        let (found, text) =
            failed(ccnf(&sdk, &["plugin", "check", "--set", set]).arg(&file).output().unwrap());
        assert!(found == Some(code) && text.contains(expected), "{set}: {text}");
    }
}

#[test]
fn a_plugin_that_does_not_fit_is_in_the_way_of_no_command_that_makes_plugins() {
    let (sdk, folder) = (sdk(), tempfile::tempdir().unwrap());
    let started = |args: &[&str]| ccnf(&sdk, args).env("CCNF_PLUGINS", "old.so").output().unwrap();
    let (_, text) = failed(started(&["list"]));
    assert!(
        text.contains("cannot read the plugin `old.so`")
            && text.contains("at the environment variable CCNF_PLUGINS"),
        "{text}"
    );
    let made = folder.path().join("made").display().to_string();
    said(started(&["plugin", "new", "made", "--kind", "scorer", "--out", &made]));
    said(started(&["plugin", "build", "--debug", &made]));
}

#[test]
fn an_end_of_the_process_is_an_error_that_names_the_plugin() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let file = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE).display().to_string();
    for (coupling, why) in [
        (
            "{ kind = \"hostile-memory\", bytes = 1099511627776 }",
            "memory allocation of 1099511627776 bytes failed",
        ),
        ("{ kind = \"hostile-panic-drop\" }", "this destructor gives up at src/lib.rs:"),
        ("{ kind = \"hostile-stack\" }", "has overflowed its stack"),
        ("{ kind = \"hostile-exit\" }", "something called `exit` before the work was done"),
    ] {
        let set = format!("detector.coupling={coupling}");
        let mut run = ccnf(&sdk, &["--plugin", &file, "check", "--set", &set]);
        let (code, text) = failed(run.output().unwrap());
        assert!(code == Some(70) && text.contains(why), "{text}");
        assert!(
            text.contains("error[C0015]") && text.contains(&format!("`hostile` 0.1.0 ({file})")),
            "{text}"
        );
    }
}

#[test]
fn a_panic_in_a_plugin_is_an_error_of_the_run_that_names_it() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let file = built(&sdk, &folder.path().join("hostile"), "hostile", HOSTILE).display().to_string();
    for (name, doing) in [
        ("build", "building the coupling `hostile-panic-build`"),
        ("forward", "training and scoring"),
        ("backward", "training and scoring"),
    ] {
        let kind = format!("detector.coupling.kind=hostile-panic-{name}");
        let out = folder.path().join(name);
        let mut run = ccnf(&sdk, &["--plugin", &file, "run", "--set", &kind, "--set", "train.first.steps=3"]);
        let small = [
            "--set",
            "dataset.train=4",
            "--set",
            "dataset.test_good=2",
            "--set",
            "dataset.test_per_defect=1",
        ];
        let output = run
            .args(small)
            .arg("--out")
            .arg(&out)
            .env("CCNF_CACHE", folder.path().join("cache"))
            .output()
            .unwrap();
        let (code, text) = failed(output);
        assert_eq!(code, Some(70), "{name}: {text}");
        let expected = format!("error[C0012]: the plugin `hostile` 0.1.0 ({file}) panicked while {doing}");
        assert!(text.contains(&expected), "{name}: {text}");
        assert!(
            text.contains(&format!("this {} gives up", if name == "build" { "constructor" } else { name })),
            "{name}: {text}"
        );
        assert!(text.contains("at source src/lib.rs:"), "{name}: {text}");
    }
}
