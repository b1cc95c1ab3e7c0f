//! What the table costs: nanoseconds an operation, and bytes a key beside those of the keys themselves.
//!
//! `cargo run --release -p quorate-values --example dict_cost`

use std::hint::black_box;

use quorate_stdx::Rng;
use quorate_values::dict::{Dict, hash_bytes};
use quorate_values::thin::ThinBytes;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LOOKUPS: usize = 2_000_000;

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// Nanoseconds of CPU that this thread has used.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// Nanoseconds of CPU that one of `count` calls takes.
fn cost(count: usize, mut call: impl FnMut(usize)) -> f64 {
    let start = cpu();
    for index in 0..count {
        call(index);
    }
    (cpu() - start) / count as f64
}

/// The same, the best of a few rounds, for a machine that has other work too.
fn best(count: usize, mut call: impl FnMut(usize)) -> f64 {
    (0..5).map(|_| cost(count / 5, &mut call)).fold(f64::INFINITY, f64::min)
}

/// `keys` keys spread over `tables` tables, as over the slots of a keyspace.
fn spread(tables: usize, keys: u64) {
    let mut slots: Vec<Dict<ThinBytes>> = (0..tables).map(|_| Dict::new()).collect();
    let table_of = |number: u64| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % tables;
    let insert = cost(keys as usize, |index| {
        let key = key(index as u64);
        slots[table_of(index as u64)].insert_new(hash_bytes(&key), ThinBytes::new(&key));
    });
    let table_bytes: usize = slots.iter().map(Dict::heap_bytes).sum();
    let mut rng = Rng::new(1);
    let numbers: Vec<u64> = (0..LOOKUPS).map(|_| rng.below(keys)).collect();
    let find = |slots: &[Dict<ThinBytes>], number: u64, shown: u64| {
        let key = key(shown);
        black_box(slots[table_of(number)].find(hash_bytes(&key), &key)).is_some()
    };
    let mut found = 0;
    let hit = best(LOOKUPS, |index| found += usize::from(find(&slots, numbers[index], numbers[index])));
    assert_eq!(found, LOOKUPS);
    let miss = best(LOOKUPS, |index| found += usize::from(find(&slots, numbers[index], numbers[index] + keys)));
    assert_eq!(found, LOOKUPS);
    let prefetched = best(LOOKUPS / 16, |batch| {
        let batch = &numbers[batch * 16..batch * 16 + 16];
        for &number in batch {
            slots[table_of(number)].prefetch_home(hash_bytes(&key(number)));
        }
        for &number in batch {
            found += usize::from(find(&slots, number, number));
        }
    }) / 16.0;
    let random = best(LOOKUPS / 4, |index| _ = black_box(slots[table_of(numbers[index])].random(&mut rng)));
    let churn = best(LOOKUPS / 2, |index| {
        let (slot, key) = (&mut slots[table_of(numbers[index])], key(numbers[index]));
        let hash = hash_bytes(&key);
        if let Some(item) = slot.remove(hash, &key) {
            slot.insert_new(hash, item);
        }
    });
    println!(
        "{tables:>6} {keys:>9} {:>7.2} {insert:>7.1} {hit:>7.1} {prefetched:>7.1} {miss:>7.1} {churn:>7.1} {random:>7.1}",
        table_bytes as f64 / keys as f64
    );
}

fn main() {
    println!("tables      keys   B/key  insert     hit  hit×16    miss   churn  random   (ns)");
    let cases = [
        (1, 4),
        (1, 12),
        (1, 60),
        (1, 400),
        (1, 5_000),
        (1, 1_000_000),
        (1, 10_000_000),
        (16384, 100_000),
        (16384, 1_000_000),
        (16384, 1_200_000),
        (16384, 1_500_000),
        (16384, 10_000_000),
    ];
    for (tables, keys) in cases {
        spread(tables, keys);
    }
    let mut sum = 0.0;
    for keys in 16..=200u64 {
        let mut table = Dict::new();
        (0..keys).for_each(|number| table.insert_new(hash_bytes(&key(number)), ThinBytes::new(&key(number))));
        sum += table.heap_bytes() as f64 / keys as f64;
    }
    println!("bytes a key, average of tables of 16 to 200 keys: {:.2}", sum / 185.0);
}
