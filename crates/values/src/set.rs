//! Sets: an intset or a listpack while small, a table above that (Redis 7.2's rules).

use quorate_stdx::Rng;

use crate::Limits;
use crate::dict::{Dict, hash_bytes};
use crate::intset::Intset;
use crate::listpack::{Corrupt, Item, Listpack};
use crate::number::parse_i64;
use crate::thin::ThinBytes;

/// A set; see the module's text.
pub struct Set(Form);

enum Form {
    Ints(Intset),
    Packed(Listpack),
    Table(Dict<ThinBytes>),
}

/// How a set lies in memory, for those who write it out.
pub enum SetView<'a> {
    /// Integers only.
    Intset(&'a Intset),
    /// One after the other.
    Listpack(&'a Listpack),
    /// A table; iterate over the set.
    Table(&'a Dict<ThinBytes>),
}

impl Clone for Set {
    fn clone(&self) -> Set {
        Set(match &self.0 {
            Form::Ints(ints) => Form::Ints(ints.clone()),
            Form::Packed(pack) => Form::Packed(pack.clone()),
            Form::Table(table) => {
                let mut copy = Dict::new();
                for member in table.iter() {
                    copy.insert_new(hash_bytes(member), ThinBytes::new(member));
                }
                Form::Table(copy)
            }
        })
    }
}

impl Set {
    /// Lets the cache fetch what a look at the value most likely begins with.
    #[inline]
    pub fn prefetch(&self) {
        match &self.0 {
            Form::Ints(ints) => ints.prefetch(),
            Form::Packed(pack) => pack.prefetch(),
            Form::Table(_) => {}
        }
    }

    /// An empty set in the form that suits a first member.
    pub fn for_member(member: &[u8], limits: &Limits) -> Set {
        if parse_i64(member).is_some() && limits.set_max_intset_entries > 0 {
            Set(Form::Ints(Intset::new()))
        } else if limits.set_max_listpack_entries > 0 && member.len() <= limits.set_max_listpack_value {
            Set(Form::Packed(Listpack::new()))
        } else {
            Set(Form::Table(Dict::new()))
        }
    }

    /// A set in the bytes of another.
    pub fn from_intset(ints: Intset, limits: &Limits) -> Set {
        let mut set = Set(Form::Ints(ints));
        if set.len() > limits.set_max_intset_entries {
            set.become_table();
        }
        set
    }

    /// A set in the bytes of another; a member that comes twice is an error.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Set, Corrupt> {
        let mut seen = std::collections::HashSet::with_capacity(pack.len());
        for (index, item) in pack.iter().enumerate() {
            if !seen.insert(item.to_vec()) {
                return Err(Corrupt { at: index });
            }
        }
        let fits = pack.len() <= limits.set_max_listpack_entries
            && seen.iter().all(|member| member.len() <= limits.set_max_listpack_value);
        let mut set = Set(Form::Packed(pack));
        if !fits {
            set.become_table();
        }
        Ok(set)
    }

    /// A set of these members; one that comes twice is an error.
    pub fn from_members<M: AsRef<[u8]>>(members: impl IntoIterator<Item = M>, limits: &Limits) -> Result<Set, Corrupt> {
        let mut set = Set(Form::Ints(Intset::new()));
        for (index, member) in members.into_iter().enumerate() {
            if set.is_empty() {
                set = Set::for_member(member.as_ref(), limits);
            }
            if !set.insert(member.as_ref(), limits) {
                return Err(Corrupt { at: index });
            }
        }
        Ok(set)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.len(),
            Form::Packed(pack) => pack.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Ints(_) => "intset",
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// How it lies in memory.
    pub fn view(&self) -> SetView<'_> {
        match &self.0 {
            Form::Ints(ints) => SetView::Intset(ints),
            Form::Packed(pack) => SetView::Listpack(pack),
            Form::Table(table) => SetView::Table(table),
        }
    }

    /// Whether `member` is in it.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::Ints(ints) => parse_i64(member).is_some_and(|value| ints.contains(value)),
            Form::Packed(pack) => pack.find(pack.first(), member, 1).is_some(),
            Form::Table(table) => table.contains(hash_bytes(member), member),
        }
    }

    /// Adds `member`; whether it is new.
    pub fn insert(&mut self, member: &[u8], limits: &Limits) -> bool {
        loop {
            match &mut self.0 {
                Form::Ints(ints) => match parse_i64(member) {
                    Some(value) if ints.contains(value) => return false,
                    Some(value) if ints.len() < limits.set_max_intset_entries => return ints.insert(value),
                    Some(_) => self.leave_intset(member, limits, false),
                    None => self.leave_intset(member, limits, true),
                },
                Form::Packed(pack) => {
                    if pack.find(pack.first(), member, 1).is_some() {
                        return false;
                    }
                    let fits = pack.len() < limits.set_max_listpack_entries
                        && member.len() <= limits.set_max_listpack_value
                        && pack.has_room_for(member.len() + 12);
                    if fits {
                        pack.push_back(member);
                        return true;
                    }
                    self.become_table();
                }
                Form::Table(table) => {
                    let hash = hash_bytes(member);
                    if table.contains(hash, member) {
                        return false;
                    }
                    table.insert_new(hash, ThinBytes::new(member));
                    return true;
                }
            }
        }
    }

    /// Removes `member`; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => parse_i64(member).is_some_and(|value| ints.remove(value)),
            Form::Packed(pack) => match pack.find(pack.first(), member, 1) {
                Some(at) => {
                    pack.delete(at);
                    true
                }
                None => false,
            },
            Form::Table(table) => table.remove(hash_bytes(member), member).is_some(),
        }
    }

    /// An intset that can't take `member` becomes a listpack if that can, else a table.
    #[cold]
    fn leave_intset(&mut self, member: &[u8], limits: &Limits, may_pack: bool) {
        let Form::Ints(ints) = &self.0 else { return };
        let longest = ints.get(0).into_iter().chain(ints.len().checked_sub(1).and_then(|last| ints.get(last)));
        let longest = longest.map(|value| itoa::Buffer::new().format(value).len()).max().unwrap_or(0);
        let fits = may_pack
            && ints.len() < limits.set_max_listpack_entries
            && member.len().max(longest) <= limits.set_max_listpack_value;
        if fits {
            let mut pack = Listpack::new();
            for value in ints.iter() {
                pack.push_back(Item::Int(value));
            }
            self.0 = Form::Packed(pack);
        } else {
            self.become_table();
        }
    }

    #[cold]
    fn become_table(&mut self) {
        let mut table = Dict::new();
        for member in self.iter() {
            let mut text = itoa::Buffer::new();
            let member = member.text(&mut text);
            table.insert_new(hash_bytes(member), ThinBytes::new(member));
        }
        self.0 = Form::Table(table);
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let (ints, pack, table) = match &self.0 {
            Form::Ints(ints) => (Some(ints), None, None),
            Form::Packed(pack) => (None, Some(pack), None),
            Form::Table(table) => (None, None, Some(table)),
        };
        let ints = ints.into_iter().flat_map(|ints| ints.iter().map(Item::Int));
        let packed = pack.into_iter().flat_map(Listpack::iter);
        ints.chain(packed).chain(table.into_iter().flat_map(|table| table.iter().map(Item::Bytes)))
    }

    /// A member, each with the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<Item<'_>> {
        let index = |rng: &mut Rng| rng.below(self.len() as u64) as usize;
        match &self.0 {
            Form::Ints(ints) => ints.get(index(rng)).map(Item::Int),
            Form::Packed(pack) => pack.get(index(rng) as i64),
            Form::Table(table) => table.random(rng).map(Item::Bytes),
        }
    }

    /// Shows a bounded piece; see [`Dict::scan`]. A small set is shown whole.
    pub fn scan(&self, cursor: u64, budget: usize, mut each: impl FnMut(Item<'_>)) -> u64 {
        match &self.0 {
            Form::Ints(_) | Form::Packed(_) => {
                self.iter().for_each(each);
                0
            }
            Form::Table(table) => table.scan(cursor, budget, |member| each(Item::Bytes(member))),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.heap_bytes(),
            Form::Packed(pack) => pack.heap_bytes(),
            Form::Table(table) => {
                table.heap_bytes() + table.iter().map(|member| ThinBytes::heap_bytes(member.len())).sum::<usize>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_behaves_like_a_set_in_all_forms(
            ints in 0usize..10, packed in 0usize..15,
            steps in prop::collection::vec((any::<bool>(), 0i32..40, any::<bool>()), 0..300),
        ) {
            let limits = Limits { set_max_intset_entries: ints, set_max_listpack_entries: packed, ..Limits::default() };
            let mut set = Set::for_member(b"1", &limits);
            let mut model = BTreeSet::new();
            for (insert, number, text) in steps {
                let member = if text { format!("m{number}") } else { number.to_string() }.into_bytes();
                if insert {
                    prop_assert_eq!(set.insert(&member, &limits), model.insert(member.clone()));
                } else {
                    prop_assert_eq!(set.remove(&member), model.remove(&member));
                }
                prop_assert_eq!(set.contains(&member), model.contains(&member));
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert_eq!(set.iter().map(|member| member.to_vec()).collect::<BTreeSet<_>>(), model);
        }
    }

    #[test]
    fn forms_change_as_in_redis_7_2() {
        let limits = Limits { set_max_intset_entries: 3, set_max_listpack_entries: 4, ..Limits::default() };
        let mut set = Set::for_member(b"1", &limits);
        for member in [&b"1"[..], b"2", b"3"] {
            set.insert(member, &limits);
        }
        assert_eq!(set.encoding(), "intset");
        set.insert(b"x", &limits);
        assert_eq!(set.encoding(), "listpack");
        set.insert(b"y", &limits);
        assert_eq!(set.encoding(), "hashtable");
    }
}
