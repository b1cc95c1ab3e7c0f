//! Hashes: a listpack of fields and values while small, a table above that; and beside them, of the few hashes that have
//! any, when fields expire.

mod expiries;

use quorate_stdx::{Rng, UnixMs};

use self::expiries::Expiries;

use crate::Limits;
use crate::dict::{Dict, hash_bytes};
use crate::listpack::{Corrupt, Item, Listpack, Pos};
use crate::thin::{FieldValue, Pair};

/// A hash; see the module's text.
pub struct Hash {
    form: Form,
    /// When fields expire; none if none does.
    expiries: Option<Box<Expiries>>,
}

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
        let form = match &self.form {
            Form::Packed(pack) => Form::Packed(pack.clone()),
            Form::Table(table) => {
                let mut copy = Dict::new();
                for pair in table.iter() {
                    copy.insert_new(hash_bytes(pair.field()), FieldValue::new(pair.field(), pair.value()));
                }
                Form::Table(copy)
            }
        };
        Hash { form, expiries: self.expiries.clone() }
    }
}

impl Hash {
    /// Lets the cache fetch what a look at the value most likely begins with.
    #[inline]
    pub fn prefetch(&self) {
        if let Form::Packed(pack) = &self.form {
            pack.prefetch();
        }
    }

    fn packed(pack: Listpack) -> Hash {
        Hash { form: Form::Packed(pack), expiries: None }
    }

