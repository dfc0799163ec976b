//! The program without a shared core: it loads no plugins and says what to do; new plugins and lists it can make.

use crate::place::Place;

#[cfg(not(feature = "dynamic"))]
#[test]
fn a_program_that_loads_no_plugins_says_how_to_get_one_that_does() {
    let p = Place::new();
    let mut asked = vec![p.fails(2, &["--plugin", "mine.so", "list"])];
    asked.push(p.fails(2, &["check", "small.toml", "--set", "plugins.paths=[\"mine.so\"]"]));
    for e in &asked {
        assert!(
            e.contains("error[C0014]: this program loads no plugins") && e.contains("at plugin `mine.so`"),
            "{e}"
        );
        assert!(e.contains("ccnf plugin sdk") && e.contains("ccnf plugin bundle"), "{e}");
    }
    assert!(asked[1].contains("at key `plugins.paths`"), "{}", asked[1]);
}

#[test]
fn keys_of_plugins_are_checked() {
    let p = Place::new();
    let e = p.fails(2, &["check", "small.toml", "--set", "plugins.path=[]"]);
    assert!(e.contains("plugins.path") && e.contains("did you mean `paths`"), "{e}");
    let e = p.fails(2, &["check", "small.toml", "--set", "plugins.paths=[{ path = \"a.so\", sha = \"0\" }]"]);
    assert!(e.contains("plugins.paths") && e.contains("sha256"), "{e}");
}

#[test]
fn a_new_plugin_is_made_once_and_plugins_are_listed() {
    let p = Place::new();
    let text = p.ok(&["plugin", "new", "my-scorer", "--kind", "scorer"]);
    assert!(text.contains("made my-scorer") && text.contains("ccnf plugin test"), "{text}");
    assert!(p.path("my-scorer/src/scorer.rs").exists() && p.path("my-scorer/Cargo.toml").exists());
    let e = p.fails(2, &["plugin", "new", "my-scorer", "--kind", "scorer"]);
    assert!(e.contains("`my-scorer` is not empty"), "{e}");
    let e = p.fails(2, &["plugin", "build", "my-scorer"]);
    assert!(e.contains("which SDK?") && e.contains("ccnf plugin sdk"), "{e}");
    let e = p.fails(2, &["plugin", "check", "mine.so", "--set", "bytes=3"]);
    assert!(e.contains("`--set bytes=3` is not KIND/NAME.KEY=VALUE"), "{e}");
    let list = p.ok(&["plugin", "list"]);
    assert!(list.contains("ccnf-plugin-couplings") && list.contains("coupling/affine"), "{list}");
}
