//! nodes.conf: whatever is read is read alike when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_cluster::NodesConf;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(conf)) = NodesConf::parse(data) else { return };
    for encrypted in [false, true] {
        assert_eq!(NodesConf::parse(conf.to_text(encrypted).as_bytes()), Ok(Some(conf.clone())));
    }
});
