//! Which files of the suite run.

use std::path::Path;

use anyhow::{Result, ensure};

/// What runs if nothing is named: the files whose subjects this server has, in the suite's order.
const DEFAULT: &[&str] = &[
    "unit/dump",
    "unit/auth",
    "unit/protocol",
    "unit/keyspace",
    "unit/scan",
    "unit/info",
    "unit/type/string",
    "unit/type/incr",
    "unit/type/list",
    "unit/type/list-2",
    "unit/type/list-3",
    "unit/type/set",
    "unit/type/zset",
    "unit/type/hash",
    "unit/sort",
    "unit/expire",
    "unit/other",
    "unit/multi",
    "unit/quit",
    "unit/latency-monitor",
    "unit/pubsub",
    "unit/slowlog",
    "unit/scripting",
    "unit/maxmemory",
    "unit/introspection",
    "unit/limits",
    "unit/lazyfree",
    "unit/wait",
    "unit/pause",
    "unit/querybuf",
    "integration/block-repl",
    "integration/replication",
    "integration/replication-2",
    "integration/replication-3",
    "integration/replication-4",
    "integration/replication-psync",
    "integration/replication-buffer",
    "integration/shutdown",
    "integration/rdb",
    "integration/corrupt-dump",
    "integration/corrupt-dump-fuzzer",
    "integration/convert-zipmap-hash-on-load",
    "integration/convert-ziplist-hash-on-load",
    "integration/convert-ziplist-zset-on-load",
    "integration/logging",
    "integration/psync2",
    "integration/psync2-reg",
    "integration/psync2-pingoff",
    "integration/psync2-master-restart",
    "integration/failover",
    "integration/redis-cli",
    "integration/redis-benchmark",
    "sentinel/tests/00-base",
    "sentinel/tests/01-conf-update",
    "sentinel/tests/02-slaves-reconf",
    "sentinel/tests/03-runtime-reconf",
    "sentinel/tests/05-manual",
    "sentinel/tests/06-ckquorum",
    "sentinel/tests/07-down-conditions",
    "sentinel/tests/08-hostname-conf",
    "sentinel/tests/09-acl-support",
    "sentinel/tests/10-replica-priority",
    "sentinel/tests/11-port-0",
    "sentinel/tests/12-master-reboot",
    "sentinel/tests/13-info-command",
];

/// The files that `wanted` names: each is a file's name, or the beginning of some of the default files' names.
pub(super) fn choose(wanted: &[String], tree: &Path) -> Result<Vec<String>> {
    let mut chosen: Vec<String> = Vec::new();
    for want in wanted {
        let want = want.strip_prefix("tests/").unwrap_or(want);
        let want = want.strip_suffix(".tcl").unwrap_or(want).trim_end_matches('/');
        if exists(want, tree) {
            chosen.push(want.to_owned());
            continue;
        }
        let before = chosen.len();
        chosen.extend(DEFAULT.iter().filter(|file| file.starts_with(want)).map(|&file| file.to_owned()));
        ensure!(chosen.len() > before, "the suite has no file {want}");
    }
    if wanted.is_empty() {
        chosen.extend(DEFAULT.iter().map(|&file| file.to_owned()));
    }
    Ok(chosen)
}

fn exists(file: &str, tree: &Path) -> bool {
    tree.join("tests").join(format!("{file}.tcl")).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_chosen_by_name_by_path_and_by_beginning() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("tests/unit/type")).unwrap();
        for name in ["unit/type/list", "unit/geo"] {
            std::fs::write(tree.path().join(format!("tests/{name}.tcl")), "").unwrap();
        }
        let choose = |want: &str| choose(&[want.to_owned()], tree.path());
        assert_eq!(choose("unit/type/list").unwrap(), ["unit/type/list"]);
        assert_eq!(choose("tests/unit/geo.tcl").unwrap(), ["unit/geo"]);
        assert_eq!(choose("unit/type/list-").unwrap(), ["unit/type/list-2", "unit/type/list-3"]);
        assert!(choose("unit/absent").is_err());
        assert_eq!(super::choose(&[], tree.path()).unwrap(), DEFAULT);
    }
}
