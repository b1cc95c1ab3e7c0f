//! Hashes: a listpack of fields and values while small, a table above that.

use quorate_stdx::Rng;

use crate::Limits;
use crate::dict::{Dict, hash_bytes};
use crate::listpack::{Corrupt, Item, Listpack, Pos};
use crate::thin::{FieldValue, Pair};

/// A hash; see the module's text.
pub struct Hash(Form);

enum Form {
    Packed(Listpack),
    Table(Dict<FieldValue>),
}

/// How a hash lies in memory, for those who write it out.
pub enum HashView<'a> {
    /// Fields and values, alternating.
    Listpack(&'a Listpack),
    /// A table; iterate over the hash.
    Table(&'a Dict<FieldValue>),
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl Clone for Hash {
    fn clone(&self) -> Hash {
        match &self.0 {
            Form::Packed(pack) => Hash(Form::Packed(pack.clone())),
            Form::Table(table) => {
                let mut copy = Dict::new();
                for pair in table.iter() {
                    copy.insert_new(hash_bytes(pair.field()), FieldValue::new(pair.field(), pair.value()));
                }
                Hash(Form::Table(copy))
            }
        }
    }
}

impl Hash {
    /// Lets the cache fetch what a look at the value most likely begins with.
    #[inline]
    pub fn prefetch(&self) {
        if let Form::Packed(pack) = &self.0 {
            pack.prefetch();
        }
    }

    /// The empty hash.
    pub fn new() -> Hash {
        Hash(Form::Packed(Listpack::new()))
    }

    /// A hash in the bytes of another: an even number of elements, no field twice.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Hash, Corrupt> {
        if !pack.len().is_multiple_of(2) {
            return Err(Corrupt { at: pack.as_bytes().len() });
        }
        let mut seen = std::collections::HashSet::with_capacity(pack.len() / 2);
        let mut longest = 0;
        for (index, item) in pack.iter().enumerate() {
            longest = longest.max(item.text_len());
            if index % 2 == 0 && !seen.insert(item.to_vec()) {
                return Err(Corrupt { at: index });
            }
        }
        let fits = pack.len() / 2 <= limits.hash_max_listpack_entries && longest <= limits.hash_max_listpack_value;
        let mut hash = Hash(Form::Packed(pack));
        if !fits {
            hash.convert();
        }
        Ok(hash)
    }

    /// A hash of these fields and values; a field that comes twice is an error.
    pub fn from_pairs<F: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (F, V)>,
        limits: &Limits,
    ) -> Result<Hash, Corrupt> {
        let mut hash = Hash::new();
        for (index, (field, value)) in pairs.into_iter().enumerate() {
            if !hash.insert(field.as_ref(), value.as_ref(), limits) {
                return Err(Corrupt { at: index });
            }
        }
        Ok(hash)
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Packed(pack) => pack.len() / 2,
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
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// How it lies in memory.
    pub fn view(&self) -> HashView<'_> {
        match &self.0 {
            Form::Packed(pack) => HashView::Listpack(pack),
            Form::Table(table) => HashView::Table(table),
        }
    }

    fn packed_value(pack: &Listpack, field: &[u8]) -> Option<(Pos, Pos)> {
        let at = pack.find(pack.first(), field, 2)?;
        Some((at, pack.next(at).expect("a value stands behind each field")))
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match &self.0 {
            Form::Packed(pack) => Hash::packed_value(pack, field).map(|(_, value)| pack.item(value)),
            Form::Table(table) => table.find(hash_bytes(field), field).map(|pair| Item::Bytes(pair.value())),
        }
    }

    /// Whether there is such a field.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets `field`; whether it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        if let Form::Packed(pack) = &mut self.0 {
            let fits = field.len() <= limits.hash_max_listpack_value
                && value.len() <= limits.hash_max_listpack_value
                && pack.has_room_for(field.len() + value.len() + 24);
            if fits {
                if let Some((_, at)) = Hash::packed_value(pack, field) {
                    pack.replace(at, value);
                    return false;
                }
                if pack.len() / 2 < limits.hash_max_listpack_entries {
                    pack.insert_all_before(pack.end(), [Item::from(field), Item::from(value)]);
                    return true;
                }
            }
            self.convert();
        }
        let Form::Table(table) = &mut self.0 else { unreachable!("converted above") };
        let hash = hash_bytes(field);
        if let Some(mut pair) = table.find_mut(hash, field) {
            pair.set_value(value);
            return false;
        }
        table.insert_new(hash, FieldValue::new(field, value));
        true
    }

    /// Removes `field`; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Form::Packed(pack) => match Hash::packed_value(pack, field) {
                Some((at, _)) => pack.delete_from(at, 2) == 2,
                None => false,
            },
            Form::Table(table) => table.remove(hash_bytes(field), field).is_some(),
        }
    }

    #[cold]
    fn convert(&mut self) {
        let Form::Packed(pack) = &self.0 else { return };
        let mut table = Dict::new();
        let mut items = pack.iter();
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            let (mut field_text, mut value_text) = (itoa::Buffer::new(), itoa::Buffer::new());
            let field = field.text(&mut field_text);
            table.insert_new(hash_bytes(field), FieldValue::new(field, value.text(&mut value_text)));
        }
        self.0 = Form::Table(table);
    }

    /// All fields with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        let (pack, table) = match &self.0 {
            Form::Packed(pack) => (Some(pack), None),
            Form::Table(table) => (None, Some(table)),
        };
        let packed = pack.into_iter().flat_map(|pack| {
            let mut items = pack.iter();
            std::iter::from_fn(move || Some((items.next()?, items.next()?)))
        });
        let pair = |pair| (Item::Bytes(Pair::field(pair)), Item::Bytes(Pair::value(pair)));
        packed.chain(table.into_iter().flat_map(move |table| table.iter().map(pair)))
    }

    /// A field with its value, each with the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<(Item<'_>, Item<'_>)> {
        match &self.0 {
            Form::Packed(_) => self.iter().nth(rng.below(self.len() as u64) as usize),
            Form::Table(table) => table.random(rng).map(|pair| (Item::Bytes(pair.field()), Item::Bytes(pair.value()))),
        }
    }

    /// Shows a bounded piece; see [`Dict::scan`]. A small hash is shown whole.
    pub fn scan(&self, cursor: u64, budget: usize, mut each: impl FnMut(Item<'_>, Item<'_>)) -> u64 {
        match &self.0 {
            Form::Packed(_) => {
                self.iter().for_each(|(field, value)| each(field, value));
                0
            }
            Form::Table(table) => {
                table.scan(cursor, budget, |pair| each(Item::Bytes(pair.field()), Item::Bytes(pair.value())))
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Packed(pack) => pack.heap_bytes(),
            Form::Table(table) => {
                let pairs = table.iter().map(|pair| FieldValue::heap_bytes(pair.field().len(), pair.value().len()));
                table.heap_bytes() + pairs.sum::<usize>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map_in_both_forms(
            most in 0usize..20,
            steps in prop::collection::vec((any::<bool>(), 0u8..40, prop::collection::vec(any::<u8>(), 0..80)), 0..300),
        ) {
            let limits = Limits { hash_max_listpack_entries: most, ..Limits::default() };
            let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
            for (insert, field, value) in steps {
                let field = format!("{field}").into_bytes();
                if insert {
                    prop_assert_eq!(hash.insert(&field, &value, &limits), model.insert(field.clone(), value).is_none());
                } else {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                prop_assert_eq!(hash.get(&field).map(|value| value.to_vec()), model.get(&field).cloned());
                prop_assert_eq!(hash.len(), model.len());
            }
            prop_assert_eq!(contents(&hash), model);
            prop_assert_eq!(contents(&hash.clone()), contents(&hash));
        }
    }

    #[test]
    fn it_leaves_the_listpack_at_its_limits() {
        let limits = Limits { hash_max_listpack_entries: 2, hash_max_listpack_value: 4, ..Limits::default() };
        let mut hash = Hash::new();
        hash.insert(b"a", b"1", &limits);
        hash.insert(b"b", b"4444", &limits);
        assert_eq!(hash.encoding(), "listpack");
        hash.insert(b"b", b"55555", &limits);
        assert_eq!(hash.encoding(), "hashtable");
        assert_eq!(hash.get(b"b").unwrap().to_vec(), b"55555");
    }
}