    /// The empty hash.
    pub fn new() -> Hash {
        Hash::packed(Listpack::new())
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
        let mut hash = Hash::packed(pack);
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

    /// How many fields there are, those that are hidden not counted.
    pub fn len(&self) -> usize {
        self.len_of_all() - self.expiries.as_ref().map_or(0, |expiries| expiries.hidden())
    }

    /// How many fields there are, hidden ones included.
    pub fn len_of_all(&self) -> usize {
        match &self.form {
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
        match &self.form {
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// How it lies in memory.
    pub fn view(&self) -> HashView<'_> {
        match &self.form {
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
        if self.hides(field) {
            return None;
        }
        match &self.form {
            Form::Packed(pack) => Hash::packed_value(pack, field).map(|(_, value)| pack.item(value)),
            Form::Table(table) => table.find(hash_bytes(field), field).map(|pair| Item::Bytes(pair.value())),
        }
    }

    /// Whether there is such a field.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets `field`, which never expires then; whether it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        let was_hidden = self.hides(field);
        if self.expiries.is_some() {
            self.set_expiry(field, None);
        }
        self.set_value(field, value, limits) || was_hidden
    }

    /// Sets the value of `field`, and leaves alone when it expires; whether it is new.
    pub fn set_value(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        if let Form::Packed(pack) = &mut self.form {
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
        let Form::Table(table) = &mut self.form else { unreachable!("converted above") };
        let hash = hash_bytes(field);
        if let Some(mut pair) = table.find_mut(hash, field) {
            pair.set_value(value);
            return false;
        }
        table.insert_new(hash, FieldValue::new(field, value));
        true
    }

    /// When `field` expires, if it is there and does.
    pub fn expiry(&self, field: &[u8]) -> Option<UnixMs> {
        self.expiries.as_ref().and_then(|expiries| expiries.get(field))
    }

    /// Says when `field`, which is there, expires; `None` is never.
    pub fn set_expiry(&mut self, field: &[u8], at: Option<UnixMs>) {
        match at {
            Some(at) => self.expiries.get_or_insert_default().set(field, at),
            None => {
                if let Some(expiries) = &mut self.expiries {
                    expiries.remove(field);
                    self.forget_expiries();
                }
            }
        }
    }

    fn forget_expiries(&mut self) {
        if self.expiries.as_ref().is_some_and(|expiries| expiries.len() == 0) {
            self.expiries = None;
        }
    }

    /// How many fields expire, hidden ones included.
    pub fn expiring(&self) -> usize {
        self.expiries.as_ref().map_or(0, |expiries| expiries.len())
    }

    /// When the first field expires, if any does.
    #[inline]
    pub fn soonest_expiry(&self) -> Option<UnixMs> {
        self.expiries.as_ref().and_then(|expiries| expiries.soonest())
    }

    /// Removes up to `most` fields whose time has come, and returns their names.
    pub fn remove_due(&mut self, now: UnixMs, most: usize) -> Vec<Box<[u8]>> {
        let Some(expiries) = &mut self.expiries else { return Vec::new() };
        let due = expiries.take_due(now, most);
        for field in &due {
            self.remove_value(field);
        }
        self.forget_expiries();
        due.iter().map(|field| Box::from(&**field)).collect()
    }

    /// From now on hides the fields that expire up to `until`; shows all, if that is `None`.
    pub fn hide_due(&self, until: Option<UnixMs>) {
        if let Some(expiries) = &self.expiries {
            expiries.hide(until);
        }
    }

    #[inline]
    fn hides(&self, field: &[u8]) -> bool {
        self.expiries.as_ref().is_some_and(|expiries| expiries.hides(field))
    }

    /// Removes `field`; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let was_hidden = self.hides(field);
        if self.expiries.is_some() {
            self.set_expiry(field, None);
        }
        self.remove_value(field) && !was_hidden
    }

    fn remove_value(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(pack) => match Hash::packed_value(pack, field) {
                Some((at, _)) => pack.delete_from(at, 2) == 2,
                None => false,
            },
            Form::Table(table) => table.remove(hash_bytes(field), field).is_some(),
        }
    }

    #[cold]
    fn convert(&mut self) {
        let Form::Packed(pack) = &self.form else { return };
        let mut table = Dict::new();
        let mut items = pack.iter();
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            let (mut field_text, mut value_text) = (itoa::Buffer::new(), itoa::Buffer::new());
            let field = field.text(&mut field_text);
            table.insert_new(hash_bytes(field), FieldValue::new(field, value.text(&mut value_text)));
        }
        self.form = Form::Table(table);
    }

    /// All fields with their values, but for those that are hidden.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        let expiries = self.expiries.as_deref().filter(|expiries| expiries.hides_any());
        let is_hidden = move |field: Item<'_>| {
            expiries.is_some_and(|expiries| expiries.hides(field.text(&mut itoa::Buffer::new())))
        };
        self.iter_all().filter(move |(field, _)| !is_hidden(*field))
    }

    /// All fields with their values, hidden ones included.
    pub fn iter_all(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        let (pack, table) = match &self.form {
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
        if self.expiries.as_ref().is_some_and(|expiries| expiries.hides_any()) {
            let len = self.len();
            return if len == 0 { None } else { self.iter().nth(rng.below(len as u64) as usize) };
        }
        match &self.form {
            Form::Packed(_) => self.iter().nth(rng.below(self.len() as u64) as usize),
            Form::Table(table) => table.random(rng).map(|pair| (Item::Bytes(pair.field()), Item::Bytes(pair.value()))),
        }
    }

    /// Shows a bounded piece; see [`Dict::scan`]. A small hash is shown whole.
    pub fn scan(&self, cursor: u64, budget: usize, mut each: impl FnMut(Item<'_>, Item<'_>)) -> u64 {
        match &self.form {
            Form::Packed(_) => {
                self.iter().for_each(|(field, value)| each(field, value));
                0
            }
            Form::Table(table) => table.scan(cursor, budget, |pair| {
                if !self.hides(pair.field()) {
                    each(Item::Bytes(pair.field()), Item::Bytes(pair.value()));
                }
            }),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let expiries = self.expiries.as_ref().map_or(0, |expiries| expiries.heap_bytes());
        expiries + self.bytes_of_fields()
    }

    fn bytes_of_fields(&self) -> usize {
        match &self.form {
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
    fn fields_expire_in_order_are_hidden_and_come_back_without_an_expiry_in_both_forms() {
        for most in [0, 512] {
            let limits = Limits { hash_max_listpack_entries: most, ..Limits::default() };
            let mut hash = Hash::new();
            for (field, at) in [("a", Some(5)), ("b", None), ("c", Some(3)), ("d", Some(9))] {
                hash.insert(field.as_bytes(), b"v", &limits);
                hash.set_expiry(field.as_bytes(), at.map(UnixMs));
            }
            let seen = |hash: &Hash| contents(hash).into_keys().map(|key| key[0] as char).collect::<String>();
            assert_eq!((hash.expiring(), hash.soonest_expiry(), seen(&hash)), (3, Some(UnixMs(3)), "abcd".to_owned()));
            hash.hide_due(Some(UnixMs(5)));
            let mut scanned = 0;
            assert_eq!(hash.scan(0, 100, |_, _| scanned += 1), 0);
            assert_eq!((hash.len(), scanned, seen(&hash), hash.contains(b"a")), (2, 2, "bd".to_owned(), false));
            assert_eq!(hash.iter_all().count(), 4);
            for _ in 0..20 {
                let (field, _) = hash.random(&mut quorate_stdx::Rng::new(7)).unwrap();
                assert!(matches!(&*field.to_vec(), b"b" | b"d"));
            }
            // What is hidden is new to who sets it, and not there for who removes it.
            assert!(hash.insert(b"a", b"w", &limits) && !hash.remove(b"c"));
            assert_eq!((hash.expiring(), hash.expiry(b"a"), seen(&hash)), (1, None, "abd".to_owned()));
            hash.hide_due(None);
            hash.set_value(b"d", b"w", &limits);
            assert_eq!(hash.expiry(b"d"), Some(UnixMs(9)));
            let copy = hash.clone();
            assert_eq!(hash.remove_due(UnixMs(8), 9), Vec::<Box<[u8]>>::new());
            assert_eq!(hash.remove_due(UnixMs(9), 9), [Box::from(&b"d"[..])]);
            assert_eq!((hash.expiring(), hash.soonest_expiry(), hash.len()), (0, None, 2));
            assert_eq!((copy.expiring(), copy.len()), (1, 3));
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
