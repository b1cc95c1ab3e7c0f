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

/// What `--cluster` runs, in the suite's order. The files below cluster/ start twenty nodes each.
const CLUSTER: &[&str] = &[
    "unit/cluster/misc",
    "unit/cluster/links",
    "unit/cluster/announced-endpoints",
    "unit/cluster/packet",
    "cluster/tests/00-base",
    "cluster/tests/01-faildet",
    "cluster/tests/02-failover",
    "cluster/tests/03-failover-loop",
    "cluster/tests/04-resharding",
    "cluster/tests/05-slave-selection",
    "cluster/tests/06-slave-stop-cond",
    "cluster/tests/07-replica-migration",
    "cluster/tests/08-update-msg",
    "cluster/tests/09-pubsub",
    "cluster/tests/10-manual-failover",
    "cluster/tests/11-manual-takeover",
    "cluster/tests/12-replica-migration-2",
    "cluster/tests/12.1-replica-migration-3",
    "cluster/tests/13-no-failover-option",
    "cluster/tests/14-consistency-check",
    "cluster/tests/15-cluster-slots",
    "cluster/tests/16-transactions-on-replica",
    "cluster/tests/17-diskless-load-swapdb",
    "cluster/tests/18-info",
    "cluster/tests/19-cluster-nodes-slots",
    "cluster/tests/20-half-migrated-slot",
    "cluster/tests/21-many-slot-migration",
    "cluster/tests/22-replica-in-sync",
    "cluster/tests/23-multiple-slot-operations",
    "cluster/tests/24-links",
    "cluster/tests/25-pubsubshard-slot-migration",
    "cluster/tests/26-pubsubshard",
    "cluster/tests/27-endpoints",
    "cluster/tests/28-cluster-shards",
    "cluster/tests/29-slot-migration-response",
];

/// All that `--cluster` runs.
pub(super) fn of_cluster() -> Vec<String> {
    CLUSTER.iter().map(|&file| file.to_owned()).collect()
}

/// The files that `wanted` names: each is a file's name, or the beginning of some of the listed files' names.
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
        let listed = DEFAULT.iter().chain(CLUSTER);
        chosen.extend(listed.filter(|file| file.starts_with(want)).map(|&file| file.to_owned()));
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
