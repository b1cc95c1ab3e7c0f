// Pictures of the topology: a tree for each primary, with the Sentinels above it, a ring of slots for a cluster, and a row of servers
// that grant locks together.

import { bytes, number, role, s, shorter, tone, h } from "./dom.js";

// The colours of shards are in the style sheet, .c0 to .c11.
const COLOURS = 12;
const SLOTS = 16384;

const at = (angle, radius) => [radius * Math.sin(angle), -radius * Math.cos(angle)];

export function graphs(state, chosen, choose) {
  const nodes = new Map(state.nodes.map((node) => [node.address, node]));
  const short = shorter(state.nodes);
  const context = { nodes, short, chosen, choose };
  const drawn = [];
  for (const group of state.groups) {
    if (group.kind === "cluster") drawn.push(ring(group, context));
    else if (group.kind === "independent") drawn.push(independent(group, context));
    else drawn.push(tree(group, context));
  }
  const placed = new Set(state.groups.flatMap((group) => group.nodes ?? []));
  const strangers = state.nodes.filter((node) => !node.role && !placed.has(node.address));
  if (strangers.length) drawn.push(row("Not known yet", strangers, context));
  const orphans = state.nodes.filter((node) => node.role === "sentinel" && !node.watched.length);
  if (orphans.length) drawn.push(row("Sentinels that watch nothing", orphans, context));
  return drawn.flat();
}

// What a picture shows, so that it is drawn anew only if that has changed.
export function shape(state, chosen) {
  const nodes = state.nodes.map((node) => [node.address, tone(node), role(node), node.of, node.linked, node.syncing,
    node.cluster?.moving, node.watched?.map((watched) => [watched.name, watched.primary, watched.flags]), node.lag_bytes > 0 ? bytes(node.lag_bytes) : 0]);
  return JSON.stringify([nodes, state.groups, chosen]);
}

function describe(address, node) {
  if (!node) return `${address}: nobody has seen it`;
  const parts = [address, role(node)];
  if (node.make) parts.push(`${node.make} ${node.version}`);
  if (node.state === "down") parts.push(node.fault);
  else if (node.lag_bytes !== null && node.lag_bytes !== undefined) parts.push(`${bytes(node.lag_bytes)} behind`);
  else if (node.load && node.role === "primary") parts.push(`${number(node.load.ops)} commands a second`);
  return parts.join(", ");
}

function mark(address, [x, y], radius, context, labelled = true, anchor = "middle", offset = null, colour = null) {
  const node = context.nodes.get(address);
  const kind = node ? role(node) : "unknown";
  const state = node ? tone(node) : "unknown";
  const body = kind === "sentinel"
    ? s("rect", { class: "body", x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius, rx: radius * 0.3, transform: `rotate(45 ${x} ${y}) ` })
    : s("circle", { class: "body", cx: x, cy: y, r: radius });
  if (colour !== null) body.classList.add(`c${colour}`);
  const arm = radius * 0.38;
  const cross = state === "down" && radius > 5
    ? s("path", { class: "cross", d: `M${x - arm},${y - arm}L${x + arm},${y + arm}M${x + arm},${y - arm}L${x - arm},${y + arm}` })
    : null;
  const [dx, dy] = offset ?? [0, radius + 14];
  return s("g", {
    class: `node ${kind} ${state} ${context.chosen === address ? "chosen" : ""}`,
    role: "button", tabindex: "-1", "data-address": address,
    onclick: () => context.choose(address),
    onkeydown: (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        context.choose(address);
      }
    },
  },
    s("title", {}, describe(address, node)),
    s("circle", { class: "halo", cx: x, cy: y, r: radius + 3.5 }), body, cross,
    labelled ? s("text", { x: x + dx, y: y + dy, "text-anchor": anchor, "aria-hidden": "true" }, context.short(address)) : null);
}

