// The parts that are read: problems, nodes, timeline, what is being done, one node, and the story of a failover.

import { by, bytes, clock, h, number, role, show, span, tone } from "./dom.js";

const SHOWN = 5;

export function problems(state, all, toggle) {
  const list = all ? state.problems : state.problems.slice(0, SHOWN);
  const parent = by("problems");
  parent.hidden = !state.problems.length;
  const rest = state.problems.length - SHOWN;
  show(parent, [list, all, rest], list.map((problem) => h("div", { class: "problem" },
    h("span", { class: `tag ${problem.verdict}` }, problem.verdict),
    h("span", { class: "where" }, problem.node ?? "everywhere"),
    h("span", { class: "what" }, problem.text))),
    rest > 0 && h("div", { class: "problem more" }, h("button", { class: "link-button", type: "button", onclick: toggle }, all ? "Show fewer" : `Show ${rest} more`)));
}

export function jobs(state) {
  const parent = by("jobs");
  parent.hidden = !state.jobs.length;
  show(parent, state.jobs, state.jobs.toReversed().map((job) => {
    const share = job.part[1] ? job.part[0] / job.part[1] : 0;
    const step = job.steps[Math.min(job.done, job.steps.length - 1)];
    const count = job.part[1] ? `: ${number(job.part[0])} of ${number(job.part[1])}` : "";
    const words = { running: `${step}${count}${job.note ? `, ${job.note}` : ""}`, done: "Done.", failed: `Stopped: ${job.error}` };
    return h("div", { class: `job ${job.state}`, "data-job": job.job, "data-state": job.state },
      h("h3", {}, job.title, h("span", {}, `step ${Math.min(job.done + 1, job.steps.length)} of ${job.steps.length}`)),
      h("progress", { max: job.steps.length, value: job.state === "done" ? job.steps.length : job.done + share, "aria-label": job.title }),
      h("p", { class: "said" }, words[job.state]));
  }));
}

const COLUMNS = [
  { name: "Node", of: (node) => node.address, cell: (node) => h("span", { class: "name", title: node.address }, node.address) },
  { name: "State", of: (node) => tone(node), cell: (node) => h("span", { class: "state" }, { up: "up", down: "down", warning: "impaired", unknown: "unknown" }[tone(node)]) },
  { name: "Role", of: (node) => role(node), cell: (node) => role(node) },
  { name: "Program", optional: true, of: (node) => `${node.make} ${node.version}`, cell: (node) => (node.make ? `${node.make} ${node.version}` : "–") },
  { name: "Follows", optional: true, of: (node) => node.of ?? "", cell: (node) => h("span", { class: "name" }, node.of ?? "–") },
  { name: "Ops/s", number: true, of: (node) => node.load?.ops ?? -1, cell: (node) => (node.load && node.role !== "sentinel" ? number(node.load.ops) : "–") },
  { name: "Behind", number: true, of: (node) => node.lag_bytes ?? -1, cell: (node) => bytes(node.lag_bytes) },
  { name: "Keys", number: true, of: (node) => node.load?.keys ?? -1, cell: (node) => (node.load && node.role !== "sentinel" ? number(node.load.keys) : "–") },
  { name: "Memory", number: true, of: (node) => node.load?.memory ?? -1, cell: (node) => (node.load?.memory ? bytes(node.load.memory) : "–") },
  { name: "Clients", number: true, optional: true, of: (node) => node.load?.clients ?? -1, cell: (node) => (node.load ? number(node.load.clients) : "–") },
  { name: "Slots", number: true, optional: true, of: (node) => node.cluster?.slots ?? -1, cell: (node) => (node.cluster?.slots ? number(node.cluster.slots) : "–") },
];

export const order = { column: 0, down: false };

