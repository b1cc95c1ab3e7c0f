//! The little of Markdown that the tools need: headings, their anchors, and links, outside of code.

/// The anchor that forges give to a heading: lower case, hyphens for spaces, most punctuation dropped.
pub(crate) fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

/// The anchors of a page; a repeated heading has a number after it.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let Some(heading) = line.strip_prefix('#') else { continue };
        let base = anchor(heading.trim_start_matches('#'));
        let twins = found.iter().filter(|known| **known == base).count();
        found.push(if twins == 0 { base } else { format!("{base}-{twins}") });
    }
    found
}

/// Targets of links and images with their line's number, from 1.
pub(crate) fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // A definition, `[label]: target`, stands alone on its line.
        if let Some((_, target)) = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            found.push((number, target.split_whitespace().next().unwrap_or_default()));
        }
        let mut spans = line.split('`');
        // Every second piece is code.
        while let Some(span) = spans.next() {
            let targets = span.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| (number, target.split_whitespace().next().unwrap_or_default())));
            spans.next();
        }
    }
    found
}

/// The lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_forges() {
        assert_eq!(anchor(" How `SCAN` walks, and why "), "how-scan-walks-and-why");
        assert_eq!(anchors("# A b\n```\n# code\n```\n## A b\n"), ["a-b", "a-b-1"]);
    }

    #[test]
    fn links_are_found_outside_of_code_only() {
        let text = "See [a](x.md) and ![b](y.png \"title\").\n```\n[no](code.md)\n```\n`[no](code.md)` [c](#here)\n[d]: z.md\n";
        assert_eq!(links(text), [(1, "x.md"), (1, "y.png"), (5, "#here"), (6, "z.md")]);
    }
}
