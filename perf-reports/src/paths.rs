//! Files by name, or by a pattern that the shell has left alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ReportError;

/// The files that `patterns` mean: names as they are; where the last part of one has a `*`, what it matches, by name.
pub(crate) fn expand(patterns: &[PathBuf]) -> Result<Vec<PathBuf>, ReportError> {
    let mut paths = Vec::new();
    for pattern in patterns {
        let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.contains('*') || pattern.exists() {
            paths.push(pattern.clone());
            continue;
        }
        let folder =
            pattern.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let matching: Vec<PathBuf> = files(folder)?
            .into_iter()
            .filter(|path| file_name(path).is_some_and(|found| matches(&name, found)))
            .collect();
        if matching.is_empty() {
            return Err(ReportError::asked(format!("no file matches {}", pattern.display())));
        }
        paths.extend(matching);
    }
    Ok(paths)
}

/// The JSON files of a folder, by name.
pub(crate) fn json_files(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let all = files(folder)?;
    Ok(all.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let failed = |cause| ReportError::reading(folder, cause);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Whether `name` is `pattern` with anything in place of each star.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expected) in [
            ("a*.json", "a1.json", true),
            ("a*.json", "b1.json", false),
            ("*", "x", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_means_the_files_of_its_folder_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["r2.json", "r1.json", "r.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = expand(&[folder.path().join("r*.json")]).unwrap();
        assert_eq!(found, [folder.path().join("r1.json"), folder.path().join("r2.json")]);
        let said = expand(&[folder.path().join("q*.json")]).unwrap_err().to_string();
        assert!(said.starts_with("no file matches"), "{said}");
        assert_eq!(json_files(folder.path()).unwrap().len(), 2);
    }
}