function frame(label, width, height, left, top, children) {
  const svg = s("svg", { class: "graph", viewBox: `${left} ${top} ${width} ${height}`, role: "group", "aria-label": label }, children);
  // One stop for the keyboard; the arrows go from node to node.
  svg.style.maxWidth = `${Math.max(width * 1.3, 280)}px`;
  svg.style.margin = "0 auto";
  const all = [...svg.querySelectorAll(".node")];
  all[0]?.setAttribute("tabindex", "0");
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const here = all.indexOf(document.activeElement);
    if (!step || here < 0) return;
    event.preventDefault();
    const next = all[(here + step + all.length) % all.length];
    all[here].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
  return svg;
}

function title(strong, rest) {
  return h("p", { class: "graph-title" }, h("b", {}, strong), rest ? `  ${rest}` : "");
}

// Servers of which a majority grants locks.
function independent(group, context) {
  const nodes = group.nodes.map((address) => context.nodes.get(address) ?? { address, state: "unknown" });
  const live = nodes.filter((node) => node.state === "up").length;
  const rest = live < group.majority ? `${live} answer, ${group.majority} are needed` : `${group.majority} of ${nodes.length} grant a lock`;
  return row("Independent servers", nodes, context, rest);
}

function row(name, nodes, context, rest = null) {
  const width = Math.max(nodes.length * 120, 240);
  const marks = nodes.map((node, index) => mark(node.address, [60 + index * 120 + (width - nodes.length * 120) / 2, 24], 9, context));
  return [title(name, rest), frame(name, width, 64, 0, 0, marks)];
}

// Sentinels in a row, below them the primary, and each replica below what it follows.
function tree(group, context) {
  const placed = new Map();
  const lines = [];
  const marks = [];
  const branches = group.branches.map((branch) => ({ ...branch, below: [] }));
  const last = [];
  for (const branch of branches) {
    last[branch.depth] = branch;
    if (branch.depth > 0) last[branch.depth - 1]?.below.push(branch);
  }
  const gap = branches.length > 40 ? 34 : branches.length > 16 ? 64 : 128;
  const labelled = gap >= 60;
  const small = gap < 60 ? 6 : 11;
  let column = 0;
  const columns = 14;
  const put = (branch) => {
    const leaves = branch.below.filter((one) => !one.below.length);
    const deep = branch.below.filter((one) => one.below.length);
    if (!branch.below.length) {
      branch.x = column++ * gap;
      return;
    }
    // Many leaves share rows, so that a wide tree stays readable.
    const begin = column;
    leaves.forEach((leaf, index) => {
      leaf.x = (begin + (index % columns)) * gap;
      leaf.drop = Math.floor(index / columns);
    });
    column = begin + Math.min(leaves.length, columns);
    deep.forEach(put);
    const xs = branch.below.map((one) => one.x);
    branch.x = (Math.min(...xs) + Math.max(...xs)) / 2;
  };
  branches.filter((branch) => branch.depth === 0).forEach(put);
  const top = group.sentinels.length ? 96 : 26;
  for (const branch of branches) {
    branch.y = top + branch.depth * 92 + (branch.drop ?? 0) * (labelled ? 56 : 26);
    placed.set(branch.address, branch);
  }
  const xs = branches.map((branch) => branch.x);
  const middle = xs.length ? (Math.min(...xs) + Math.max(...xs)) / 2 : 0;
  group.sentinels.forEach((address, index) => {
    const x = middle + (index - (group.sentinels.length - 1) / 2) * 128;
    placed.set(address, { x, y: 22 });
    xs.push(x);
  });
  for (const branch of branches) {
    for (const one of branch.below) {
      const node = context.nodes.get(one.address);
      const broken = node?.state !== "up" || (!node.linked && !node.syncing);
      const half = (branch.y + one.y) / 2;
      lines.push(s("path", { class: `link ${broken ? "bad" : node.syncing ? "syncing" : ""}`, d: `M${branch.x},${branch.y}C${branch.x},${half} ${one.x},${half} ${one.x},${one.y}` }));
    }
  }
  for (const address of group.sentinels) {
    const watched = context.nodes.get(address)?.watched?.find((watched) => watched.name === group.name);
    const to = watched && placed.get(watched.primary);
    const from = placed.get(address);
    if (!to || context.nodes.get(address)?.state !== "up") continue;
    const astray = watched.flags.some((flag) => flag === "s_down" || flag === "o_down");
    lines.push(s("path", { class: `watches ${astray ? "astray" : ""}`, d: `M${from.x},${from.y}L${to.x},${to.y}` }));
  }
  for (const branch of branches) {
    const many = branch.depth > 0 && !labelled;
    marks.push(mark(branch.address, [branch.x, branch.y], branch.depth === 0 ? 14 : small, context, !many));
    const node = context.nodes.get(branch.address);
    if (!many && node?.state === "up" && node.lag_bytes > 0) {
      marks.push(s("text", { class: "sub", x: branch.x, y: branch.y + small + 27, "text-anchor": "middle" }, `${bytes(node.lag_bytes)} behind`));
    }
  }
  for (const address of group.sentinels) marks.push(mark(address, [placed.get(address).x, 22], 8, context));
  const left = Math.min(...xs) - 76;
  const right = Math.max(...xs) + 76;
  const bottom = Math.max(...[...placed.values()].map((one) => one.y)) + 46;
  const name = group.name ?? "Replication";
  const replicas = Math.max(branches.length - 1, 0);
  const rest = `${replicas} ${replicas === 1 ? "replica" : "replicas"}${group.sentinels.length ? `, ${group.sentinels.length} ${group.sentinels.length === 1 ? "Sentinel" : "Sentinels"}` : ""}`;
  return [title(name, rest), frame(`${name}, ${rest}`, right - left, bottom, left, 0, [lines, marks])];
}