export function sorted(state, filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (node) => `${node.address} ${role(node)} ${tone(node)} ${node.make ?? ""} ${node.version ?? ""} ${node.of ?? ""}`.toLowerCase();
  const nodes = state.nodes.filter((node) => words.every((word) => text(node).includes(word)));
  const of = COLUMNS[order.column].of;
  const sign = order.down ? -1 : 1;
  return nodes.sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    const less = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return sign * less || a.address.localeCompare(b.address, "en", { numeric: true });
  });
}

export function table(state, filter, chosen, choose, redraw) {
  const nodes = sorted(state, filter);
  const parent = by("table");
  if (!parent.tHead) {
    parent.append(h("caption", { class: "hidden" }, "All nodes"), h("thead", {}, h("tr", {}, COLUMNS.map((column, index) => h("th", {
      scope: "col", class: `${column.number ? "number" : ""} ${column.optional ? "optional" : ""}`,
    }, h("button", {
      type: "button",
      onclick: () => {
        if (order.column === index) order.down = !order.down;
        else Object.assign(order, { column: index, down: Boolean(column.number) });
        redraw();
      },
    }, column.name))))), h("tbody"));
  }
  [...parent.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
  const body = parent.tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.address, row]));
  const wanted = nodes.map((node) => {
    let row = rows.get(node.address);
    if (!row) {
      row = h("tr", {
        "data-address": node.address, tabindex: "-1", onclick: () => choose(node.address),
        onkeydown: (event) => event.key === "Enter" && choose(node.address),
      }, COLUMNS.map((column) => h("td", { class: `${column.number ? "number" : ""} ${column.optional ? "optional" : ""}` })));
    }
    row.className = `${tone(node)} ${chosen === node.address ? "chosen" : ""}`;
    COLUMNS.forEach((column, index) => show(row.cells[index], String(column.of(node)), () => column.cell(node)));
    return row;
  });
  if (wanted.length !== body.rows.length || wanted.some((row, index) => body.rows[index] !== row)) body.replaceChildren(...wanted);
  if (wanted.length && !wanted.some((row) => row.tabIndex === 0)) wanted[0].tabIndex = 0;
}

// Events that say the same within a moment are one line.
function folded(events) {
  const lines = [];
  for (const event of events) {
    const last = lines.at(-1);
    if (last && last.text === event.text && event.at - last.at < 5000 && event.kind !== "promoted") last.count += 1;
    else lines.push({ ...event, count: 1 });
  }
  return lines.reverse();
}

export function timeline(state, short, open, choose) {
  const lines = folded(state.events);
  const stories = new Map(state.stories.map((story) => [story.number, story]));
  by("timeline-note").textContent = lines.length ? `${lines.length} events` : "";
  show(by("timeline"), [lines.map((line) => [line.number, line.count]), state.stories.map((story) => [story.number, story.steps.length])], lines.length ? lines.map((line) => {
    const story = stories.get(line.number);
    const who = line.node && h("button", { class: "link-button who", type: "button", onclick: () => choose(line.node) }, short(line.node));
    const what = story
      ? h("div", { class: "what" }, h("span", { class: "summary" }, story.summary), h("button", { class: "link-button explain", type: "button", onclick: () => open(story.number) }, "How it came about"))
      : h("div", { class: "what" }, who, " ", line.text, line.count > 1 && h("span", { class: "count" }, `  ×${line.count}`));
    return h("li", { class: `event ${line.tone} ${story ? "story" : ""}`, "data-kind": line.kind },
      h("time", { datetime: new Date(line.at).toISOString() }, clock(line.at)), h("span", { class: "bead", "aria-hidden": "true" }), what);
  }) : h("li", { class: "empty" }, "Nothing has happened since this page is served."));
}

