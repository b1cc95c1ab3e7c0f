//! GEOSEARCH, GEOSEARCHSTORE and the GEORADIUS family: the members around a place, answered or stored.

use quorate_values::{ScoreBound, ScoreRange, Value, ZSet};

use super::GEO;
use super::earth::Point;
use super::look::position;
use super::query::{Kind, Middle, Order, Query, answer_distance, answer_point};
use crate::exec::as_zset;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

const WRITES: Flags = Flags::WRITE.and(Flags::DENY_OOM);
const COST: &str = "O(N+log(M)) for N members in the cells around the shape and M members of the sorted set";

/// GEORADIUS key longitude latitude radius unit [options] [STORE key | STOREDIST key]
pub(crate) static GEORADIUS: Spec = Spec {
    name: "georadius",
    deprecated: Some(("6.2.0", "GEOSEARCH and GEOSEARCHSTORE with BYRADIUS")),
    arity: Arity::AtLeast(6),
    flags: WRITES,
    keys: &[
        (Keys::At(1), Access::READ),
        (Keys::After { word: "STORE", from: 6, many: false }, Access::OVERWRITE),
        (Keys::After { word: "STOREDIST", from: 6, many: false }, Access::OVERWRITE),
    ],
    complexity: COST,
    summary: "Finds the members within a radius around a place, and may store them.",
    run: Run::Data(|cx, args| search(cx, args, Kind::Radius { may_store: true }, &GEORADIUS)),
    ..GEO
};

/// GEORADIUSBYMEMBER key member radius unit [options] [STORE key | STOREDIST key]
pub(crate) static GEORADIUSBYMEMBER: Spec = Spec {
    name: "georadiusbymember",
    deprecated: Some(("6.2.0", "GEOSEARCH and GEOSEARCHSTORE with BYRADIUS and FROMMEMBER")),
    arity: Arity::AtLeast(5),
    flags: WRITES,
    keys: &[
        (Keys::At(1), Access::READ),
        (Keys::After { word: "STORE", from: 5, many: false }, Access::OVERWRITE),
        (Keys::After { word: "STOREDIST", from: 5, many: false }, Access::OVERWRITE),
    ],
    complexity: COST,
    summary: "Finds the members within a radius around one of them, and may store them.",
    run: Run::Data(|cx, args| search(cx, args, Kind::RadiusByMember { may_store: true }, &GEORADIUSBYMEMBER)),
    ..GEO
};

/// GEORADIUSBYMEMBER_RO key member radius unit [options]
pub(crate) static GEORADIUSBYMEMBER_RO: Spec = Spec {
    name: "georadiusbymember_ro",
    deprecated: Some(("6.2.0", "GEOSEARCH with BYRADIUS and FROMMEMBER")),
    arity: Arity::AtLeast(5),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    since: "3.2.10",
    complexity: COST,
    summary: "Finds the members within a radius around one of them.",
    run: Run::Data(|cx, args| search(cx, args, Kind::RadiusByMember { may_store: false }, &GEORADIUSBYMEMBER_RO)),
    ..GEO
};

/// GEORADIUS_RO key longitude latitude radius unit [options]
pub(crate) static GEORADIUS_RO: Spec = Spec {
    name: "georadius_ro",
    deprecated: Some(("6.2.0", "GEOSEARCH with BYRADIUS")),
    arity: Arity::AtLeast(6),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    since: "3.2.10",
    complexity: COST,
    summary: "Finds the members within a radius around a place.",
    run: Run::Data(|cx, args| search(cx, args, Kind::Radius { may_store: false }, &GEORADIUS_RO)),
    ..GEO
};

/// GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width height unit
/// [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]
pub(crate) static GEOSEARCH: Spec = Spec {
    name: "geosearch",
    arity: Arity::AtLeast(7),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    since: "6.2.0",
    complexity: COST,
    summary: "Finds the members within a circle or a box.",
    run: Run::Data(|cx, args| search(cx, args, Kind::Search, &GEOSEARCH)),
    ..GEO
};

/// GEOSEARCHSTORE destination key [as GEOSEARCH, but nothing WITH] [STOREDIST]
pub(crate) static GEOSEARCHSTORE: Spec = Spec {
    name: "geosearchstore",
    arity: Arity::AtLeast(8),
    flags: WRITES,
    keys: &[(Keys::At(1), Access::OVERWRITE), (Keys::At(2), Access::READ)],
    since: "6.2.0",
    complexity: COST,
    summary: "Stores the members within a circle or a box.",
    run: Run::Data(|cx, args| search(cx, args, Kind::SearchStore, &GEOSEARCHSTORE)),
    ..GEO
};

