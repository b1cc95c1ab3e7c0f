//! Lists beside a deque that is changed in the same way, and what no deque has: nodes, and their memory.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn limits(size: i32, threshold: usize) -> Limits {
    Limits { list_max_listpack_size: size, list_packed_threshold: threshold, ..Limits::default() }
}

fn texts(list: &List) -> Vec<Vec<u8>> {
    list.iter().map(|item| item.to_vec()).collect()
}

fn list(elements: &[&str], limits: &Limits) -> List {
    let mut list = List::new();
    elements.iter().for_each(|element| list.push_back(element.as_bytes(), limits));
    list
}

/// What must hold of every list, whatever made it.
fn check(list: &List) {
    let chunks: Vec<&Chunk> = iter::Chunks::from(list, 0).0.collect();
    assert!(chunks.len() == 1 || chunks.iter().all(|chunk| !chunk.is_empty()));
    for chunk in &chunks {
        if let Chunk::Packed { count, pack } = chunk {
            assert_eq!(*count as usize, pack.len());
        }
    }
    assert_eq!(list.len(), chunks.iter().map(|chunk| chunk.count()).sum::<usize>());
    assert_eq!(matches!(list.form, Form::One(_)), chunks.len() == 1);
    assert_eq!(list.nodes().len(), if list.is_empty() { 0 } else { chunks.len() });
    assert_eq!(list.nodes().count(), list.nodes().len());
}

#[derive(Debug, Clone)]
enum Change {
    Push(bool, Vec<u8>),
    Insert(prop::sample::Index, Vec<u8>),
    Set(prop::sample::Index, Vec<u8>),
    Remove(bool, usize),
    RemoveMatching(Vec<u8>, usize, bool),
    Reload,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0i64..6).prop_map(|number| number.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        3 => "[ab]{0,3}".prop_map(String::into_bytes),
        2 => (20usize..40).prop_map(|len| vec![b'x'; len]),
        1 => (1000usize..5000).prop_map(|len| vec![b'y'; len]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (any::<bool>(), element()).prop_map(|(front, element)| Change::Push(front, element)),
        5 => (index(), element()).prop_map(|(index, element)| Change::Insert(index, element)),
        3 => (index(), element()).prop_map(|(index, element)| Change::Set(index, element)),
        3 => (any::<bool>(), 0usize..4).prop_map(|(front, count)| Change::Remove(front, count)),
        1 => (any::<bool>(), 0usize..40).prop_map(|(front, count)| Change::Remove(front, count)),
        2 => (element(), 1usize..5, any::<bool>()).prop_map(|(e, most, front)| Change::RemoveMatching(e, most, front)),
        1 => Just(Change::Reload),
    ]
}

fn end(front: bool) -> End {
    if front { End::Front } else { End::Back }
}

fn apply(list: &mut List, model: &mut VecDeque<Vec<u8>>, change: Change, limits: &Limits) {
    match change {
        Change::Push(front, element) => {
            list.push(end(front), &element, limits);
            if front { model.push_front(element) } else { model.push_back(element) }
        }
        Change::Insert(index, element) => {
            let index = index.index(model.len() + 1);
            list.insert(index, &element, limits);
            model.insert(index, element);
        }
        Change::Set(index, element) => {
            let index = index.index(model.len() + 1);
            assert_eq!(list.set(index, &element, limits), index < model.len());
            if let Some(place) = model.get_mut(index) {
                *place = element;
            }
        }
        Change::Remove(front, count) => {
            list.remove(end(front), count);
            let count = count.min(model.len());
            model.drain(if front { 0..count } else { model.len() - count..model.len() });
        }
        Change::RemoveMatching(element, most, front) => {
            let mut matches: Vec<usize> = (0..model.len()).filter(|&index| model[index] == element).collect();
            if !front {
                matches.reverse();
            }
            matches.truncate(most);
            assert_eq!(list.remove_matching(&Needle::new(&element), most, end(front), limits), matches.len());
            matches.sort_unstable();
            for index in matches.into_iter().rev() {
                model.remove(index);
            }
        }
        Change::Reload => {
            let nodes = list.nodes().map(|node| match node {
                NodeRef::Packed(pack) => Node::Packed(pack.clone()),
                NodeRef::Plain(element) => Node::Plain(element.to_vec()),
            });
            *list = List::from_nodes(nodes.collect::<Vec<_>>(), limits);
        }
    }
}

