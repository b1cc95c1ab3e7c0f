//! `quorate lock status`: a table of what each server says.

use std::process::ExitCode;

use quorate_redlock::{NodeView, quorum};

use crate::{NOT_ACQUIRED, Status, UNUSABLE, complain};

/// Prints the table. Succeeds if a majority has the same holder, so that scripts can ask whether there is one.
pub(crate) async fn show(status: &Status) -> ExitCode {
    let redlock = match status.nodes.lock() {
        Ok(redlock) => redlock,
        Err(error) => return complain(UNUSABLE, &error),
    };
    let views = redlock.inspect(&status.resource).await;
    print!("{}", table(&views));
    match holder(&views) {
        Some(token) => {
            println!("{} is held by {token}", status.resource);
            ExitCode::SUCCESS
        }
        None => {
            println!("{} is not held by a majority", status.resource);
            ExitCode::from(NOT_ACQUIRED)
        }
    }
}

fn table(views: &[NodeView]) -> String {
    let mut rows = vec![["server", "holder", "TTL", "counter"].map(str::to_owned)];
    for NodeView { address, view } in views {
        rows.push(match view {
            Ok(view) => {
                let ttl = match (view.ttl, &view.token) {
                    (Some(ttl), _) => format!("{:.3} s", ttl.as_secs_f64()),
                    (None, Some(_)) => "for ever".to_owned(),
                    (None, None) => "-".to_owned(),
                };
                let or_nothing = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                let fence = or_nothing(view.fence.map(|fence| fence.to_string()));
                [address.clone(), or_nothing(view.token.clone()), ttl, fence]
            }
            Err(fault) => [address.clone(), fault.to_string(), String::new(), String::new()],
        });
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [0, 1, 2].map(width);
    let line = |row: &[String; 4]| {
        let [a, b, c, d] = row;
        let [x, y, z] = widths;
        format!("{a:x$}  {b:y$}  {c:z$}  {d}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The token that a majority has.
fn holder(views: &[NodeView]) -> Option<String> {
    let tokens: Vec<&String> = views.iter().filter_map(|node| node.view.as_ref().ok()?.token.as_ref()).collect();
    let is_majority = |token: &&&String| tokens.iter().filter(|other| other == token).count() >= quorum(views.len());
    tokens.iter().find(is_majority).map(|token| (*token).clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_redlock::{Fault, ResourceView};

    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_server() {
        let held = |token: &str| ResourceView {
            token: Some(token.into()),
            ttl: Some(Duration::from_millis(1500)),
            fence: Some(7),
        };
        let views = [Ok(held("t")), Ok(held("t")), Ok(ResourceView::default()), Err(Fault::Silent)];
        let views: Vec<NodeView> =
            views.into_iter().enumerate().map(|(n, view)| NodeView { address: format!("h:{n}"), view }).collect();
        assert_eq!(
            table(&views),
            "server  holder             TTL      counter\nh:0     t                  1.500 s  7\n\
             h:1     t                  1.500 s  7\nh:2     -                  -        -\nh:3     no answer in time\n"
        );
        assert_eq!(holder(&views), None);
        assert_eq!(holder(&views[..3]), Some("t".into()));
    }
}
