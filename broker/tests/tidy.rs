//! The rules of the house that a compiler does not check: lengths, imports, and pages that name real paths.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn sources(under: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(under) else { return };
    for entry in entries {
        let path = entry.expect("a folder entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().to_string();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules" | ".git" | "data") {
                sources(&path, out);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

/// Source files with their path from the root and their text.
fn crate_sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for crate_name in ["reactor", "wire", "storage", "broker", "loadgen"] {
        sources(&root().join(crate_name), &mut paths);
    }
    assert!(paths.len() > 30, "the sources were found");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable source");
            (path.strip_prefix(root()).expect("under the root").to_string_lossy().to_string(), text)
        })
        .collect()
}

fn is_source(path: &str) -> bool {
    path.contains("/src/")
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

#[test]
fn no_source_file_holds_two_nouns() {
    let long: Vec<String> = crate_sources()
        .into_iter()
        .filter(|(path, text)| is_source(path) && text.lines().count() > LINES_MAX)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "files over {LINES_MAX} lines: {long:#?}");
}

#[test]
fn unsafe_code_lives_in_the_reactor() {
    for (path, text) in crate_sources() {
        if path.starts_with("reactor/") || !is_source(&path) {
            continue;
        }
        for line in code_lines(&text) {
            for banned in
                ["unsafe {", "unsafe fn", "unsafe impl", "use libc", "libc::", "use io_uring", "io_uring::"]
            {
                assert!(!line.contains(banned), "{path} has `{banned}`: {line}");
            }
        }
    }
    for crate_root in ["wire/src/lib.rs", "storage/src/lib.rs", "broker/src/lib.rs", "broker/src/main.rs"] {
        let text = fs::read_to_string(root().join(crate_root)).expect("crate root");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{crate_root} forbids unsafe code");
    }
}

#[test]
fn tokio_stays_on_the_control_thread() {
    for (path, text) in crate_sources() {
        if path.starts_with("broker/src/control/") || !is_source(&path) {
            continue;
        }
        for line in code_lines(&text) {
            assert!(!line.contains("tokio::"), "{path} uses tokio: {line}");
        }
    }
}

#[test]
fn lower_floors_do_not_look_up() {
    let floors: [(&str, u8); 9] = [
        ("broker/src/net/", 6),
        ("broker/src/handlers/", 5),
        ("broker/src/coordinator/", 4),
        ("broker/src/shard/", 3),
        ("broker/src/runtime/", 2),
        ("broker/src/control/", 2),
        ("broker/src/metadata/", 1),
        ("broker/src/config", 1),
        ("broker/src/limits.rs", 1),
    ];
    let module =
        |floor: &str| floor.trim_start_matches("broker/src/").trim_end_matches(['/']).replace(".rs", "");
    for (path, text) in crate_sources() {
        let Some((_, own)) = floors.iter().find(|(floor, _)| path.starts_with(floor)) else { continue };
        for line in code_lines(&text) {
            for (floor, height) in &floors {
                let import = format!("crate::{}", module(floor));
                assert!(
                    height <= own || !line.contains(&format!("{import}::")),
                    "{path} (floor {own}) looks up to {import} (floor {height}): {line}"
                );
            }
        }
    }
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut named = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let looks_like_path = word.contains('/') && !word.contains(' ') && !word.contains('<');
        if looks_like_path {
            named += 1;
            assert!(root().join(word).exists(), "ARCHITECTURE.md names {word}, which does not exist");
        }
    }
    assert!(named > 10, "ARCHITECTURE.md names its paths");
}

#[test]
fn pages_link_to_files_that_exist() {
    for page in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(page)).expect(page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") && !target.starts_with('#') {
                let file = target.split('#').next().expect("a path");
                assert!(root().join(file).exists(), "{page} links to {target}, which does not exist");
            }
        }
    }
}