/// A member that was found.
struct Hit {
    member: Vec<u8>,
    score: f64,
    point: Point,
    /// In the unit of the search.
    distance: f64,
}

fn search(cx: &mut Exec<'_, '_>, args: Args<'_>, kind: Kind, spec: &Spec) -> Outcome {
    let source = if kind == Kind::SearchStore { args.at(2) } else { args.at(1) };
    as_zset(cx.keys.read(cx.db, source))?;
    let query = Query::parse(args, kind)?;
    // Of options that come twice, key specifications know the first only; nothing else may be written to.
    if query.store_at.is_some_and(|at| !spec.key_indices(args).contains(&at)) {
        return Err(CommandError::Syntax);
    }
    let hits = match as_zset(cx.keys.peek(cx.db, source))? {
        Some(zset) => find(zset, &query)?,
        None => Vec::new(),
    };
    match query.store_at {
        Some(at) => {
            let event = if kind == Kind::SearchStore { "geosearchstore" } else { "georadiusstore" };
            store(cx, args.at(at), hits, query.store_distances, event);
        }
        None => answer(cx, &query, &hits),
    }
    Ok(())
}

fn find(zset: &ZSet, query: &Query<'_>) -> Result<Vec<Hit>, CommandError> {
    let middle = match query.middle {
        Middle::Place(point) => point,
        Middle::Member(member) => {
            position(zset, member).ok_or(CommandError::text("ERR could not decode requested zset member"))?
        }
    };
    let enough = if query.any { query.count } else { usize::MAX };
    let mut hits = Vec::new();
    let mut before = None;
    for cell in query.shape.cells(middle) {
        // Around a large shape, neighbours on both sides may be one cell.
        if before.replace(cell) == Some(cell) {
            continue;
        }
        let (first, behind) = cell.scores();
        let range = ScoreRange { min: ScoreBound::Included(first), max: ScoreBound::Excluded(behind) };
        for (member, score) in zset.range(zset.ranks_by_score(&range)) {
            if hits.len() >= enough {
                break;
            }
            let point = Point::of_cell(score as u64);
            if let Some(distance) = query.shape.distance(middle, point) {
                hits.push(Hit { member: member.to_vec(), score, point, distance: distance / query.unit });
            }
        }
    }
    match query.order {
        Order::None => {}
        Order::Ascending => hits.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Order::Descending => hits.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    if query.count > 0 {
        hits.truncate(query.count);
    }
    Ok(hits)
}

fn answer(cx: &mut Exec<'_, '_>, query: &Query<'_>, hits: &[Hit]) {
    let extras = [query.with_distance, query.with_hash, query.with_place].into_iter().filter(|on| *on).count();
    let reply = &mut cx.reply;
    reply.array(hits.len());
    for hit in hits {
        if extras > 0 {
            reply.array(1 + extras);
        }
        reply.bulk(&hit.member);
        if query.with_distance {
            answer_distance(reply, hit.distance);
        }
        if query.with_hash {
            reply.int(hit.score as i64);
        }
        if query.with_place {
            answer_point(reply, hit.point);
        }
    }
}

fn store(cx: &mut Exec<'_, '_>, key: &[u8], hits: Vec<Hit>, distances: bool, event: &'static str) {
    let count = hits.len();
    let members = hits.into_iter().map(|hit| (hit.member, if distances { hit.distance } else { hit.score })).collect();
    match ZSet::from_members(members, &cx.settings.limits).filter(|zset| !zset.is_empty()) {
        Some(zset) => {
            cx.keys.settle(cx.db, key);
            cx.keys.insert_value(cx.db, key, Value::ZSet(Box::new(zset)));
            cx.changed(count);
            cx.notify(Class::ZSET, event, key);
        }
        None => {
            if cx.remove(key, cx.keys.scope().lazy.server_del) {
                cx.changed(1);
                cx.notify(Class::GENERIC, "del", key);
            }
        }
    }
    cx.reply.count(count);
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    fn sicily() -> Bench {
        let mut bench = Bench::new();
        bench.check("GEOADD {s} 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "2");
        bench.check("GEOADD {s} 12.758489 38.788135 edge1 17.241510 38.788135 edge2", "2");
        bench
    }

    #[test]
    fn members_are_found_in_circles_and_boxes() {
        sicily().script(
            "GEORADIUS {s} 15 37 200 km ASC => [Catania Palermo]
             GEORADIUS {s} 15 37 200 km WITHDIST WITHHASH COUNT 1 => [[Catania 56.4413 3479447370796909]]
             GEORADIUS_RO {s} 15 37 200 km DESC COUNT 1 => [Palermo]
             GEORADIUSBYMEMBER {s} Palermo 200 km => ~[Palermo Catania edge1]
             GEORADIUSBYMEMBER_RO {s} Palermo 1 m => [Palermo]
             GEORADIUSBYMEMBER {s} none 1 m => ERR could not decode requested zset member
             GEORADIUSBYMEMBER none x 1 m => []
             GEOSEARCH {s} FROMLONLAT 15 37 BYBOX 400 400 km ASC => [Catania Palermo edge2 edge1]
             GEOSEARCH {s} FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHCOORD COUNT 1 => [[Catania [15.08726745843887329 37.50266842333162032]]]
             GEOSEARCH {s} FROMMEMBER Palermo BYBOX 2 2 m => [Palermo]
             GEOSEARCH none FROMMEMBER Palermo BYBOX 2 2 m => []
             GEOSEARCH {s} FROMLONLAT 15 37 BYRADIUS 1000 km COUNT 2 ANY ASC => ~[edge1 Palermo]
             SET str v => OK
             GEOSEARCH str FROMMEMBER Palermo BYBOX 2 2 m => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        sicily().script(
            "GEORADIUS {s} 15 37 x km => ERR need numeric radius
             GEORADIUS {s} 15 37 -1 km => ERR radius cannot be negative
             GEORADIUS {s} 15 37 1 feet => ERR unsupported unit provided. please use M, KM, FT, MI
             GEORADIUS {s} 15 97 1 m => ERR invalid longitude,latitude pair 15.000000,97.000000
             GEORADIUS {s} 15 37 1 m COUNT 0 => ERR COUNT must be > 0
             GEORADIUS {s} 15 37 1 m ANY => ERR the ANY argument requires COUNT argument
             GEORADIUS {s} 15 37 1 m STORE {s}a STORE {s}b => ERR syntax error
             GEORADIUS {s} 15 37 1 m STORE STOREDIST STOREDIST {s}b => ERR syntax error
             GEORADIUS_RO {s} 15 37 1 m STORE {s}d => ERR syntax error
             GEOSEARCH {s} FROMLONLAT 15 37 FROMMEMBER a BYRADIUS 1 m => ERR syntax error
             GEOSEARCH {s} BYRADIUS 1 m COUNT 1 => ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH
             GEOSEARCH {s} FROMLONLAT 15 37 ASC COUNT 2 => ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH
             GEOSEARCH {s} FROMLONLAT 15 37 BYBOX x 1 m => ERR need numeric width
             GEOSEARCH {s} FROMLONLAT 15 37 BYBOX 1 x m => ERR need numeric height
             GEOSEARCH {s} FROMLONLAT 15 37 BYBOX 1 -1 m => ERR height or width cannot be negative
             GEOSEARCH {s} FROMLONLAT 15 37 BYRADIUS 1 m STOREDIST => ERR syntax error",
        );
    }

    #[test]
    fn what_is_stored_is_members_and_nothing_else() {
        let refusal =
            |name: &str| format!("ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
        sicily()
            .check("GEORADIUS {s} 15 37 1 m WITHDIST STORE {s}d", &refusal("STORE option in GEORADIUS"))
            .check("GEOSEARCHSTORE {s}d {s} FROMLONLAT 15 37 BYRADIUS 1 m WITHDIST", &refusal("GEOSEARCHSTORE"));
    }

    #[test]
    fn what_is_found_may_be_stored() {
        let mut bench = sicily();
        bench.check("GEORADIUS {s} 15 37 200 km STORE {s}d", "2").propagates("GEORADIUS {s} 15 37 200 km STORE {s}d");
        bench.notifies("georadiusstore {s}d").check("ZRANGE {s}d 0 -1", "[Palermo Catania]");
        bench.check("GEOSEARCHSTORE {s}d {s} FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST", "2");
        bench.notifies("geosearchstore {s}d").check("ZSCORE {s}d Catania", "56.4412578701582");
        bench.check("GEOSEARCHSTORE {s}d {s} FROMLONLAT 0 0 BYRADIUS 1 m", "0").notifies("del {s}d");
        bench.propagates("GEOSEARCHSTORE {s}d {s} FROMLONLAT 0 0 BYRADIUS 1 m").check("EXISTS {s}d", "0");
        bench.check("GEORADIUS none{s} 0 0 1 m STORE {s}d", "0").propagates("").notifies("");
    }
}