// The slots as a ring; each primary stands outside at the middle of what it owns, its replicas behind it.
function ring(group, context) {
  const shards = group.shards.filter((shard) => shard.slots.length);
  const empty = group.shards.filter((shard) => !shard.slots.length);
  const many = shards.length > 24;
  const labelled = shards.length <= 24;
  const inner = 132;
  const outer = 154;
  const turn = (slot) => (slot / SLOTS) * 2 * Math.PI;
  const arc = (from, to) => {
    const [a, b] = [turn(from), Math.min(turn(to), turn(from) + 2 * Math.PI - 0.0001)];
    const large = b - a > Math.PI ? 1 : 0;
    const [x1, y1] = at(a, outer), [x2, y2] = at(b, outer), [x3, y3] = at(b, inner), [x4, y4] = at(a, inner);
    return `M${x1},${y1}A${outer},${outer} 0 ${large} 1 ${x2},${y2}L${x3},${y3}A${inner},${inner} 0 ${large} 0 ${x4},${y4}Z`;
  };
  const arcs = [s("path", { class: "arc free", d: arc(0, SLOTS) })];
  const places = new Map();
  const lines = [];
  const marks = [];
  const size = many ? 5 : 11;
  const step = many ? 17 : 46;
  // Shards that own pieces all over stand where most of theirs is; they are spread so that none hides another.
  const spots = shards.map((shard, index) => {
    const largest = shard.slots.reduce((most, range) => (range[1] - range[0] > most[1] - most[0] ? range : most));
    return { shard, index, angle: turn((largest[0] + largest[1] + 1) / 2) };
  }).sort((a, b) => a.angle - b.angle);
  const least = Math.min((2 * Math.PI / Math.max(spots.length, 1)) * 0.96, labelled ? 0.5 : 0.2);
  for (let round = 0; round < 40; round++) {
    for (let index = 0; index < spots.length && spots.length > 1; index++) {
      const next = spots[(index + 1) % spots.length];
      const distance = (next.angle - spots[index].angle + (index + 1 === spots.length ? 2 * Math.PI : 0));
      if (distance < least) {
        spots[index].angle -= (least - distance) / 2;
        next.angle += (least - distance) / 2;
      }
    }
  }
  for (const { shard, index, angle } of spots) {
    const owned = shard.slots.reduce((sum, range) => sum + range[1] - range[0] + 1, 0);
    const words = `${context.short(shard.primary ?? shard.id)}: ${number(owned)} slots`;
    for (const [first, last] of shard.slots) {
      const colour = shard.failed ? "failed" : `c${index % COLOURS}`;
      arcs.push(s("path", { class: `arc ${colour}`, d: arc(first, last + 1) }, s("title", {}, `${words} (${first}–${last})`)));
    }
    const chain = [shard.primary, ...shard.replicas].filter(Boolean);
    chain.forEach((address, depth) => {
      const radius = outer + (many ? 16 : 32) + depth * step;
      const place = at(angle, radius);
      places.set(address, { place, angle });
      const from = depth === 0 ? at(angle, outer) : places.get(chain[0]).place;
      const node = context.nodes.get(address);
      const broken = depth > 0 && (node?.state !== "up" || !node.linked);
      lines.push(s("path", { class: `link ${broken ? "bad" : ""}`, d: `M${from[0]},${from[1]}L${place[0]},${place[1]}` }));
      const side = Math.sin(angle);
      const anchor = Math.abs(side) < 0.35 ? "middle" : side > 0 ? "start" : "end";
      const beside = Math.abs(side) < 0.35 ? [size + 8, 4] : [side > 0 ? size + 6 : -size - 6, 4];
      marks.push(mark(address, place, depth === 0 ? size + (many ? 1 : 2) : size - (many ? 1 : 2), context, labelled, Math.abs(side) < 0.35 ? "start" : anchor, beside, index % COLOURS));
    });
  }
  for (const node of context.nodes.values()) {
    const moves = new Map();
    for (const open of node.cluster?.moving ?? []) {
      if (open.leaves && open.other) moves.set(open.other, (moves.get(open.other) ?? 0) + 1);
    }
    for (const other of moves.keys()) {
      const [from, to] = [places.get(node.address), places.get(other)];
      if (!from || !to) continue;
      const [x1, y1] = at(from.angle, inner - 6), [x2, y2] = at(to.angle, inner - 6);
      lines.push(s("path", { class: "move", d: `M${x1},${y1}Q0,0 ${x2},${y2}` }));
    }
  }
  // As much as is drawn, and room for the labels beside it.
  const xs = [-outer, outer], ys = [-outer, outer];
  for (const { place: [x, y] } of places.values()) {
    xs.push(x - size, x + size);
    ys.push(y - size, y + size);
    if (labelled) xs.push(x + Math.sign(x || 1) * 96);
  }
  const wide = Math.max(-Math.min(...xs), Math.max(...xs)) + 8;
  const [top, bottom] = [Math.min(...ys) - 10, Math.max(...ys) + 10];
  const owned = shards.flatMap((shard) => shard.slots).reduce((sum, range) => sum + range[1] - range[0] + 1, 0);
  const hub = [
    s("text", { class: "hub", "text-anchor": "middle", y: 2 }, number(owned)),
    s("text", { class: "sub", "text-anchor": "middle", y: 20 }, owned === SLOTS ? "slots, all owned" : `of ${number(SLOTS)} slots owned`),
  ];
  const replicas = group.shards.reduce((sum, shard) => sum + shard.replicas.length, 0);
  const rest = `${shards.length} ${shards.length === 1 ? "shard" : "shards"}, ${replicas} ${replicas === 1 ? "replica" : "replicas"}${empty.length ? `, ${empty.length} without slots` : ""}`;
  const drawn = [title("Cluster", rest), frame(`Cluster, ${rest}`, 2 * wide, bottom - top, -wide, top, [s("g", { class: "ring" }, arcs), lines, marks, hub])];
  if (empty.length) {
    const addresses = empty.flatMap((shard) => [shard.primary, ...shard.replicas]).filter(Boolean);
    drawn.push(...row("Without slots", addresses.map((address) => context.nodes.get(address) ?? { address, state: "unknown" }), context));
  }
  return drawn;
}
