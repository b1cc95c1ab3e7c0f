//! What a search asks for, and how places, distances and members are answered.

use quorate_resp::ReplyWriter;
use quorate_values::{parse_double, write_double_fixed};

use super::earth::{Point, Shape};
use super::{meters, place};
use crate::{Args, CommandError};

/// The commands that search, as far as their arguments differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// GEORADIUS: place and radius have fixed positions.
    Radius { may_store: bool },
    /// GEORADIUSBYMEMBER.
    RadiusByMember { may_store: bool },
    /// GEOSEARCH.
    Search,
    /// GEOSEARCHSTORE.
    SearchStore,
}

/// From where a search starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Middle<'a> {
    Place(Point),
    Member(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    None,
    Ascending,
    Descending,
}

/// A search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) middle: Middle<'a>,
    pub(super) shape: Shape,
    /// Meters of the unit in which distances are told.
    pub(super) unit: f64,
    pub(super) order: Order,
    /// At most so many members; 0 is all.
    pub(super) count: usize,
    /// Whether the first ones found are good enough.
    pub(super) any: bool,
    pub(super) with_distance: bool,
    pub(super) with_hash: bool,
    pub(super) with_place: bool,
    /// The index of the key that the result is stored at.
    pub(super) store_at: Option<usize>,
    /// Whether distances are stored as scores, and not cells.
    pub(super) store_distances: bool,
}

/// A length of a radius or a box's side; `word` names it in the error.
fn length(text: &[u8], word: &str) -> Result<f64, CommandError> {
    parse_double(text).ok_or_else(|| CommandError::Text(format!("ERR need numeric {word}").into()))
}

fn circle(radius: &[u8], unit: &[u8]) -> Result<(Shape, f64), CommandError> {
    let radius = length(radius, "radius")?;
    if radius < 0.0 {
        return Err(CommandError::text("ERR radius cannot be negative"));
    }
    let unit = meters(unit)?;
    Ok((Shape::Circle { radius: radius * unit }, unit))
}

fn rectangle(width: &[u8], height: &[u8], unit: &[u8]) -> Result<(Shape, f64), CommandError> {
    let (width, height) = (length(width, "width")?, length(height, "height")?);
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::text("ERR height or width cannot be negative"));
    }
    let unit = meters(unit)?;
    Ok((Shape::Box { width: width * unit, height: height * unit }, unit))
}

/// A search of which not everything is known yet.
#[derive(Default)]
struct Draft<'a> {
    middle: Option<Middle<'a>>,
    shape: Option<(Shape, f64)>,
}

impl<'a> Query<'a> {
    /// Reads a request of that kind.
    pub(super) fn parse(args: Args<'a>, kind: Kind) -> Result<Query<'a>, CommandError> {
        let mut draft = Draft::default();
        let options_at = match kind {
            Kind::Radius { .. } => {
                draft.middle = Some(Middle::Place(place(args.at(2), args.at(3))?));
                draft.shape = Some(circle(args.at(4), args.at(5))?);
                6
            }
            Kind::RadiusByMember { .. } => {
                draft.middle = Some(Middle::Member(args.at(2)));
                draft.shape = Some(circle(args.at(3), args.at(4))?);
                5
            }
            Kind::Search => 2,
            Kind::SearchStore => 3,
        };
        let mut query = Query {
            middle: Middle::Member(b""),
            shape: Shape::Circle { radius: 0.0 },
            unit: 1.0,
            order: Order::None,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_place: false,
            store_at: (kind == Kind::SearchStore).then_some(1),
            store_distances: false,
        };
        let mut at = options_at;
        while at < args.len() {
            at += query.option(args, at, kind, &mut draft)?;
        }
        query.check(args, kind, draft)?;
        if query.count > 0 && query.order == Order::None && !query.any {
            query.order = Order::Ascending;
        }
        Ok(query)
    }

    /// Takes over the option at `at`: how many arguments it has.
    fn option(&mut self, args: Args<'a>, at: usize, kind: Kind, draft: &mut Draft<'a>) -> Result<usize, CommandError> {
        let left = args.len() - at - 1;
        let searches = matches!(kind, Kind::Search | Kind::SearchStore);
        let may_store = matches!(kind, Kind::Radius { may_store: true } | Kind::RadiusByMember { may_store: true });
        let is = |word: &str| args.is(at, word);
        if is("WITHDIST") {
            self.with_distance = true;
        } else if is("WITHHASH") {
            self.with_hash = true;
        } else if is("WITHCOORD") {
            self.with_place = true;
        } else if is("ANY") {
            self.any = true;
        } else if is("ASC") {
            self.order = Order::Ascending;
        } else if is("DESC") {
            self.order = Order::Descending;
        } else if is("STOREDIST") && kind == Kind::SearchStore {
            self.store_distances = true;
        } else if is("COUNT") && left >= 1 {
            const COUNT: CommandError = CommandError::text("ERR COUNT must be > 0");
            self.count = usize::try_from(args.int(at + 1)?).ok().filter(|&count| count > 0).ok_or(COUNT)?;
            return Ok(2);
        } else if may_store && left >= 1 && (is("STORE") || is("STOREDIST")) {
            self.store_at = Some(at + 1);
            self.store_distances = is("STOREDIST");
            return Ok(2);
        } else if searches && left >= 1 && is("FROMMEMBER") && draft.middle.is_none() {
            draft.middle = Some(Middle::Member(args.at(at + 1)));
            return Ok(2);
        } else if searches && left >= 2 && is("FROMLONLAT") && draft.middle.is_none() {
            draft.middle = Some(Middle::Place(place(args.at(at + 1), args.at(at + 2))?));
            return Ok(3);
        } else if searches && left >= 2 && is("BYRADIUS") && draft.shape.is_none() {
            draft.shape = Some(circle(args.at(at + 1), args.at(at + 2))?);
            return Ok(3);
        } else if searches && left >= 3 && is("BYBOX") && draft.shape.is_none() {
            draft.shape = Some(rectangle(args.at(at + 1), args.at(at + 2), args.at(at + 3))?);
            return Ok(4);
        } else {
            return Err(CommandError::Syntax);
        }
        Ok(1)
    }

    /// Whether everything is there, and goes together.
    fn check(&mut self, args: Args<'_>, kind: Kind, draft: Draft<'a>) -> Result<(), CommandError> {
        let name = String::from_utf8_lossy(args.at(0));
        if self.store_at.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            let name = if kind == Kind::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            let text = format!("ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
            return Err(CommandError::Text(text.into()));
        }
        let missing = |what: &str| CommandError::Text(format!("ERR exactly one of {what} for {name}").into());
        self.middle = draft.middle.ok_or_else(|| missing("FROMMEMBER or FROMLONLAT can be specified"))?;
        (self.shape, self.unit) = draft.shape.ok_or_else(|| missing("BYRADIUS and BYBOX can be specified"))?;
        if self.any && self.count == 0 {
            return Err(CommandError::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }
}

/// Answers a distance, as a text with four digits behind the point.
pub(super) fn answer_distance(reply: &mut ReplyWriter<'_>, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

/// Answers longitude and latitude.
pub(super) fn answer_point(reply: &mut ReplyWriter<'_>, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        reply.double_from(|out| write_double_fixed(out, degrees));
    }
}
