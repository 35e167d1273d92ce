//! The rules of the house that a compiler does not check: lengths, imports, and pages that name real paths.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
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
    for crate_name in ["reactor", "wire", "storage", "broker", "loadgen", "perf-reports"] {
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

/// The arguments of every call of a macro in the code of a file, up to its tests.
fn calls<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().expect("the first part");
    let start = format!("{name}!(");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let word = code[..at].chars().next_back().is_some_and(|char| char.is_alphanumeric() || char == '_');
        let comment = code[..at].rsplit('\n').next().is_some_and(|line| line.trim_start().starts_with("//"));
        if word || comment {
            continue;
        }
        let arguments = &code[at + start.len()..];
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        let end = arguments.char_indices().find_map(|(index, char)| {
            match char {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(index)
        });
        found.push(&arguments[..end.expect("a call ends")]);
    }
    found
}

#[test]
fn every_log_line_at_warn_or_above_has_fields_and_is_explained() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("docs/operations.md");
    let mut messages = BTreeSet::new();
    for (path, text) in crate_sources() {
        let is_broker =
            ["reactor/", "storage/", "wire/", "broker/"].iter().any(|part| path.starts_with(part));
        if !is_broker || !is_source(&path) || path.contains("/tests") {
            continue;
        }
        for arguments in ["warn", "error"].iter().flat_map(|name| calls(&text, name)) {
            let arguments = arguments.trim().trim_end_matches(',').trim_end();
            let message = arguments.strip_suffix('"').and_then(|rest| rest.rsplit('"').next());
            let message = message.unwrap_or_else(|| panic!("{path}: no message in {arguments}"));
            assert!(!message.contains('{'), "{path}: what varies is a field: {message}");
            let fields = arguments[..arguments.len() - message.len() - 2].trim();
            assert!(fields.ends_with(','), "{path}: no field in {arguments}");
            assert!(
                page.contains(&format!("| `{message}` |")),
                "docs/operations.md lacks `{message}` of {path}"
            );
            messages.insert(message.to_owned());
        }
    }
    assert!(messages.len() > 30, "the log lines were found");
    let lines =
        page.split("## Log lines").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    for explained in lines.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()) {
        assert!(
            messages.contains(explained),
            "docs/operations.md explains `{explained}`, which nothing says"
        );
    }
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