export function drawer(node, state, act, close) {
  const parent = by("drawer");
  parent.hidden = !node;
  if (!node) return;
  const facts = [];
  const fact = (name, value) => value !== null && value !== undefined && value !== "" && facts.push([name, value]);
  fact("Program", node.make && `${node.make} ${node.version}`);
  fact("Running for", node.uptime && span(node.uptime));
  if (node.load && node.role !== "sentinel") {
    fact("Commands a second", number(node.load.ops));
    fact("In, out", `${bytes(node.load.input)}/s, ${bytes(node.load.output)}/s`);
    fact("Keys", number(node.load.keys));
    fact("Memory", bytes(node.load.memory) + (node.load.max_memory ? ` of ${bytes(node.load.max_memory)}` : ""));
    const asked = node.load.hits + node.load.misses;
    fact("Hits", asked ? `${((100 * node.load.hits) / asked).toFixed(1)} %` : null);
    fact("Evicted", node.load.evicted ? number(node.load.evicted) : null);
    fact("Offset", number(node.offset));
  }
  fact("Clients", node.load && `${number(node.load.clients)}${node.load.blocked ? `, ${number(node.load.blocked)} blocked` : ""}`);
  fact("Follows", node.of);
  fact("Behind", node.lag_bytes !== null && node.lag_bytes !== undefined ? `${bytes(node.lag_bytes)}, heard ${node.lag_seconds} s ago` : null);
  if (node.cluster) {
    fact("Node id", node.cluster.id);
    fact("Slots", number(node.cluster.slots ?? 0));
    fact("Epoch", `${node.cluster.config_epoch} of ${node.cluster.epoch}`);
    fact("Slots on their way", node.cluster.moving.length ? number(node.cluster.moving.length) : null);
  }
  const state_ = node.state === "down" ? h("p", { class: "bad" }, `${node.fault}, since ${clock(node.since)}`) : null;
  show(parent, [node, state.actions, state.now - (state.now % 1000)],
    h("header", {}, h("div", {}, h("h2", {}, node.address), h("p", { class: "what" }, node.role ? `${node.role}${node.part === "cluster node" ? " in a cluster" : ""}` : "nothing is known of it"), state_),
      h("button", { class: "button ghost", type: "button", "aria-label": "Close", onclick: close }, "✕")),
    node.complaints?.length ? h("p", { class: "bad" }, node.complaints.join("; ")) : null,
    facts.length ? h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])) : null,
    (node.watched ?? []).map((watched) => h("section", {},
      h("h3", {}, watched.name),
      h("dl", { class: "facts" }, h("dt", {}, "Names"), h("dd", { class: "mono" }, watched.primary), h("dt", {}, "Finds it"), h("dd", {}, watched.flags.filter((flag) => flag !== "master").join(", ") || "well"),
        h("dt", {}, "Quorum"), h("dd", {}, watched.quorum), h("dt", {}, "Configuration epoch"), h("dd", {}, watched.epoch)),
      watched.refusal ? h("p", { class: "bad" }, watched.refusal) : null,
      watched.explanation.length ? h("details", {}, h("summary", {}, "How its last failover came about"), h("pre", { tabindex: "0" }, watched.explanation.join("\n"))) : null)),
    state.actions ? h("div", { class: "row" }, act(node)) : null);
}

const TURNS = ["+odown", "+elected-leader", "+promoted-slave", "+switch-master", "has become a primary", "found failed", "does not answer"];

export function story(story, explanations, short) {
  const start = story.steps[0]?.at ?? story.at;
  return [
    h("h2", { id: "dialog-title" }, "How the failover came about"),
    h("p", { class: "lead" }, story.summary),
    h("ol", { class: "steps", tabindex: "0", "aria-label": "Steps" }, story.steps.map((step) => h("li", { class: TURNS.some((turn) => step.text.includes(turn)) ? "turn" : "" },
      h("span", { class: "when" }, `+${((step.at - start) / 1000).toFixed(3)} s`),
      h("span", { class: "what" }, step.node ? h("span", { class: "who" }, `${short(step.node)}  `) : null, step.text)))),
    explanations.map(([address, lines]) => h("details", {}, h("summary", {}, `What the Sentinel ${short(address)} says`), h("pre", { tabindex: "0", class: "mono" }, lines.join("\n")))),
  ];
}