proptest! {
    #[test]
    fn any_changes_leave_what_a_deque_would_hold(
        size in prop_oneof![1i32..6, -5i32..0, Just(0)],
        threshold in prop_oneof![Just(0), 1usize..30],
        changes in prop::collection::vec(change(), 1..200),
    ) {
        let limits = limits(size, threshold);
        let (mut list, mut model) = (List::new(), VecDeque::new());
        for change in changes {
            apply(&mut list, &mut model, change, &limits);
            check(&list);
            prop_assert_eq!(list.front().map(|item| item.to_vec()), model.front().cloned());
            prop_assert_eq!(list.back().map(|item| item.to_vec()), model.back().cloned());
        }
        prop_assert_eq!(texts(&list), Vec::from(model.clone()));
        prop_assert_eq!(texts(&list.clone()), Vec::from(model.clone()));
        for index in 0..=model.len() {
            prop_assert_eq!(list.get(index).map(|item| item.to_vec()), model.get(index).cloned());
            let ahead: Vec<_> = list.iter_from(index).map(|item| item.to_vec()).collect();
            prop_assert_eq!(list.iter_from(index).len(), ahead.len());
            prop_assert_eq!(ahead, model.iter().skip(index).cloned().collect::<Vec<_>>());
            let mut back: Vec<_> = list.iter_rev_from(index).map(|item| item.to_vec()).collect();
            prop_assert_eq!(list.iter_rev_from(index).len(), back.len());
            back.reverse();
            prop_assert_eq!(back, model.iter().take(index + 1).cloned().collect::<Vec<_>>());
        }
        for element in &model {
            let first = model.iter().position(|other| other == element);
            prop_assert_eq!(list.position(&Needle::new(element)), first);
        }
    }
}

#[test]
fn nodes_are_cut_where_the_limits_say() {
    let sizes = |list: &List| -> Vec<usize> {
        let sizes = list.nodes().map(|node| match node {
            NodeRef::Packed(pack) => pack.len(),
            NodeRef::Plain(_) => 0,
        });
        sizes.collect()
    };
    assert_eq!(sizes(&list(&["a"; 7], &limits(3, 0))), [3, 3, 1]);
    assert_eq!(sizes(&list(&["a"; 3], &limits(0, 0))), [1, 1, 1]);
    let (large, larger) = ("x".repeat(4000), "x".repeat(9000));
    assert_eq!(sizes(&list(&["a", &large, "b", &large, "c"], &limits(-1, 0))), [3, 2]);
    assert_eq!(sizes(&list(&["a", &larger, "b"], &limits(-2, 0))), [1, 0, 1]);
    assert_eq!(sizes(&list(&["a", &larger, "b"], &limits(-3, 0))), [3]);
    assert_eq!(sizes(&list(&["a", &larger, "b"], &limits(100, 0))), [1, 0, 1]);
    assert_eq!(sizes(&list(&["aa", "b", "b"], &limits(-2, 2))), [0, 2]);
}

#[test]
fn a_long_list_is_changed_anywhere_without_touching_the_rest() {
    let limits = Limits::default();
    let mut list = List::new();
    for number in 0..200_000 {
        list.push_back(number.to_string().as_bytes(), &limits);
    }
    for number in (0..100_000).rev() {
        list.insert(2 * number, b"new", &limits);
    }
    check(&list);
    assert_eq!(list.len(), 300_000);
    // One stands before each even number.
    assert!(list.get(99_999).is_some_and(|item| item.is(b"new")));
    assert!(list.get(100_000).is_some_and(|item| item.is(b"66666")));
    assert_eq!(list.remove_matching(&Needle::new(b"new"), usize::MAX, End::Back, &limits), 100_000);
    check(&list);
    assert!(list.iter().enumerate().all(|(index, item)| item.is(index.to_string().as_bytes())));
    list.remove_front(150_000);
    list.remove_back(49_990);
    assert_eq!(list.len(), 10);
    assert!(list.front().is_some_and(|item| item.is(b"150000")));
    check(&list);
}

#[test]
fn memory_follows_the_elements_both_ways() {
    let limits = Limits::default();
    let mut list = List::new();
    for _ in 0..100_000 {
        list.push_back(b"an element of 24 bytes..", &limits);
    }
    assert!(list.heap_bytes() < 100_000 * 26 * 103 / 100, "{} bytes", list.heap_bytes());
    // Nine of ten go, wherever they are: the nodes that are left join.
    for index in 0..10_000 {
        list.set(index * 10, b"one that stays", &limits);
    }
    list.remove_matching(&Needle::new(b"an element of 24 bytes.."), usize::MAX, End::Front, &limits);
    assert_eq!(list.len(), 10_000);
    assert!(list.heap_bytes() < 10_000 * 16 * 2, "{} bytes", list.heap_bytes());
    list.remove_back(9_999);
    assert!(list.heap_bytes() < 400, "{} bytes", list.heap_bytes());
}
