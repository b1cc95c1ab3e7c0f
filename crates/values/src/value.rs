//! A value of any type, owned and borrowed.

use std::borrow::Cow;

use crate::hash::Hash;
use crate::list::List;
use crate::set::Set;
use crate::stream::Stream;
use crate::zset::ZSet;

/// A value that stands alone.
#[derive(Clone)]
pub enum Value {
    /// A string.
    Str(Vec<u8>),
    /// A string that is a canonical integer.
    Int(i64),
    /// A list.
    List(Box<List>),
    /// A set.
    Set(Box<Set>),
    /// A sorted set.
    ZSet(Box<ZSet>),
    /// A hash.
    Hash(Box<Hash>),
    /// A stream.
    Stream(Box<Stream>),
}

impl std::fmt::Debug for Value {
    /// The type, the encoding and the number of elements: a value may be too large to be shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.as_ref();
        write!(f, "{} ({}, {} elements)", value.type_name(), value.encoding(), value.elements())
    }
}

/// A borrowed string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrRef<'a> {
    /// Stored as an integer.
    Int(i64),
    /// Stored as bytes.
    Bytes(&'a [u8]),
}

impl<'a> StrRef<'a> {
    /// Its text; `buffer` holds it if it is an integer.
    #[inline]
    pub fn text<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            StrRef::Int(number) => buffer.format(number).as_bytes(),
            StrRef::Bytes(bytes) => bytes,
        }
    }

    /// Its text, copied only if it is an integer.
    pub fn to_cow(self) -> Cow<'a, [u8]> {
        match self {
            StrRef::Int(number) => Cow::Owned(number.to_string().into_bytes()),
            StrRef::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// Its text, owned.
    pub fn to_vec(self) -> Vec<u8> {
        self.to_cow().into_owned()
    }

    /// The length of its text in bytes.
    pub fn text_len(self) -> usize {
        self.text(&mut itoa::Buffer::new()).len()
    }

    /// The integer that it is, if its text is a canonical one.
    pub fn as_int(self) -> Option<i64> {
        match self {
            StrRef::Int(number) => Some(number),
            StrRef::Bytes(bytes) => crate::parse_i64(bytes),
        }
    }
}

/// A borrowed value.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string.
    Str(StrRef<'a>),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A sorted set.
    ZSet(&'a ZSet),
    /// A hash.
    Hash(&'a Hash),
    /// A stream.
    Stream(&'a Stream),
}

impl ValueRef<'_> {
    /// As TYPE names it.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueRef::Str(_) => "string",
            ValueRef::List(_) => "list",
            ValueRef::Set(_) => "set",
            ValueRef::ZSet(_) => "zset",
            ValueRef::Hash(_) => "hash",
            ValueRef::Stream(_) => "stream",
        }
    }

    /// As OBJECT ENCODING names it.
    pub fn encoding(self) -> &'static str {
        match self {
            ValueRef::Str(StrRef::Int(_)) => "int",
            ValueRef::Str(StrRef::Bytes(bytes)) if bytes.len() <= 44 => "embstr",
            ValueRef::Str(StrRef::Bytes(_)) => "raw",
            ValueRef::List(list) => list.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::ZSet(zset) => zset.encoding(),
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::Stream(_) => "stream",
        }
    }

    /// How many elements it has; 1 for a string.
    pub fn elements(self) -> usize {
        match self {
            ValueRef::Str(_) => 1,
            ValueRef::List(list) => list.len(),
            ValueRef::Set(set) => set.len(),
            ValueRef::ZSet(zset) => zset.len(),
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::Stream(stream) => stream.elements(),
        }
    }

    /// About how many allocations it lies in: what it costs to free it.
    pub fn allocations(self) -> usize {
        match (self, self.encoding()) {
            (ValueRef::Stream(stream), _) => stream.allocations(),
            (_, "listpack" | "intset") => 1,
            _ => self.elements(),
        }
    }

    /// Bytes on the heap, the value's own struct included, those of a string's text not: it lies in its
    /// entry.
    pub fn heap_bytes(self) -> usize {
        match self {
            ValueRef::Str(_) => 0,
            ValueRef::List(list) => size_of::<List>() + list.heap_bytes(),
            ValueRef::Set(set) => size_of::<Set>() + set.heap_bytes(),
            ValueRef::ZSet(zset) => size_of::<ZSet>() + zset.heap_bytes(),
            ValueRef::Hash(hash) => size_of::<Hash>() + hash.heap_bytes(),
            ValueRef::Stream(stream) => size_of::<Stream>() + stream.heap_bytes(),
        }
    }

    /// A deep copy.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Str(StrRef::Int(number)) => Value::Int(number),
            ValueRef::Str(StrRef::Bytes(bytes)) => Value::Str(bytes.to_vec()),
            ValueRef::List(list) => Value::List(Box::new(list.clone())),
            ValueRef::Set(set) => Value::Set(Box::new(set.clone())),
            ValueRef::ZSet(zset) => Value::ZSet(Box::new(zset.clone())),
            ValueRef::Hash(hash) => Value::Hash(Box::new(hash.clone())),
            ValueRef::Stream(stream) => Value::Stream(Box::new(stream.clone())),
        }
    }
}

impl Value {
    /// Borrows it.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Str(bytes) => ValueRef::Str(StrRef::Bytes(bytes)),
            Value::Int(number) => ValueRef::Str(StrRef::Int(*number)),
            Value::List(list) => ValueRef::List(list),
            Value::Set(set) => ValueRef::Set(set),
            Value::ZSet(zset) => ValueRef::ZSet(zset),
            Value::Hash(hash) => ValueRef::Hash(hash),
            Value::Stream(stream) => ValueRef::Stream(stream),
        }
    }
}
