//! GEOADD, GEOPOS, GEOHASH and GEODIST: places put into sorted sets, and looked at.

use quorate_values::ZSet;

use super::earth::Point;
use super::{GEO, meters, place};
use crate::exec::as_zset;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Keys, Outcome, Run, Spec, sorted_set};

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
pub(crate) static GEOADD: Spec = Spec {
    name: "geoadd",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::UPDATE)],
    complexity: "O(log(N)) for each place, for N members of the sorted set",
    summary: "Adds places to a sorted set or moves them; makes the key if it is not there.",
    run: Run::Data(geoadd),
    ..GEO
};

/// GEODIST key member1 member2 [M | KM | FT | MI]
pub(crate) static GEODIST: Spec = Spec {
    name: "geodist",
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    complexity: "O(1)",
    summary: "Returns the distance between two members of a sorted set.",
    run: Run::Data(geodist),
    ..GEO
};

/// GEOHASH key [member ...]
pub(crate) static GEOHASH: Spec = Spec {
    name: "geohash",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    complexity: "O(1) for each member",
    summary: "Returns the places of members as geohashes.",
    run: Run::Data(|cx, args| {
        answer_places(cx, args, |cx, point| cx.reply.bulk(&point.geohash()), |cx| cx.reply.null())
    }),
    ..GEO
};

/// GEOPOS key [member ...]
pub(crate) static GEOPOS: Spec = Spec {
    name: "geopos",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    complexity: "O(1) for each member",
    summary: "Returns the places of members as longitude and latitude.",
    run: Run::Data(|cx, args| {
        answer_places(
            cx,
            args,
            |cx, point| super::query::answer_point(&mut cx.reply, point),
            |cx| cx.reply.null_array(),
        )
    }),
    ..GEO
};

fn geoadd(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (mut nx, mut xx) = (false, false);
    let mut first = 2;
    while first < args.len() {
        match args.at(first) {
            word if word.eq_ignore_ascii_case(b"NX") => nx = true,
            word if word.eq_ignore_ascii_case(b"XX") => xx = true,
            word if word.eq_ignore_ascii_case(b"CH") => {}
            _ => break,
        }
        first += 1;
    }
    let places = args.from(first);
    if !places.len().is_multiple_of(3) || nx && xx {
        return Err(CommandError::Syntax);
    }
    // It is a ZADD from here on, for replicas too.
    let mut scores = Vec::with_capacity(places.len() / 3);
    for triple in places.chunks_exact(3) {
        scores.push(place(triple[0], triple[1])?.cell().to_string());
    }
    let mut words: Vec<&[u8]> = vec![b"ZADD"];
    words.extend_from_slice(&args.words()[1..first]);
    for (score, triple) in scores.iter().zip(places.chunks_exact(3)) {
        words.extend([score.as_bytes(), triple[2]]);
    }
    sorted_set::write::zadd(cx, Args::new(&words))?;
    if cx.effects.is_verbatim() {
        cx.propagate(&words);
    }
    Ok(())
}

/// The place of a member.
pub(super) fn position(zset: &ZSet, member: &[u8]) -> Option<Point> {
    zset.score(member).map(|score| Point::of_cell(score as u64))
}

fn answer_places(
    cx: &mut Exec<'_, '_>,
    args: Args<'_>,
    answer: fn(&mut Exec<'_, '_>, Point),
    answer_none: fn(&mut Exec<'_, '_>),
) -> Outcome {
    let zset = cx.zset(args.at(1))?;
    let points: Vec<Option<Point>> =
        args.from(2).iter().map(|member| zset.and_then(|zset| position(zset, member))).collect();
    cx.reply.array(points.len());
    for point in points {
        match point {
            Some(point) => answer(cx, point),
            None => answer_none(cx),
        }
    }
    Ok(())
}

fn geodist(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let unit = match args.len() {
        4 => 1.0,
        5 => meters(args.at(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let zset = as_zset(cx.keys.read(cx.db, args.at(1)))?;
    let point = |index: usize| zset.and_then(|zset| position(zset, args.at(index)));
    match (point(2), point(3)) {
        (Some(from), Some(to)) => super::query::answer_distance(&mut cx.reply, from.distance(to) / unit),
        _ => cx.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::testing::Bench;

    #[test]
    fn places_are_scores_and_come_back() {
        let mut bench = Bench::new();
        bench.check("GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "2").notifies("zadd s");
        bench.propagates("ZADD s 3479099956230698 Palermo 3479447370796909 Catania");
        bench.check("GEOADD s CH XX 13.361389 38.2 Palermo", "1").propagates("ZADD s CH XX 3479101030759983 Palermo");
        bench.check("GEOADD s NX 13.361389 38.115556 Palermo", "0").propagates("");
        bench.check("GEOADD s 13.361389 38.115556 Palermo", "0");
        bench.script(
            "ZSCORE s Palermo => 3479099956230698
             GEODIST s Palermo Catania => 166274.1516
             GEODIST s Palermo Catania KM => 166.2742
             GEODIST s Palermo Catania mi => 103.3182
             GEODIST s Palermo none => nil
             GEODIST none Palermo Catania => nil
             GEODIST s Palermo Catania lines => ERR unsupported unit provided. please use M, KM, FT, MI
             GEODIST s Palermo Catania m m => ERR syntax error
             GEOHASH s Palermo none Catania => [sqc8b49rny0 nil sqdtr74hyu0]
             GEOHASH none Palermo => [nil]
             GEOHASH s => []
             GEOPOS s Palermo none => [[13.36138933897018433 38.11555639549629859] nil]
             GEOPOS none Palermo => [nil]
             GEOADD s 200 10 x => ERR invalid longitude,latitude pair 200.000000,10.000000
             GEOADD s x 10 x => ERR value is not a valid float
             GEOADD s NX XX 1 1 x => ERR syntax error
             GEOADD s 1 1 x 1 => ERR syntax error
             SET str v => OK
             GEOADD str 1 1 x => WRONGTYPE Operation against a key holding the wrong kind of value
             GEOPOS str x => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        bench.protocol = Protocol::Resp3;
        bench.check("GEOPOS s Palermo", "[[Double(13.361389338970184) Double(38.1155563954963)]]");
    }
}
