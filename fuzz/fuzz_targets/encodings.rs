//! A listpack or an intset that passes its validation can be walked, searched and changed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_values::Intset;
use quorate_values::listpack::Listpack;

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (is_set, at, bytes) = input;
    if is_set {
        let Ok(mut set) = Intset::from_bytes(bytes.to_vec()) else { return };
        let members: Vec<i64> = set.iter().collect();
        assert!(members.is_sorted_by(|a, b| a < b));
        assert!(members.iter().all(|&member| set.contains(member)));
        set.insert(i64::from(at));
        assert!(set.remove(i64::from(at)));
        return;
    }
    let Ok(mut list) = Listpack::from_bytes(bytes.to_vec()) else { return };
    let items: Vec<Vec<u8>> = list.iter().map(|item| item.to_vec()).collect();
    assert_eq!(list.len(), items.len());
    let mut reversed: Vec<Vec<u8>> = list.iter_rev().map(|item| item.to_vec()).collect();
    reversed.reverse();
    assert_eq!(items, reversed);
    list.push_front(&bytes[..bytes.len().min(usize::from(at))]);
    list.push_back(i64::from(at));
    assert_eq!(list.len(), items.len() + 2);
    list.delete_range(i64::from(at) % 3, 1);
    Listpack::from_bytes(list.as_bytes().to_vec()).expect("what it became is as good");
});
