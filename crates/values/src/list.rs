//! A placeholder until its author delivers the real file.
/// See the file's text.
#[derive(Clone, Default)]
pub struct List(Vec<u8>);
impl List {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// As OBJECT ENCODING names it.
    pub fn encoding(&self) -> &'static str {
        "listpack"
    }
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        0
    }
}
