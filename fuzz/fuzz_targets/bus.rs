//! Packets of the cluster bus: whatever is decoded is decoded alike when it is encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_cluster::packet::{Packet, length};

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    if let Some(field) = bytes.get_mut(..8) {
        // A true signature and length, so that most inputs get past them.
        field[..4].copy_from_slice(b"RCmb");
        field[4..].copy_from_slice(&(data.len() as u32).to_be_bytes());
    }
    let _ = length(data);
    let Ok(Some(packet)) = Packet::decode(&bytes) else { return };
    let mut again = Vec::new();
    packet.encode(&mut again);
    assert_eq!(Packet::decode(&again), Ok(Some(packet)));
});
